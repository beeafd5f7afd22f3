"""python -m bench [FOLDER]: measure everything in FOLDER (default: a temporary one) and write BENCHMARKS.md."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import answering, generations, long_times, reading, storage, weights
from luna.files import write_text


def machine() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = next(line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "unsloth", "transformers", "llama-cpp-python", "dvc"))
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, Python {platform.python_version()}, {packages}"


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve()
        repo = generations.make_repo(folder)
        lines = ["# Benchmarks", "", f"Made by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine()}.", ""]
        lines += generations.report(repo, generations.build(repo))
        lines += answering.report(repo)
        lines += long_times.report(folder / "long")
        lines += reading.report(folder / "reading")
        lines += storage.report(folder)
        lines += weights.report(folder)
        write_text(generations.SOURCE / "BENCHMARKS.md", "\n".join(lines))


if __name__ == "__main__":
    main()
