"""What must be settled before unsloth and torch are imported: offline, quiet, on the device asked for."""

from __future__ import annotations

import os
import shutil
import subprocess

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
QUIET = {
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "UNSLOTH_DISABLE_AUTO_PADDING_FREE": "1",  # the same numbers on CUDA as on CPU
    "TOKENIZERS_PARALLELISM": "false",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver answers, found out without importing torch."""
    tool = shutil.which("nvidia-smi")
    return bool(tool) and subprocess.run([tool, "-L"], capture_output=True).stdout.startswith(b"GPU ")


def prepare(device: str) -> None:
    """Set the environment for ``device`` (auto, cpu or cuda); before the first import of torch."""
    for name, value in (OFFLINE | QUIET).items():
        os.environ.setdefault(name, value)
    if device == "cpu":
        os.environ["UNSLOTH_FORCE_CPU"] = "1"
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif device == "cuda":
        # Never train on the CPU unasked, for hours, when a GPU was asked for.
        os.environ["UNSLOTH_DISABLE_CPU_FALLBACK"] = "1"
