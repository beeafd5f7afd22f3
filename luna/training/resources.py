"""Watches free memory and disk while training, once per second at most."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import torch

_GB = 1e9


def look(place: Path) -> dict[str, float]:
    """GB: resident ``memory`` of this process, ``free_disk`` where ``place`` lies, ``gpu_memory`` reserved on CUDA."""
    found = {
        "memory": psutil.Process().memory_info().rss / _GB,
        "free_disk": shutil.disk_usage(place).free / _GB,
    }
    if torch.cuda.is_available():
        found["gpu_memory"] = torch.cuda.memory_reserved() / _GB
    return found
