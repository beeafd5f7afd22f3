"""Probes: questions with accepted answers, by which a generation is judged."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luna import files
from luna.conversations import folder as folders
from luna.conversations.choose import stratified
from luna.conversations.schema import Conversation
from luna.errors import InputError

RECALL = "recall"
GENERALISATION = "generalisation"
CHOICE = "choice"  # generalisation of held-out conversations: the true reply among distractors
KINDS = (RECALL, GENERALISATION, CHOICE)
DISTRACTORS = 3
NEAR_DUPLICATE = 0.9  # Jaccard similarity of character 5-grams above which two questions are one
_GRAM = 5


@dataclass(frozen=True)
class Probe:
    """``generation`` taught the conversation that the probe comes from; None when nobody did yet."""

    kind: str
    messages: tuple[tuple[str, str], ...]
    expect: tuple[str, ...]
    reference: str
    conversation: str
    generation: int | None
    distractors: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # the other replies that were taught to the same question

    @property
    def identity(self) -> str:
        """SHA-256 of what is asked and how it is marked."""
        content = [self.kind, self.messages, self.expect, self.reference, self.distractors]
        text = json.dumps(content + ([self.also] if self.also else []), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def as_row(self) -> dict[str, Any]:
        """The probe as a line of models/probes.jsonl."""
        return {"probe": self.identity} | asdict(self)


def load(path: Path) -> list[Probe]:
    """A probe set as prep wrote it. Raises InputError for any other row, a probe's hash being part of it."""
    probes = []
    line = 0
    try:
        for line, row in enumerate(files.read_jsonl(path), start=1):  # noqa: B007 - for the message
            identity = row.pop("probe")
            row["messages"] = tuple((role, content) for role, content in row["messages"])
            probes.append(
                Probe(
                    **row
                    | {key: tuple(row.get(key, ())) for key in ("expect", "distractors", "also")}
                )
            )
            if probes[-1].identity != identity or probes[-1].kind not in KINDS:
                raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{path} line {line} is not a probe as the prep stage writes it: make the file again with 'dvc repro --force --single-item prep'."
        ) from None
    return probes


def recall_probe(
    conversation: Conversation, generation: int | None, replies: Iterable[str] = ()
) -> Probe:
    """The conversation's own question. ``replies``: all that were taught to it."""
    return Probe(
        RECALL,
        conversation.question,
        conversation.expect,
        conversation.reply,
        conversation.identity,
        generation,
        also=_others(conversation, replies),
    )


def _others(conversation: Conversation, replies: Iterable[str]) -> tuple[str, ...]:
    if conversation.expect:
        return ()  # decides by itself
    return tuple(sorted(set(replies) - {conversation.reply}))


def replies_by_question(
    conversations: Iterable[Conversation],
) -> dict[tuple[tuple[str, str], ...], list[str]]:
    """All replies that the conversations have to each question."""
    replies: dict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for item in conversations:
        replies[item.question].append(item.reply)
    return replies


def paraphrase_probes(
    conversation: Conversation, generation: int | None, replies: Iterable[str] = ()
) -> list[Probe]:
    """One probe for each other way to ask, never trained on. ``replies``: all that were taught to the question."""
    return [
        Probe(
            GENERALISATION,
            (*conversation.question[:-1], ("user", text)),
            conversation.expect,
            conversation.reply,
            conversation.identity,
            generation,
            also=_others(conversation, replies),
        )
        for text in conversation.paraphrases
    ]


def choice_probes(held_out: Mapping[int, Sequence[Conversation]], seed: int) -> list[Probe]:
    """One a held-out conversation; its distractors are replies of other held-out ones. Too few replies: none."""
    replies = sorted({item.reply for items in held_out.values() for item in items})
    probes = []
    for generation, items in held_out.items():
        for item in items:
            others = [reply for reply in replies if reply != item.reply]
            if len(others) >= DISTRACTORS:
                picked = tuple(random.Random(f"{seed}/{item.identity}").sample(others, DISTRACTORS))
                probes.append(
                    Probe(
                        CHOICE,
                        item.question,
                        item.expect,
                        item.reply,
                        item.identity,
                        generation,
                        picked,
                    )
                )
    return probes


