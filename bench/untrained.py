"""Replaces the trainer where a bench needs adapters of the real size, and not good ones."""

from __future__ import annotations

import re
from pathlib import Path

from luna.model import adapter
from luna.model import folder as model_folder
from luna.training.outcome import Outcome

_STRENGTH = 0.01  # of A and B: the merge changes many values and the model still speaks


def train(
    weights: Path, conversations, chat, settings, checkpoints: Path, loss_dir: Path, out: Path
) -> Outcome:
    """A random LoRA adapter, other at each call, with peft's names and float32 as training leaves it."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    from luna.files import write_json, write_text

    modules = model_folder.targets(weights, settings.target_modules)
    wanted = re.compile(rf"(model\.layers\..+\.(?:{'|'.join(modules)}))\.weight")
    tensors = {}
    for path in sorted(weights.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():
                if match := wanted.fullmatch(key):
                    rows, columns = file.get_slice(key).get_shape()
                    tensors[f"base_model.model.{match[1]}.lora_A.weight"] = (
                        torch.randn(settings.lora_rank, columns) * _STRENGTH
                    )
                    tensors[f"base_model.model.{match[1]}.lora_B.weight"] = (
                        torch.randn(rows, settings.lora_rank) * _STRENGTH
                    )
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / adapter.WEIGHTS, {"format": "pt"})
    write_json(
        out / adapter.CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": settings.lora_rank,
            "lora_alpha": settings.lora_alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": modules,
            "base_model_name_or_path": "",
            "inference_mode": True,
        },
    )
    write_text(loss_dir / "plots/metrics/train/loss.tsv", "step\tloss\n1\t1.0\n")
    return Outcome(
        steps=1,
        losses={1: 1.0},
        seconds=0.0,
        tokens=0,
        device="none",
        peak_memory=0,
        peak_gpu_memory=None,
    )
