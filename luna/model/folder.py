"""Checks that a folder is a complete Hugging Face chat model and holds data alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from luna import files
from luna.errors import BaseModelError

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_LAYER_WEIGHT = re.compile(r"\.\d+\.(?:.*\.)?(\w+)\.weight$")
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
#: Linear modules in the layers of a llama, and of most that came after it.
LLAMA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
#: What chooses among the experts of a mixture is called so, and how many there are is in config.json.
_ROUTERS = {"gate", "router", "shared_expert_gate"}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_COUNTS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)
_COMPLETE = "give a complete Hugging Face model folder"


def check(folder: Path) -> None:
    """Raises BaseModelError, one sentence, for what is missing, malformed, no chat model, or code."""
    _require_safetensors(folder)
    settings = config(folder)
    marks = _object(folder / _TOKENIZER_CONFIG) if (folder / _TOKENIZER_CONFIG).is_file() else {}
    for name, document in (("config.json", settings), (_TOKENIZER_CONFIG, marks)):
        if document.get("auto_map"):
            raise BaseModelError(
                f"{folder}/{name} needs code of its own (auto_map), which Luna never runs: give a model that transformers supports without it, "
                "or delete auto_map if it does."
            )
    _require_chat_model(folder, settings)
    _require_tokenizer(folder)
    if not _chat_template(folder, marks):
        raise BaseModelError(
            f"{folder} has no chat template, so it is not a chat model: give an 'instruct' model."
        )
    tensors = _tensors(folder)
    _require_sizes(folder, settings, len(tensors))
    _require_vocabulary(folder, settings, tensors)


def read(what: Path, reader: Callable[[], Any]) -> Any:
    """What a library reads from a stranger's file. Raises BaseModelError, naming ``what``, for whatever it raises."""
    try:
        return reader()
    except (KeyboardInterrupt, SystemExit, BaseModelError):
        raise
    except BaseException as error:  # tokenizers panics with what is no Exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BaseModelError(f"{what} cannot be read ({reason}): {_COMPLETE}.") from None


def _object(path: Path) -> dict[str, Any]:
    try:
        value = files.read_json(path)
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BaseModelError(f"{path} is missing or not valid JSON: {_COMPLETE}.")
    return value


def _require_safetensors(folder: Path) -> None:
    if list(folder.glob("*.safetensors")):
        return
    pickles = [path.name for pattern in _PICKLES for path in folder.glob(pattern)]
    names = (
        f"only the pickle {pickles[0]}, which can run code when read" if pickles else "no weights"
    )
    raise BaseModelError(f"{folder} holds {names}: give a model in safetensors.")


