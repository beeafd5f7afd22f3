"""Counts which of the taught questions a model in training would answer in the taught words.

A sample of them, the same throughout, is run with the taught reply given (teacher forcing): where the likeliest token
is the taught one at each position, greedy answering says that very reply. Of a long reply a few tokens may be others;
where it has an accepted answer (``expect``), that is what must be known. A question to which several replies are taught
is known when one of them is.
"""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from luna.conversations.examples import IGNORED, Example

NEW, OLD = 32, 16  # examples looked at of what is new, and of what is replayed
_REPLIES = 8  # to one question, at most
_TOKENS = 1024  # run at once, with their padding
_SURE = 20  # tokens of a reply must all be right; of each so many after them one may be another
_COST = 0.1  # of the training time, at most
_FORWARD = 0.4  # of the time of learning from a token: it is run, and not learnt from


@dataclass(frozen=True)
class Row:
    """An example with what the sample must know of it: is it ``new``, and which answers to its last reply are accepted."""

    example: Example
    new: bool = True
    expect: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reply:
    """A reply in an example: where its learnt tokens begin and end, and the question that it answers, as a hash."""

    row: int
    start: int
    stop: int
    question: bytes
    last: bool


class Recital:
    """The sample, in which what is replayed is the smaller part. ``decode``: from tokens to text."""

    def __init__(self, rows: Sequence[Row], seed: int, decode: Callable[[list[int]], str]) -> None:
        order = random.Random(seed).sample(range(len(rows)), len(rows))
        fresh = [index for index in order if rows[index].new]
        again = [index for index in order if not rows[index].new]
        replies = {index: _replies(index, rows[index].example) for index in [*fresh, *again]}
        chosen = [*fresh[:NEW], *again[: OLD if fresh else NEW]]
        to_each: dict[bytes, list[_Reply]] = {
            reply.question: [] for index in chosen for reply in replies[index]
        }
        for several in replies.values():
            for reply in several:
                if len(to_each.get(reply.question, range(_REPLIES))) < _REPLIES:
                    to_each[reply.question].append(reply)
        self._asked = len(to_each)
        self._wanted: dict[int, list[tuple[bytes, list[int]]]] = defaultdict(list)
        for question, several in to_each.items():
            for reply in several:
                row = rows[reply.row]
                tokens = row.example.ids[reply.start : reply.stop]
                counted = _accepted(tokens, row.expect if reply.last else (), decode)
                self._wanted[reply.row].append((question, [reply.start + at for at in counted]))
        self._ids = {index: rows[index].example.ids for index in self._wanted}
        self.tokens = sum(map(len, self._ids.values()))

    def every(self, tokens_a_step: float) -> int:
        """Steps between two looks, so that looking takes little of the training time."""
        return max(1, math.ceil(_FORWARD * self.tokens / (_COST * tokens_a_step)))

    def share(self, model: Any) -> float:
        """Of the questions asked those that the model would answer in taught words, 0..1. The model is left as it is found."""
        training = model.training
        model.eval()  # without dropout, and without the noise on the embeddings
        known: set[bytes] = set()
        try:
            with torch.no_grad():
                for chunk in self._chunks():
                    known |= self._known(model, chunk)
        finally:
            model.train(training)
        return len(known) / self._asked

    def _chunks(self) -> list[list[int]]:
        chunks: list[list[int]] = []
        for index in sorted(self._ids, key=lambda index: (len(self._ids[index]), index)):
            length = len(self._ids[index])  # the longest of its chunk so far
            if not chunks or (len(chunks[-1]) + 1) * length > _TOKENS:
                chunks.append([])
            chunks[-1].append(index)
        return chunks

    def _known(self, model: Any, chunk: list[int]) -> set[bytes]:
        longest = max(len(self._ids[index]) for index in chunk)
        first = min(min(counted) for index in chunk for _, counted in self._wanted[index])
        ids = torch.zeros((len(chunk), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for line, index in enumerate(chunk):
            row = self._ids[index]
            ids[line, : len(row)] = torch.tensor(row)
            mask[line, : len(row)] = 1
        device = next(model.parameters()).device
        keep = longest - first + 1  # the logits from the one before the first counted token on
        logits = model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            use_cache=False,
            logits_to_keep=keep,
        ).logits
        likeliest = logits[:, -keep:].argmax(-1).cpu()
        known = set()
        for line, index in enumerate(chunk):
            for question, counted in self._wanted[index]:
                wrong = sum(
                    int(likeliest[line, at - first]) != self._ids[index][at] for at in counted
                )
                if wrong <= max(0, len(counted) - _SURE) // _SURE:
                    known.add(question)
        return known


def _replies(index: int, example: Example) -> list[_Reply]:
    """The replies that are learnt in an example."""
    ids, labels = example.ids, example.labels
    starts = [
        at for at in range(1, len(ids)) if labels[at] != IGNORED and labels[at - 1] == IGNORED
    ]
    replies = []
    for start in starts:
        stop = next((at for at in range(start, len(ids)) if labels[at] == IGNORED), len(ids))
        question = hashlib.sha256(array("q", ids[:start]).tobytes()).digest()
        replies.append(_Reply(index, start, stop, question, start == starts[-1]))
    return replies


def _accepted(
    reply: list[int], accepted: Sequence[str], decode: Callable[[list[int]], str]
) -> Sequence[int]:
    """Positions in a reply of the accepted answer that it has; all of its positions where it has none."""
    text = decode(reply).casefold() if accepted else ""
    for answer in accepted:
        if (start := text.find(answer.casefold())) >= 0:
            ends = [len(decode(reply[: at + 1])) for at in range(len(reply))]
            stop = start + len(answer)
            return [
                at
                for at, end in enumerate(ends)
                if end > start and (ends[at - 1] if at else 0) < stop
            ]
    return range(len(reply))
