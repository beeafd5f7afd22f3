"""Several adapters, each trained on the result of the one before, as one adapter on the base.

W + s1 B1 A1 + s2 B2 A2 = W + B A with A = [A1; A2] and B = [s1 B1, s2 B2]: PEFT's 'cat' combination (add_weighted_adapter
in peft's documentation). The line rounds to bfloat16 at each keyframe and this sum once, so the two agree to that rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luna.files import write_json
from luna.model.adapter import CONFIG, WEIGHTS, Adapter, matrices


def stack(adapters: Sequence[Adapter], out: Path, base: str, revision: str | None) -> int:
    """Write the PEFT adapter (float32) into ``out``, with ``base`` and ``revision`` as its reference. Returns its rank, the sum of theirs."""
    import torch
    from safetensors.torch import save_file

    taught = [matrices(adapter) for adapter in adapters if adapter.weights is not None]
    ranks = [one.of(next(iter(one.names)))[0].shape[0] for one in taught]
    rank = sum(ranks)
    tensors = {}
    for name in sorted(set().union(*(one.names for one in taught))):
        parts = [one.of(name) if name in one.names else None for one in taught]
        a, b = next(part for part in parts if part)
        left, right = (
            torch.zeros(rank, a.shape[1], dtype=torch.float64),
            torch.zeros(b.shape[0], rank, dtype=torch.float64),
        )
        at = 0
        for one, part, width in zip(taught, parts, ranks, strict=True):
            if part:  # a generation may have trained fewer modules: its part stays zero
                left[at : at + width], right[:, at : at + width] = part[0], one.scale * part[1]
            at += width
        module = name.removesuffix(".weight")
        (
            tensors[f"base_model.model.{module}.lora_A.weight"],
            tensors[f"base_model.model.{module}.lora_B.weight"],
        ) = left.float(), right.float()
    save_file(tensors, out / WEIGHTS, {"format": "pt"})
    write_json(
        out / CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "revision": revision,
            "r": rank,
            "lora_alpha": rank,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": False,
            "inference_mode": True,
            "target_modules": sorted({key.split(".")[-3] for key in tensors}),
        },
    )
    return rank
