"""A generation as a Hugging Face folder: its 16-bit weights, or one adapter on the base.

A generation's own adapter sits on its parent's weights, which no hub has. So the adapters of its whole line are
stacked into one that sits on the base; and where the base is no model of the hub pinned to a commit, it goes along.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from luna import artifacts, files
from luna.errors import InputError
from luna.history.line import Line, sealed_params
from luna.model import base, stack
from luna.operations import rebuild
from luna.promotion.front_matter import TASK

BASE_FOLDER = "base"
_NEVER = ("model.safetensors.index.json",)


def write_merged(root: Path, line: Line, name: str, out: Path) -> None:
    """Weights as 'luna rebuild' makes them (bfloat16), config, tokenizer with chat template, generation settings, card."""
    with rebuild.scratch_folder(root) as scratch:
        _copy(rebuild.merge(rebuild.parts(root, line, name, scratch), scratch), out)
    code = 'model = AutoModelForCausalLM.from_pretrained(".", dtype="bfloat16")\ntokenizer = AutoTokenizer.from_pretrained(".")'
    _card(
        line,
        name,
        out,
        "transformers",
        f"```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n{code}\n```\n",
    )


def write_adapter(root: Path, line: Line, name: str, out: Path) -> None:
    """One PEFT adapter that stands for the whole line, its base's reference (or the base itself), tokenizer, card.

    Raises:
        InputError: the generation and its ancestors were taught nothing, so there is no adapter.
    """
    settings = sealed_params(line.git, line.ancestors(name)[0]).base
    with rebuild.scratch_folder(root) as scratch:
        source = rebuild.base_of(root, line, name, scratch)
        adapters = rebuild.adapters_on_base(root, line, name)
        if not any(adapter.weights for adapter in adapters):
            raise InputError(
                f"{name} is the base itself, so it has no adapter: export it with --hf."
            )
        pinned = base.pinned(settings)
        if pinned is None:
            _copy(source, out / BASE_FOLDER)
        else:
            _copy(source, out, weights=False)
        where, revision = pinned or (BASE_FOLDER, None)
        rank = stack.stack(adapters, out, where, revision)
    taught = sum(adapter.weights is not None for adapter in adapters)
    labels = (
        f"`base_model_name_or_path` is {where} at {revision}"
        if pinned
        else f"The base is in `{BASE_FOLDER}/`, since it is no pinned model of the hub; run this inside the folder"
    )
    pin = f', revision="{revision}"' if revision else ""
    code = (
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{where}"{pin}, dtype="bfloat16")\nmodel = PeftModel.from_pretrained(base, ".")'
    )
    _card(
        line,
        name,
        out,
        "peft",
        f"{taught} adapters of the line in one of rank {rank}; it agrees with the merged weights to their rounding. {labels}.\n\n```python\n{code}\n```\n",
    )


def _copy(model: Path, out: Path, weights: bool = True) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(model.iterdir()):
        if weights or (path.suffix != ".safetensors" and path.name not in ("config.json", *_NEVER)):
            shutil.copyfile(
                path, out / path.name
            )  # the base's files are links into the cache: never moved


def _card(line: Line, name: str, out: Path, library: str, use: str) -> None:
    """README.md: the sealed MODEL_CARD.md with a head for this kind of folder, and how to load it."""
    from huggingface_hub import ModelCard

    card, metrics = line.git.cat(
        [
            f"refs/tags/{name}:{path.as_posix()}"
            for path in (artifacts.MODEL_CARD, artifacts.METRICS)
        ]
    )
    sealed = ModelCard((card or b"").decode(), ignore_metadata_errors=True)
    head = sealed.data
    head["library_name"], head["pipeline_tag"] = library, TASK
    head["tags"] = [
        tag
        for tag in head.get("tags") or []
        if tag != "gguf" and not tag.startswith(("Q", "BF16", "F16"))
    ]
    head["model_name"] = json.loads(metrics or b"{}").get("generation", {}).get("name", name)
    if head.get("base_model"):
        head["base_model_relation"] = "adapter" if library == "peft" else "finetune"
    files.write_text(
        out / "README.md",
        f"---\n{head.to_yaml()}\n---\n{sealed.text.rstrip()}\n\n## How to load it\n\n{use}",
    )
