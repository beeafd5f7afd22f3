"""Finds what taught an answer: the nearest taught questions and their generations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luna import artifacts
from luna.conversations import schema, taught
from luna.conversations.schema import Conversation
from luna.errors import ColdStorageError, InputError, StateError
from luna.forensics.asking import checked, whole_artifact
from luna.history.line import Line
from luna.names import GenerationName

NEAR = 40.0  # chrF below which two questions have little in common but their language
_GRAM = 3
_SHORTLIST = 200


@dataclass
class Later:
    """What a generation did with a conversation: trained on it (``trained``), and was asked it in its evals."""

    generation: str
    trained: bool
    right: int
    asked: int


@dataclass
class TaughtQuestion:
    """A taught conversation near to the question. ``similarity``: chrF of the questions, 0..100; ``by``: who taught it."""

    similarity: float
    asked: str
    reply: str
    conversation: str
    by: str
    later: list[Later] = field(default_factory=list)


@dataclass
class Blame:
    """``head``: the generation whose line was searched; ``missing``: what could not be read, a sentence each."""

    question: str
    head: str
    nearest: list[TaughtQuestion]
    missing: list[str]


def blame(root: Path, line: Line, question: str, most: int = 3, generation: str = "HEAD") -> Blame:
    """Search what ``generation`` and its ancestors were taught.

    Raises:
        InputError: unknown generation, unusable question, nothing was taught yet, or nothing of it can be read.
    """
    question = checked(question)
    head = line.resolve(generation)
    chain = line.ancestors(head)
    names = {GenerationName.parse(name).number: name for name in chain}
    missing: list[str] = []
    rows = _record(line, head)
    texts = _texts(root, line, head, rows, names, missing)
    if rows and not texts:
        raise InputError(f"No taught conversation of {head} can be read: {missing[0]}")
    if not texts:
        raise InputError(f"{head} was taught nothing yet: see 'luna log'.")
    by = {row.identity: row.generation for row in rows}
    nearest = [
        TaughtQuestion(
            round(score, 1),
            asked,
            item.reply,
            item.identity,
            names.get(by[item.identity], f"G{by[item.identity]:03d}"),
        )
        for score, asked, item in _nearest(question, texts.values(), most)
    ]
    _follow(root, chain, nearest, missing)
    return Blame(question, head, nearest, missing)


def _record(line: Line, head: str) -> list[taught.Taught]:
    text = line.git.show(f"refs/tags/{head}", artifacts.TAUGHT)
    try:
        return taught.loads((text or b"").decode())
    except (ValueError, TypeError):
        raise InputError(
            f"{artifacts.TAUGHT.as_posix()} of {head} cannot be read, so it is unknown what its line was taught."
        ) from None


def _parsed(data: bytes | None) -> list[Conversation]:
    """The conversations of a JSONL text; a line that is none is no conversation that was taught."""
    answers = []
    for raw in (data or b"").decode("utf-8", "replace").splitlines():
        try:
            answers.append(schema.parse(json.loads(raw)))
        except (ValueError, RecursionError):
            continue
    return answers


def _texts(
    root: Path,
    line: Line,
    head: str,
    rows: list[taught.Taught],
    names: dict[int, str],
    missing: list[str],
) -> dict[str, Conversation]:
    """Every taught conversation by identity: from the files in git at the head, and what is no longer there from its generation's delta."""
    wanted = {row.identity: row.generation for row in rows}
    listed = line.git.files(f"refs/tags/{head}", f"{artifacts.CONVERSATIONS.as_posix()}/")
    # A name with a line break cannot be asked of 'cat-file --batch'; its conversations are found in the deltas.
    files = [path for path in listed if path.endswith(".jsonl") and path.isprintable()]
    texts = {
        item.identity: item
        for data in line.git.cat([f"refs/tags/{head}:{path}" for path in files])
        for item in _parsed(data)
        if item.identity in wanted
    }
    for number in sorted(
        {generation for identity, generation in wanted.items() if identity not in texts}
    ):
        for path in (artifacts.DELTA, artifacts.HELD_OUT):
            try:
                data = (
                    whole_artifact(root, names[number], path).read_bytes()
                    if number in names
                    else b""
                )
            except (StateError, ColdStorageError) as error:
                missing.append(str(error))
                continue
            texts |= {item.identity: item for item in _parsed(data) if item.identity in wanted}
    if lost := len(wanted) - len(texts):
        missing.append(
            f"the text of {lost} taught conversations is missing: they were not searched"
        )
    return texts


def _grams(text: str) -> frozenset[str]:
    plain = " " + " ".join(text.casefold().split()) + " "
    return frozenset(plain[i : i + _GRAM] for i in range(max(1, len(plain) - _GRAM + 1)))


def _nearest(
    question: str, items: Iterable[Conversation], most: int
) -> list[tuple[float, str, Conversation]]:
    """By chrF (Popovic 2015), after a shortlist by the Jaccard similarity of character 3-grams."""
    from sacrebleu.metrics import CHRF

    grams = _grams(question)
    short: list[tuple[float, str, Conversation]] = []
    for item in items:
        for role, content in item.question:
            if role == "user":
                other = _grams(content)
                short.append((len(grams & other) / len(grams | other), content, item))
    short.sort(key=lambda entry: (-entry[0], entry[2].identity))
    measure = CHRF()
    scored = [
        (measure.sentence_score(asked.casefold(), [question.casefold()]).score, asked, item)
        for _, asked, item in short[:_SHORTLIST]
    ]
    best: dict[str, tuple[float, str, Conversation]] = {}
    for entry in sorted(scored, key=lambda entry: (-entry[0], entry[2].identity)):
        best.setdefault(entry[2].identity, entry)
    return list(best.values())[:most]


def _follow(
    root: Path, chain: list[str], nearest: list[TaughtQuestion], missing: list[str]
) -> None:
    """Which generations of the line trained on each conversation, and how their exam's answers to it were marked."""
    wanted = {item.conversation: item for item in nearest}
    for name in chain[1:]:
        try:
            trained = {
                item.identity
                for item in _parsed(whole_artifact(root, name, artifacts.TRAINING_SET).read_bytes())
            }
        except (StateError, ColdStorageError) as error:
            missing.append(str(error))
            trained = set()
        try:
            answers = [
                row
                for raw in whole_artifact(root, name, artifacts.ANSWERS).read_bytes().splitlines()
                if (row := _row(raw))
            ]
        except (StateError, ColdStorageError) as error:
            missing.append(str(error))
            answers = []
        for identity, item in wanted.items():
            own = [row for row in answers if row.get("conversation") == identity]
            if identity in trained or own:
                item.later.append(
                    Later(
                        name,
                        identity in trained,
                        sum(row.get("correct") is True for row in own),
                        len(own),
                    )
                )


def _row(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
