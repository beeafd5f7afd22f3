"""Draws what a terminal shows of a line, as a picture for the README.

python -m bench.terminal REPO OUT.svg
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

COLUMNS = 118
COMMANDS = (
    ("luna", "log"),
    ("luna", "log", "--graph"),
    ("luna", "log", "--head"),
    ("luna", "status"),
)


def shown(repo: Path, *command: str, columns: int = COLUMNS, **environment: str) -> str:
    """What the command writes to a terminal of that width, with its colours. Raises CalledProcessError when it fails."""
    ours, theirs = pty.openpty()
    env = (
        os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": str(columns),
            "TERM": "xterm-256color",
            "PYTHONIOENCODING": "utf-8",
        }
        | environment
    )
    child = subprocess.Popen(
        command, cwd=repo, env=env, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL
    )
    os.close(theirs)
    read = b""
    try:
        while part := os.read(ours, 65536):
            read += part
    except OSError:  # the other side was closed
        pass
    os.close(ours)
    if code := child.wait():
        raise subprocess.CalledProcessError(code, command, read)
    return read.decode().replace("\r\n", "\n")


def main() -> None:
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    repo, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    with Path(os.devnull).open("w", encoding="utf-8") as null:
        console = Console(record=True, width=COLUMNS, file=null, force_terminal=True)
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (" ".join(command), "bold")))
            console.print(Text.from_ansi(shown(repo, *command)))
    local = re.sub(
        r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.S
    )  # no fonts from elsewhere
    out.write_text(console.export_svg(title="luna", code_format=local), encoding="utf-8")


if __name__ == "__main__":
    main()
