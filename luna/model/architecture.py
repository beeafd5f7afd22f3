"""Whether transformers knows a base's architecture, and its weights are those of that architecture."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from luna.errors import BaseModelError
from luna.model import folder as model_folder


def require_known(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Build the model of a folder's config.json without its weights, and compare it with the ``shapes`` of those.

    Training by unsloth stands on transformers' own model, so what is not known to one is not known to the other.

    Raises:
        BaseModelError: the architecture is not known, a weight is missing or has another shape, or an adapter on a linear
            module of the layers could not be merged into the weights.
    """
    model = _without_weights(folder)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    if not _converted(model):
        # What is called otherwise in the file is put together when it is read, and cannot be compared by name.
        for name in sorted(expected.keys() - tied):
            if name not in shapes:
                raise BaseModelError(
                    f"The base's weights lack {name!r}, which its config.json asks for: give a complete Hugging Face model folder."
                )
            if shapes[name] != expected[name]:
                raise BaseModelError(
                    f"The base's {name!r} is {_by(shapes[name])}, and its config.json asks for {_by(expected[name])}: config.json and weights do not "
                    "belong together; give a complete Hugging Face model folder."
                )
    _require_linear(model, shapes, model_folder.linear_names(folder, shapes))


def _without_weights(folder: Path) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        config = AutoConfig.from_pretrained(
            str(folder.resolve()), local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a stranger's config.json makes a library raise
        kind = model_folder.config(folder).get("model_type")
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BaseModelError(
            f"transformers {version('transformers')}, by which unsloth trains, does not know the base's architecture {kind!r} ({reason}): use a base that it knows."
        ) from None
    finally:
        logging.set_verbosity(before)


def _converted(model: Any) -> bool:
    """Whether transformers reads the architecture's weights under other names or in other pieces than they are stored."""
    from transformers.conversion_mapping import get_model_conversion_mapping

    return bool(get_model_conversion_mapping(model, add_legacy=False))


def _require_linear(model: Any, shapes: Mapping[str, tuple[int, ...]], wanted: list[str]) -> None:
    """Each module that an adapter goes on is a linear one of the model, and the weight of the same name in the file."""
    import torch

    for name, module in model.named_modules():
        leaf = name.rpartition(".")[2]
        if leaf not in wanted or f"{name}.weight" not in shapes:
            continue
        linear = isinstance(module, torch.nn.Linear)
        if not linear or tuple(module.weight.shape) != shapes[f"{name}.weight"]:
            raise BaseModelError(
                f"The base's {name} is no plain linear module ({type(module).__name__}), so an adapter on it could not be merged: use another base."
            )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
