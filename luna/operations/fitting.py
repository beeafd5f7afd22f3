"""Checks params.yaml against this machine and this base, without reading weights."""

from __future__ import annotations

from pathlib import Path

from luna import artifacts
from luna.errors import BaseModelError, InputError
from luna.model import base
from luna.params import Params
from luna.training import environment


def require(root: Path, settings: Params, trains: bool = True) -> None:
    """Raises InputError naming key, value and what is allowed; BaseModelError for a base that cannot be read.

    ``trains`` False: another machine trains, so the GPU of this one does not matter.
    """
    train = settings.train
    if trains and train.device == "cuda" and not environment.has_nvidia_gpu():
        raise InputError(
            "params.yaml: train.device = 'cuda' is not allowed here: the NVIDIA driver finds no GPU (nvidia-smi -L); set auto or cpu."
        )
    if trains and train.load_in_4bit and not environment.uses_cuda(train.device):
        raise InputError(
            "params.yaml: train.load_in_4bit = True is not allowed here: it needs a CUDA GPU, and this machine has none; set false."
        )
    known = base.layer_modules(settings.base, root / artifacts.BASE)
    if known is None:
        return
    if not known:
        raise BaseModelError(
            "The base's layers have no linear module that an adapter could go on: use another base."
        )
    for name in () if train.target_modules == "auto" else train.target_modules:
        if name not in known:
            raise InputError(
                f"params.yaml: train.target_modules = {name!r} is not allowed: the base's layers have {', '.join(known)}; or set auto."
            )
