"""Probes: questions with accepted answers, by which a generation is judged."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luna import files
from luna.conversations import folder as folders
from luna.conversations.choose import stratified
from luna.conversations.schema import Conversation
from luna.conversations.similar import Similar
from luna.errors import InputError

RECALL = "recall"
GENERALISATION = "generalisation"
CHOICE = "choice"  # generalisation of held-out conversations: the true reply among distractors
KINDS = (RECALL, GENERALISATION, CHOICE)
DISTRACTORS = 3

Messages = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Probe:
    """``generation`` taught the conversation that the probe comes from; None when nobody did yet."""

    kind: str
    messages: Messages
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


@dataclass(frozen=True)
class Lesson:
    """One reply that a conversation teaches: the message at ``index``, an assistant's."""

    conversation: Conversation
    index: int

    @property
    def question(self) -> Messages:
        """What comes before it."""
        return self.conversation.messages[: self.index]

    @property
    def reply(self) -> str:
        """What is learnt."""
        return self.conversation.messages[self.index][1]

    @property
    def expect(self) -> tuple[str, ...]:
        """Accepted answers: those of a conversation are about its last reply."""
        return self.conversation.expect if self._is_last else ()

    @property
    def identity(self) -> str:
        """Of the last reply the conversation's own."""
        return self.conversation.identity + ("" if self._is_last else f"/{self.index:09}")

    @property
    def _is_last(self) -> bool:
        return self.index == self.conversation.learnt[-1]


def lessons(conversations: Iterable[Conversation]) -> list[Lesson]:
    """Every reply that the conversations teach."""
    return [Lesson(item, index) for item in conversations for index in item.learnt]


def recall_probe(lesson: Lesson, generation: int | None, replies: Iterable[str] = ()) -> Probe:
    """What was before the reply. ``replies``: all that were taught to it."""
    return Probe(
        RECALL,
        lesson.question,
        lesson.expect,
        lesson.reply,
        lesson.conversation.identity,
        generation,
        also=_others(lesson, replies),
    )


def _others(lesson: Lesson | Conversation, replies: Iterable[str]) -> tuple[str, ...]:
    if lesson.expect:
        return ()  # decides by itself
    return tuple(sorted(set(replies) - {lesson.reply}))


def replies_by_question(conversations: Iterable[Conversation]) -> dict[Messages, list[str]]:
    """All replies that the conversations have to each question."""
    replies: dict[Messages, list[str]] = defaultdict(list)
    for lesson in lessons(conversations):
        replies[lesson.question].append(lesson.reply)
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


def choice_probes(held_out: Mapping[int | None, Sequence[Conversation]], seed: int) -> list[Probe]:
    """One a held-out conversation; its distractors are replies of other held-out ones. Too few replies: none."""
    replies = sorted({item.reply for items in held_out.values() for item in items})
    probes = []
    for generation, items in held_out.items():
        for item in items:
            if len(replies) > DISTRACTORS:
                some = random.Random(f"{seed}/{item.identity}").sample(replies, DISTRACTORS + 1)
                picked = tuple(reply for reply in some if reply != item.reply)[:DISTRACTORS]
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
    """At most ``cap`` probes of each kind, stratified by the generation that taught them; curated ones all.

    Every reply that is taught can be asked for, those in the middle of a conversation as well.
    """
    groups = {-1 if key is None else key: items for key, items in taught.items()}

    def generation(key: int) -> int | None:
        return None if key < 0 else key

    others = replies_by_question(item for items in taught.values() for item in items)
    taught_replies = {key: lessons(items) for key, items in groups.items()}
    recall = [
        recall_probe(lesson, generation(key), others[lesson.question])
        for key, lesson in stratified(taught_replies, cap, seed)
    ]
    asked = {key: [item for item in items if item.paraphrases] for key, items in groups.items()}
    general = [
        probe
        for key, item in stratified(asked, cap, seed)
        for probe in paraphrase_probes(item, generation(key), others[item.question])
    ]
    return recall + general[:cap] + list(written)


def hold_out(
    delta: list[Conversation], fraction: float, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Split a delta into what is taught and what is kept for the evals.

    Only a delta without any paraphrase needs it. A conversation is held out only when its question is
    no near-duplicate of another's, otherwise the answer would be known from training. A correction, which has
    replies that are not learnt, is never held out: it is there to be learnt.
    """
    count = int(fraction * len(delta))
    if not count or any(item.paraphrases for item in delta):
        return delta, []
    questions = [item.question[-1][1] for item in delta]
    similar = Similar(questions)
    chosen: set[int] = set()
    for index in random.Random(seed).sample(range(len(delta)), len(delta)):
        if len(chosen) >= count:
            break
        if not delta[index].context and similar.like(questions[index]) == [index]:
            chosen.add(index)
    return [item for i, item in enumerate(delta) if i not in chosen], [
        item for i, item in enumerate(delta) if i in chosen
    ]


def refuse_leaks(probes: Iterable[Probe], training: Iterable[Conversation]) -> int:
    """Prove that no question kept for generalisation is trained on, neither literally nor nearly.

    Compares the last question of each probe with every question of every training conversation by
    the Jaccard similarity of their character 5-grams. Returns the number of pairs.

    Raises:
        InputError: a probe's question is in the training set; it names both.
    """
    kept = [probe.messages[-1][1] for probe in probes if probe.kind in (GENERALISATION, CHOICE)]
    similar = Similar(kept)
    trained = {
        content
        for conversation in training
        for role, content in conversation.messages
        if role == "user"
    }
    for question in sorted(trained):
        for at in similar.like(question):
            raise InputError(
                f"The paraphrase '{kept[at]}' is almost the same as the trained question '{question}': "
                "a paraphrase must never be trained on; reword or remove one of them in data/conversations."
            )
    return len(kept) * len(trained)
