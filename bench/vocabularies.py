"""Real tokenizers from the vocabularies that come with llama.cpp, as files of a model folder."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luna import files
from luna.export import converter

_NORMAL, _UNKNOWN, _CONTROL, _OWN, _UNUSED, _BYTE = range(1, 7)  # llama.cpp's kinds of tokens
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|{digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
#: How a family's own tokenizer.json splits text before its pairs are merged: (digits of one piece, normalizer).
_SPLITS = {
    "llama-bpe": (r"\p{N}{1,3}", None),
    "qwen2": (r"\p{N}", {"type": "NFC"}),
    "gpt-neox": (None, {"type": "NFC"}),
}

_PIECES = {"phi-3": 32000}


@dataclass(frozen=True)
class Vocabulary:
    """``scores`` are SentencePiece's; empty where pairs are merged by rank."""

    tokens: list[str]
    kinds: list[int]
    scores: list[float]
    merges: list[str]


@functools.cache
def read(name: str) -> Vocabulary:
    """The vocabulary that came with llama.cpp's converter as ggml-vocab-NAME.gguf."""
    import gguf

    fields = gguf.GGUFReader(converter.vocabulary(name)).fields

    def listed(key: str) -> list[Any]:
        field = fields.get(f"tokenizer.ggml.{key}")
        return field.contents() if field else []

    tokens = listed("tokens")
    count = next((at for at, text in enumerate(tokens) if text.startswith("[PAD")), len(tokens))
    kinds, scores = listed("token_type"), listed("scores")
    return Vocabulary(tokens[:count], kinds[:count], scores[:count], listed("merges"))


def mark(index: int, text: str, special: bool = True, swallows: bool = False) -> dict[str, Any]:
    """An added token of a tokenizer.json; ``swallows`` the white space behind it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": swallows, "normalized": False}
    return {"id": index, "content": text, **flags, "special": special}


def write(
    name: str,
    folder: Path,
    marks: dict[int, str],
    swallowing: tuple[str, ...] = (),
    prefix: bool = True,
) -> None:
    """tokenizer.json, and for SentencePiece's vocabularies tokenizer.model beside it.

    ``marks`` are control tokens that the family has more or calls otherwise, by their number; ``prefix``: SentencePiece puts a
    space before a text.
    """
    own = read(name)
    tokens, kinds = list(own.tokens), list(own.kinds)
    for index, text in sorted(marks.items()):
        while index >= len(tokens):  # the converter fills gaps as well
            tokens.append(f"[PAD{len(tokens)}]")
            kinds.append(_UNUSED)
        tokens[index], kinds[index] = text, _CONTROL
    added = [
        mark(index, text, kind != _OWN, text in swallowing)
        for index, (text, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (_UNKNOWN, _CONTROL, _OWN)
    ]
    rest = {
        text: index
        for index, (text, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (_NORMAL, _BYTE) or (kind == _CONTROL and name == "gpt-neox")
    }
    document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    if own.scores:
        scores = own.scores + [-1000.0] * (len(tokens) - len(own.scores))
        document |= _sentencepiece_json(tokens, kinds, scores, rest, prefix)
        pieces = _PIECES.get(name)  # the family's own marks are in tokenizer.json alone
        model = _sentencepiece_model(tokens[:pieces], kinds[:pieces], scores[:pieces], prefix)
        (folder / "tokenizer.model").write_bytes(model)
    else:
        document |= _byte_level_json(name, rest, own.merges)
    files.write_json(folder / "tokenizer.json", document)


def write_sentencepiece(folder: Path) -> None:
    """tokenizer.model beside a tokenizer.json that was made of one, where the family's repositories hold both."""
    document = files.read_json(folder / "tokenizer.json")
    model, added = document["model"], document["added_tokens"]
    control = {token["content"] for token in added if token["special"]}
    ranks = {"".join(pair): rank for rank, pair in reversed(list(enumerate(model["merges"])))}
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    kinds = [
        _UNKNOWN
        if text == model["unk_token"]
        else _CONTROL
        if text in control
        else _BYTE
        if len(text) == len("<0x00>") and text.startswith("<0x")
        else _NORMAL
        for text in tokens
    ]
    scores = [-float(ranks.get(text, index)) for index, text in enumerate(tokens)]
    whole = _sentencepiece_model(tokens, kinds, scores, prefix=False)
    (folder / "tokenizer.model").write_bytes(whole)


def _byte_level_json(name: str, vocabulary: dict[str, int], merges: list[str]) -> dict[str, Any]:
    digits, normalizer = _SPLITS[name]
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    before: dict[str, Any] = bytes_ | {"use_regex": True}
    if digits:
        pattern = {"Regex": _WORDS.replace("{digits}", digits)}
        split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
        before = {"type": "Sequence", "pretokenizers": [split, bytes_ | {"use_regex": False}]}
    model = _bpe(vocabulary, [pair.split(" ") for pair in merges])
    return {
        "normalizer": normalizer,
        "pre_tokenizer": before,
        "post_processor": None,
        "decoder": bytes_ | {"use_regex": True},
        "model": model | {"ignore_merges": name == "llama-bpe"},
    }


def _bpe(vocabulary: dict[str, int], merges: list[list[str]], **more: Any) -> dict[str, Any]:
    none = dict.fromkeys(
        ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
    )
    flags = {"fuse_unk": False, "byte_fallback": False}
    return {"type": "BPE"} | none | flags | more | {"vocab": vocabulary, "merges": merges}


def _sentencepiece_json(
    tokens: list[str],
    kinds: list[int],
    scores: list[float],
    vocabulary: dict[str, int],
    prefix: bool,
) -> dict[str, Any]:
    ranked = sorted(
        (-score, index)
        for index, (score, kind) in enumerate(zip(scores, kinds, strict=True))
        if kind == _NORMAL
    )
    pieces = [tokens[index] for _, index in ranked]
    known = set(pieces)
    merges = [
        [text[:at], text[at:]]
        for text in pieces
        for at in range(1, len(text))
        if text[:at] in known and text[at:] in known
    ]
    unknown = tokens[0]
    marks = {
        text: index
        for index, (text, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (_UNKNOWN, _CONTROL, _OWN)
    }
    begins: list[dict[str, Any]] = [{"type": "Prepend", "prepend": "▁"}] if prefix else []
    begins += [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    decoders = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []),
    ]
    return {
        "normalizer": {"type": "Sequence", "normalizers": begins},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _bpe(
            dict(sorted((marks | vocabulary).items(), key=lambda item: item[1])),
            merges,
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        ),
    }


def _sentencepiece_model(
    tokens: list[str], kinds: list[int], scores: list[float], prefix: bool = True
) -> bytes:
    from sentencepiece import sentencepiece_model_pb2 as spm

    model = spm.ModelProto()
    model.trainer_spec.model_type = spm.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.add_dummy_prefix = prefix
    model.normalizer_spec.remove_extra_whitespaces = False
    for text, kind, score in itertools.zip_longest(tokens, kinds, scores):
        # A vocabulary of SentencePiece needs one unknown piece, and Phi-3's calls it a control token.
        kind = _UNKNOWN if text == "<unk>" else kind
        model.pieces.add(piece=text, score=score, type=kind)
    return bytes(model.SerializeToString())