def curated(folder: Path) -> list[Probe]:
    """Probes that a person wrote: conversations in ``evals/probes/*.jsonl``, never trained on.

    Raises InputError for one that is not valid, naming file and line.
    """
    return [
        Probe(GENERALISATION, item.question, item.expect, item.reply, item.identity, None)
        for item in folders.load(folder)
    ]


def build(
    taught: Mapping[int | None, Sequence[Conversation]],
    written: Iterable[Probe],
    cap: int,
    seed: int,
) -> list[Probe]:
    """At most ``cap`` probes of each kind, stratified by the generation that taught them; curated ones all."""
    groups = {-1 if key is None else key: items for key, items in taught.items()}

    def generation(key: int) -> int | None:
        return None if key < 0 else key

    others = replies_by_question(item for items in taught.values() for item in items)
    recall = [
        recall_probe(item, generation(key), others[item.question])
        for key, item in stratified(groups, cap, seed)
    ]
    asked = {key: [item for item in items if item.paraphrases] for key, items in groups.items()}
    general = [
        probe
        for key, item in stratified(asked, cap, seed)
        for probe in paraphrase_probes(item, generation(key), others[item.question])
    ]
    return recall + general[:cap] + list(written)


def question_grams(text: str) -> frozenset[str]:
    """The character 5-grams of a text without case and punctuation."""
    plain = " ".join(re.findall(r"\w+", text.casefold()))
    return frozenset(plain[i : i + _GRAM] for i in range(max(1, len(plain) - _GRAM + 1)))


def hold_out(
    delta: list[Conversation], fraction: float, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Split a delta into what is taught and what is kept for the evals.

    Only a delta without any paraphrase needs it. A conversation is held out only when its question is
    no near-duplicate of another's, otherwise the answer would be known from training.
    """
    if any(item.paraphrases for item in delta):
        return delta, []
    grams = [question_grams(item.question[-1][1]) for item in delta]
    order = random.Random(seed).sample(range(len(delta)), len(delta))
    chosen: set[int] = set()
    for index in order:
        if len(chosen) >= int(fraction * len(delta)):
            break
        if all(
            other == index or similarity(grams[index], grams[other]) <= NEAR_DUPLICATE
            for other in range(len(delta))
        ):
            chosen.add(index)
    return [item for i, item in enumerate(delta) if i not in chosen], [
        item for i, item in enumerate(delta) if i in chosen
    ]


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's, 0..1."""
    return len(one & other) / len(one | other)


def refuse_leaks(probes: Iterable[Probe], training: Iterable[Conversation]) -> int:
    """Prove that no question kept for generalisation is trained on, neither literally nor nearly.

    Compares the last question of each probe with every question of every training conversation by
    the Jaccard similarity of their character 5-grams. Returns the number of pairs compared.

    Raises:
        InputError: a probe's question is in the training set; it names both.
    """
    seen: dict[frozenset[str], str] = {}
    index: dict[str, list[frozenset[str]]] = {}
    for conversation in training:
        for role, content in conversation.messages:
            if role == "user" and (grams := question_grams(content)) not in seen:
                seen[grams] = content
                for gram in grams:
                    index.setdefault(gram, []).append(grams)
    compared = 0
    for probe in probes:
        if probe.kind not in (GENERALISATION, CHOICE):
            continue
        question = probe.messages[-1][1]
        grams = question_grams(question)
        # A pair above the limit shares grams; only those that share one are looked at.
        for other in {other for gram in grams for other in index.get(gram, ())}:
            compared += 1
            if similarity(grams, other) > NEAR_DUPLICATE:
                raise InputError(
                    f"The paraphrase '{question}' is almost the same as the trained question '{seen[other]}': "
                    "a paraphrase must never be trained on; reword or remove one of them in data/conversations."
                )
    return compared
