"""Watches free memory and disk while training, once per second at most."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import torch

_GB = 1e9


def look(folder: Path) -> dict[str, float]:
    """GB: resident ``memory`` of this process, ``free_disk`` of the file system of ``folder``, ``gpu_memory`` reserved on CUDA."""
    values = {
        "memory": psutil.Process().memory_info().rss / _GB,
        "free_disk": shutil.disk_usage(folder).free / _GB,
    }
    if torch.cuda.is_available():
        values["gpu_memory"] = torch.cuda.memory_reserved() / _GB
    return values
