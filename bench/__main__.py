"""The command `python -m bench`: measures section by section and writes BENCHMARKS.md.

    python -m bench [SECTION ...] [--folder FOLDER]

Without a name all are measured, which takes about an hour on two cores. A section that is measured again replaces
its old text and no other's, so that a long bench may be made in parts; each says when and on what it was made.
'python -m bench life FOLDER' is a night's work beside these (bench/life.py).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import (
    answering,
    bare,
    generations,
    gpu_check,
    keyframes,
    life,
    long_times,
    project,
    queries,
    rails,
    reading,
    serving,
    storage,
    talk,
    weights,
)
from luna.files import read_json, write_text

#: Section -> what measures, in a folder of its own below the given one, and gives the lines of its text.
SECTIONS: dict[str, Callable[[Path], list[str]]] = {
    "generations": generations.report,
    "answering": answering.report,
    "talk": talk.report,
    "serve": serving.report,
    "bare": bare.report,
    "lean": storage.cold_storage,
    "rollback": storage.rollback,
    "queries": queries.report,
    "long-line": long_times.report,
    "verify": reading.report,
    "weights": weights.report,
    "keyframes": keyframes.report,
    "rails": rails.report,
    "gpu": lambda folder: gpu_check.section(read_json(gpu_check.OUT)),
}
TARGET = project.SOURCE / "BENCHMARKS.md"
_HEAD = "# Benchmarks\n\nMade by `make bench`, or a section at a time by `python -m bench SECTION`. Ratios are of runs side by side on one machine.\n\n"
_SECTION = re.compile(
    r"<!-- (?P<name>[a-z-]+) -->\n(?P<text>.*?)(?=<!-- [a-z-]+ -->\n|\Z)", re.DOTALL
)


def machine() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = next(
            line.partition(":")[2].strip()
            for line in info.splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    packages = ", ".join(
        f"{name} {version(name)}"
        for name in ("torch", "unsloth", "transformers", "llama-cpp-python", "dvc")
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, Python {platform.python_version()}, {packages}"


def put(name: str, lines: list[str], seconds: float) -> None:
    """Put a section's text into BENCHMARKS.md, in the order of SECTIONS."""
    before = TARGET.read_text(encoding="utf-8") if TARGET.is_file() else ""
    texts = {match["name"]: match["text"] for match in _SECTION.finditer(before)}
    made = f"`python -m bench {name}`, {datetime.now(UTC):%Y-%m-%d}, {seconds / 60:.0f} min, on {machine()}."
    texts[name] = "\n".join([*lines[:2], made, "", *lines[2:]]).rstrip() + "\n\n"
    write_text(
        TARGET, _HEAD + "".join(f"<!-- {key} -->\n{texts[key]}" for key in SECTIONS if key in texts)
    )


def main() -> None:
    if sys.argv[1:2] == ["life"]:
        life.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument(
        "--folder",
        type=Path,
        help="where to work; what was made there is used again (default: a temporary folder)",
    )
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.section) - set(SECTIONS)):
        parser.error(f"there is no section '{unknown[0]}': there are {', '.join(SECTIONS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (chosen.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name in chosen.section or [
            name for name in SECTIONS if name != "gpu" or gpu_check.OUT.is_file()
        ]:
            print(f"bench: {name}", flush=True)
            started = time.monotonic()
            lines = SECTIONS[name](folder)
            put(name, lines, time.monotonic() - started)


if __name__ == "__main__":
    main()
