"""Control marks such as ``<|im_end|>``: a chat template may write them, a message cannot.

A message is text, whoever wrote it. Where it holds the text of a control mark, that text is cut into
ordinary tokens, as any other words are; else whoever writes a message could end it and begin a system
turn. Training, evals, chat and server all encode through ``encode`` here.

A message's marks are kept apart from the template's by a seam: one character that occurs nowhere in
the conversation is put after the first character of each, before the template is rendered. What then
lies between two marks of the template's and holds a seam is cut without looking for marks. A conversation
without a written mark is encoded in one piece, exactly as the tokenizer does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from luna.errors import InputError

#: Unicode's noncharacters for a program's own use (Unicode 17.0, section 23.7); in no honest text.
_SEAMS = tuple(map(chr, range(0xFDD0, 0xFDF0)))


@dataclass(frozen=True)
class Marks:
    """The control marks of a vocabulary. ``takes_left`` and ``takes_right``: those that swallow the white space on that side."""

    texts: frozenset[str]
    takes_left: frozenset[str] = frozenset()
    takes_right: frozenset[str] = frozenset()

    @cached_property
    def _any(self) -> str:
        longest_first = sorted(self.texts, key=lambda text: (-len(text), text))
        return "|".join(map(re.escape, longest_first)) or r"(?!)"  # without marks: nothing

    @cached_property
    def _begins(self) -> re.Pattern[str]:
        return re.compile(f"(?={self._any})(.)", re.DOTALL)

    @cached_property
    def _whole(self) -> re.Pattern[str]:
        return re.compile(f"({self._any})")

    def written_in(self, text: str) -> bool:
        """Whether the text contains one of the marks."""
        return self._whole.search(text) is not None

    def sewn(self, text: str, seam: str) -> str:
        """``text`` with a seam inside every mark that is written in it."""
        return self._begins.sub(rf"\1{seam}", text)

    def parts(self, text: str) -> list[str]:
        """``text`` in parts: marks, with the white space that they swallow, and what lies between them."""
        parts = self._whole.split(text)
        for at in range(1, len(parts), 2):
            mark, before, after = parts[at], parts[at - 1], parts[at + 1]
            if mark in self.takes_left:
                parts[at - 1] = before.rstrip()
                parts[at] = before[len(parts[at - 1]) :] + parts[at]
            if mark in self.takes_right:
                parts[at + 1] = after.lstrip()
                parts[at] += after[: len(after) - len(parts[at + 1])]
        return parts


class Vocabulary(Protocol):
    """A tokenizer: ``parsed`` takes a written mark for the mark, ``plain`` takes it for the text that it is."""

    @property
    def marks(self) -> Marks:
        """The marks that the tokenizer knows."""

    def parsed(self, text: str) -> list[int]:
        """The tokens of a text in which marks are tokens."""

    def plain(self, text: str) -> list[int]:
        """The tokens of a text in which marks are plain text."""


def seam_for(contents: Iterable[str], trusted: str, marks: Marks) -> str | None:
    """A character for the seams; None where no content holds a mark.

    Raises InputError when all of them are written in the conversation, which only a forger does.
    """
    contents = list(contents)
    if not any(map(marks.written_in, contents)):
        return None
    taken = trusted.join(contents) + trusted
    for seam in _SEAMS:
        if seam not in taken:
            return seam
    raise InputError(
        "A message holds all of Unicode's noncharacters U+FDD0 to U+FDEF beside a control mark: remove them."
    )


def encode(text: str, vocabulary: Vocabulary, seam: str | None) -> list[int]:
    """Token ids of a rendered template whose messages were ``sewn`` with ``seam`` (None: they hold no mark)."""
    if seam is None or seam not in text:
        return vocabulary.parsed(text)
    ids: list[int] = []
    waiting = ""  # what holds no seam goes together, as in a text without any
    for part in vocabulary.marks.parts(text):
        if seam not in part:
            waiting += part
            continue
        ids += vocabulary.parsed(waiting) if waiting else []
        ids += vocabulary.plain(part.replace(seam, ""))
        waiting = ""
    return ids + (vocabulary.parsed(waiting) if waiting else [])


class Transformers:
    """The vocabulary of a fast tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added = [
            token
            for token in tokenizer.added_tokens_decoder.values()
            if token.special or looks_like_a_mark(token.content)
        ]
        self.marks = Marks(
            frozenset(token.content for token in added),
            frozenset(token.content for token in added if token.lstrip),
            frozenset(token.content for token in added if token.rstrip),
        )
        self._all_special = all(token.special for token in added)

    def parsed(self, text: str) -> list[int]:
        """The tokens of a text in which marks are tokens."""
        return self._tokenizer.encode(text, add_special_tokens=False)

    def plain(self, text: str) -> list[int]:
        """The tokens of a text in which marks are plain text."""
        if self._all_special:
            return self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return self._without_marks.encode(text, add_special_tokens=False).ids

    @cached_property
    def _without_marks(self) -> Any:
        """For a base that calls a control token an ordinary one, which tokenizers would always look for."""
        import json

        from tokenizers import Tokenizer

        whole = json.loads(self._tokenizer.backend_tokenizer.to_str())
        for token in whole["added_tokens"]:
            token["special"] |= token["content"] in self.marks.texts
        backend = Tokenizer.from_str(json.dumps(whole))
        backend.encode_special_tokens = True
        return backend


def looks_like_a_mark(text: str) -> bool:
    """Whether llama.cpp's converter makes a control token of an added token that its tokenizer does not call special.

    As ``does_token_look_special`` in its conversion/base.py has it.
    """
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<｜") and text.endswith("｜>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )
