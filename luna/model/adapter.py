"""Adapter files: which tensors they change, by how much, and how they are stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna.errors import ExportError
from luna.files import read_json, write_json

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")


@dataclass(frozen=True)
class Adapter:
    """``scale`` is lora_alpha / r. ``weights`` is None for a generation that was taught nothing: the ancestor, or one whose training failed."""

    scale: float
    weights: Path | None


def save_identity(
    out: Path, why: str = "generation 0 is the base itself: nothing was taught"
) -> None:
    """The adapter that changes nothing, and says why: the ancestor's, or that of a training that failed."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / CONFIG, {"peft_type": None, "note": why})


def tidy(folder: Path) -> None:
    """Keep the two files that matter, with nothing in them that varies from run to run or names a machine."""
    config = read_json(folder / CONFIG)
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = ""
    config.pop("auto_mapping", None)
    write_json(folder / CONFIG, config)
    for path in folder.iterdir():
        if path.name not in (CONFIG, WEIGHTS):
            path.unlink()


def read(config: Path, weights: Path | None) -> Adapter:
    """Raises ExportError for an adapter that the exact merge does not cover."""
    values: dict[str, Any] = read_json(config)
    if values.get("peft_type") is None:
        return Adapter(0.0, None)
    if (
        values["peft_type"] != "LORA"
        or values.get("use_dora")
        or values.get("use_rslora")
        or values.get("rank_pattern")
        or values.get("alpha_pattern")
    ):
        raise ExportError(
            f"{config} is not a plain LoRA adapter, the only kind that is merged exactly."
        )
    return Adapter(values["lora_alpha"] / values["r"], weights)


def read_folder(folder: Path) -> Adapter:
    """The adapter in a folder, as training wrote it."""
    weights = folder / WEIGHTS
    return read(folder / CONFIG, weights if weights.is_file() else None)


def part(key: str) -> tuple[str, str]:
    """Which weight a tensor of an adapter belongs to, and whether it is its ``A`` or its ``B``. Raises ExportError for anything else."""
    match = _KEY.fullmatch(key)
    if not match:
        raise ExportError(
            f"The adapter holds '{key}', which is no LoRA matrix: it cannot be merged exactly."
        )
    return match["module"] + ".weight", match["side"]


@dataclass(frozen=True)
class Matrices:
    """The matrices of one adapter, read from its file one tensor at a time. ``names`` are the weights that it changes."""

    scale: float
    names: dict[str, dict[str, str]]
    tensors: Any

    def of(self, name: str) -> tuple[Any, Any]:
        """A of shape r x in and B of shape out x r, in float64."""
        import torch

        a, b = (self.tensors.get_tensor(self.names[name][side]).to(torch.float64) for side in "AB")
        return a, b


def matrices(adapter: Adapter) -> Matrices:
    """Look into an adapter's file; nothing but the names is read yet. Raises ExportError for what is no LoRA matrix."""
    from safetensors import safe_open

    names: dict[str, dict[str, str]] = {}
    if adapter.weights is None:
        return Matrices(adapter.scale, names, None)
    tensors = safe_open(adapter.weights, "pt")
    for key in tensors.keys():
        name, side = part(key)
        names.setdefault(name, {})[side] = key
    if lacking := [name for name, sides in names.items() if len(sides) < 2]:
        raise ExportError(
            f"The adapter holds one matrix of two for '{min(lacking)}': it cannot be merged exactly."
        )
    return Matrices(adapter.scale, names, tensors)
