"""python -m bench.terminal REPO OUT.svg: what a terminal shows of a line, as a picture for the README."""

from __future__ import annotations

import os
import pty
import re
import sys
from pathlib import Path

COLUMNS = 118
COMMANDS = (("luna", "log"), ("luna", "log", "--graph"), ("luna", "log", "--head"), ("luna", "status"))


def shown(repo: Path, command: tuple[str, ...]) -> str:
    """What the command writes to a terminal, with its colours."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(repo)
        os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        os.execvp(command[0], command)
    text = b""
    try:
        while chunk := os.read(terminal, 65536):
            text += chunk
    except OSError:  # Linux ends a terminal so
        pass
    os.waitpid(child, 0)
    os.close(terminal)
    return text.decode().replace("\r\n", "\n")


def main() -> None:
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    repo, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    with open(os.devnull, "w", encoding="utf-8") as null:
        console = Console(record=True, width=COLUMNS, file=null, force_terminal=True)
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (" ".join(command), "bold")))
            console.print(Text.from_ansi(shown(repo, command)))
    local = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.S)  # no fonts from elsewhere
    out.write_text(console.export_svg(title="luna", code_format=local), encoding="utf-8")


if __name__ == "__main__":
    main()
