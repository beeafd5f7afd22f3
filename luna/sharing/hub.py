"""A generation as a Hugging Face folder: its 16-bit weights, or one adapter on the base.

A generation's own adapter sits on its parent's weights, which no hub has. So the adapters of its whole line are
stacked into one that sits on the base; and where the base is no model of the hub pinned to a commit, it goes along.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from luna import files
from luna.errors import InputError
from luna.history.line import Line, sealed_params
from luna.model import base, stack
from luna.operations import rebuild
from luna.sharing import card
from luna.sharing.card import Sealed
from luna.sharing.speech import Speech

BASE_FOLDER = "base"
_NEVER = ("model.safetensors.index.json",)
#: Of generation_config.json: how the base's makers sampled. A generation was judged by its likeliest words.
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty")


def write_merged(root: Path, line: Line, sealed: Sealed, spoken: Speech, out: Path) -> None:
    """Weights as 'luna rebuild' makes them (bfloat16), config, tokenizer with chat template, generation settings, card."""
    with rebuild.scratch_folder(root) as scratch:
        _copy(rebuild.merge(rebuild.parts(root, line, sealed.name, scratch), scratch), out)
    _settle(out, spoken)
    code = 'model = AutoModelForCausalLM.from_pretrained(".", dtype="bfloat16")\ntokenizer = AutoTokenizer.from_pretrained(".")'
    card.write(
        sealed,
        out,
        "transformers",
        f"```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n{code}\n```\n",
    )


def write_adapter(root: Path, line: Line, sealed: Sealed, spoken: Speech, out: Path) -> None:
    """One PEFT adapter that stands for the whole line, its base's reference (or the base itself), tokenizer, card.

    Raises:
        InputError: the generation and its ancestors were taught nothing, so there is no adapter.
    """
    name = sealed.name
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
        _copy(source, out, weights=False)
        _settle(out, spoken)
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
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{where}"{pin}, dtype="bfloat16")\n'
        'model = PeftModel.from_pretrained(base, ".")\ntokenizer = AutoTokenizer.from_pretrained(".")'
    )
    card.write(
        sealed,
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


def _settle(out: Path, spoken: Speech) -> None:
    """The chat template says the system prompt by itself, and generation ends where a reply does: as llama.cpp is told."""
    template, marks = out / "chat_template.jinja", out / "tokenizer_config.json"
    config = files.read_json(marks) if marks.is_file() else {}
    if isinstance(config.get("chat_template"), str):
        files.write_json(marks, config | {"chat_template": spoken.speaking})
    if template.is_file() or "chat_template" not in config:
        files.write_text(template, spoken.speaking)
    path = out / "generation_config.json"
    settings = files.read_json(path) if path.is_file() else {}
    kept = {key: value for key, value in settings.items() if key not in _SAMPLING}
    own = kept.get("eos_token_id")
    ends = dict.fromkeys([*spoken.ends, *(own if isinstance(own, list) else [own])])
    files.write_json(
        path,
        kept | {"do_sample": False, "eos_token_id": [end for end in ends if end is not None]},
    )
