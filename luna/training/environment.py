"""Settles environment variables and the device before unsloth and torch are imported."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from luna import artifacts

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
QUIET = {
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "UNSLOTH_DISABLE_AUTO_PADDING_FREE": "1",  # the same numbers on CUDA as on CPU
    "TOKENIZERS_PARALLELISM": "false",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "UNSLOTH_COMPILE_LOCATION": str(
        artifacts.SCRATCH / "unsloth"
    ),  # what it compiles on CUDA is scratch, else it lies beside the stages
}
_CGROUP = Path("/sys/fs/cgroup")  # cgroup version 2, inside a container


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver answers, found out without importing torch."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True).stdout.startswith(
        b"GPU "
    )


def uses_cuda(device: str) -> bool:
    """Whether ``device`` (auto, cpu or cuda) means the GPU here."""
    return device == "cuda" or (device == "auto" and has_nvidia_gpu())


def free_memory() -> int:
    """Bytes that a program can have here now: the system's, or less where a container is bounded."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit, used = (
            (_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current")
        )
        return free if limit == "max" else min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        return free


def free_gpu_memory() -> int | None:
    """Bytes free on the emptiest GPU, by the driver's word; None where it gives none."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return None
    done = subprocess.run(
        [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    rows = [int(row) for row in done.stdout.split() if row.isdigit()]
    return max(rows) * (1 << 20) if rows else None  # nvidia-smi counts in MiB


def is_first() -> bool:
    """Whether this process is the one that writes, of the several that torchrun may have started."""
    return os.environ.get("RANK", "0") == "0"


def prepare(device: str) -> None:
    """Set the environment for ``device`` (auto, cpu or cuda); before the first import of torch."""
    for name, value in (OFFLINE | QUIET).items():
        os.environ.setdefault(name, value)
    if device == "cpu":
        os.environ["UNSLOTH_FORCE_CPU"] = "1"
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif device == "cuda":
        # When a GPU was requested, do not train for hours on the CPU instead.
        os.environ["UNSLOTH_DISABLE_CPU_FALLBACK"] = "1"