def _require_chat_model(folder: Path, config: dict[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(
        isinstance(name, str) for name in architectures
    ):
        raise BaseModelError(
            f"{folder}/config.json: architectures must be a list of names: {_COMPLETE}."
        )
    if "vision_config" in config or "vision_tower" in config:
        raise BaseModelError(
            f"{folder} has a vision tower (vision_config in config.json), and Luna teaches text alone: give the model of the family that is for text."
        )
    if not any(name.endswith("ForCausalLM") for name in architectures):
        raise BaseModelError(
            f"{folder} is no causal language model (its architecture is {', '.join(architectures) or 'not named'}): give a chat model."
        )
    if config.get("quantization_config"):
        raise BaseModelError(
            f"{folder} holds quantised weights: give the 16-bit model it was made from."
        )


def _require_sizes(folder: Path, config: dict[str, Any], tensors: int) -> None:
    """A layer has at least one tensor: a config that claims more layers would take very long to build."""
    for key in _COUNTS:
        value = config.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31
        ):
            raise BaseModelError(
                f"{folder}/config.json: {key} = {value!r} must be a whole number of at least 1: {_COMPLETE}."
            )
    layers = config.get("num_hidden_layers")
    if layers and layers > tensors:
        raise BaseModelError(
            f"{folder}/config.json names {layers} layers, and the weights hold {tensors} tensors: they do not belong together."
        )


def _require_vocabulary(folder: Path, config: dict[str, Any], tensors: dict[str, Path]) -> None:
    """Every token has a row in the embedding; a tokenizer of another model is refused."""
    from safetensors import safe_open
    from tokenizers import Tokenizer

    highest = max(Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab().values())
    sizes = {"config.json": config.get("vocab_size")}
    if name := next((name for name in tensors if name.endswith(_EMBEDDINGS)), None):
        with safe_open(tensors[name], "numpy") as file:
            sizes[name] = file.get_slice(name).get_shape()[0]
    for source, size in sizes.items():
        if size is not None and highest >= size:
            raise BaseModelError(
                f"{folder}/tokenizer.json has the token {highest}, and {source} has {size} rows: the tokenizer is another model's; {_COMPLETE}."
            )


def _require_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BaseModelError(f"{path} is missing: give a model with a fast tokenizer.")
    from tokenizers import Tokenizer

    read(path, lambda: Tokenizer.from_file(str(path)))


def _chat_template(folder: Path, marks: dict[str, Any]) -> object:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return read(path, lambda: path.read_text(encoding="utf-8"))
    return marks.get("chat_template")


def _tensors(folder: Path) -> dict[str, Path]:
    """Every tensor's file, by the headers. Raises BaseModelError where headers and index do not agree."""
    from safetensors import safe_open

    def names(path: Path) -> list[str]:
        with safe_open(path, "numpy") as tensors:
            return list(tensors.keys())

    if (folder / WEIGHTS).is_file():
        return dict.fromkeys(
            read(folder / WEIGHTS, lambda: names(folder / WEIGHTS)), folder / WEIGHTS
        )
    shards = sorted(folder.glob("*.safetensors"))
    inside = {path.name: set(read(path, partial(names, path))) for path in shards}
    if not (folder / INDEX).is_file():
        raise BaseModelError(f"{folder} has neither {WEIGHTS} nor {INDEX}: {_COMPLETE}.")
    listed = _object(folder / INDEX).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise BaseModelError(f"{folder / INDEX} has no weight_map: {_COMPLETE}.")
    for tensor, name in listed.items():
        if isinstance(name, str) and name not in inside:
            raise BaseModelError(
                f"{folder / INDEX} names {json.dumps(name)}, which is missing: {_COMPLETE}."
            )
        if not isinstance(name, str) or tensor not in inside[name]:
            raise BaseModelError(
                f"{folder / INDEX} puts {tensor!r} into {json.dumps(name)}, where it is not: {_COMPLETE}."
            )
    used = set(listed.values())
    if unlisted := sorted(set().union(*(inside[name] for name in used)) - listed.keys()):
        raise BaseModelError(
            f"{folder / INDEX} does not list {unlisted[0]!r}, which the weights hold: {_COMPLETE}."
        )
    return {tensor: folder / name for tensor, name in listed.items()}


def shards(folder: Path) -> list[Path]:
    """The files that hold the model's weights; others that lie beside them, such as consolidated.safetensors, hold them once more.

    Raises BaseModelError where headers and index do not agree.
    """
    return sorted(set(_tensors(folder).values()))


def layer_modules(folder: Path) -> list[str] | None:
    """Names of the linear modules in a model's layers, such as q_proj; None where there are no weights."""
    return linear_names(folder, shapes(folder)) if list(folder.glob("*.safetensors")) else None


def linear_names(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """As ``layer_modules``, by the shapes of the weights; a llama's come in the order of its layers, others behind them by name.

    The weights of linear modules have two dimensions, those of norms one; the embedding and the head are in no numbered
    layer. A mixture's experts are left out: transformers holds all experts of a layer in one tensor, which is no linear
    module. So is what chooses among them.
    """
    mixture = has_experts(config(folder))
    names = {
        match[1]
        for name, shape in shapes.items()
        if len(shape) == 2
        and ".experts." not in name
        and not (mixture and _ROUTERS & set(name.split(".")))
        and (match := _LAYER_WEIGHT.search(name))
    }
    first = [name for name in LLAMA_MODULES if name in names]
    return [*first, *sorted(names.difference(first))]


def config(folder: Path) -> dict[str, Any]:
    """A model folder's config.json. Raises BaseModelError where there is none that is one."""
    return _object(folder / "config.json")


def has_experts(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a mixture of experts."""
    return any(isinstance(count := config.get(key), int) and count > 1 for key in _EXPERTS)


def targets(folder: Path, wanted: list[str] | str) -> list[str]:
    """``train.target_modules`` as names of modules: those that are named, or with ``auto`` all that the model folder has."""
    return (layer_modules(folder) or []) if wanted == "auto" else list(wanted)


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the model, by the headers of its files."""
    from safetensors import safe_open

    def listed(path: Path) -> dict[str, tuple[int, ...]]:
        with safe_open(path, "numpy") as tensors:
            return {
                name: tuple(tensors.get_slice(name).get_shape()) for name in list(tensors.keys())
            }

    every: dict[str, tuple[int, ...]] = {}
    for path in shards(folder):
        every |= read(path, partial(listed, path))
    return every
