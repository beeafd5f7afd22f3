"""General questions and prose: what the base answers to them, and what a generation has kept of that.

A question counts when the base answered it rightly. So a base in another language is asked what it knows, and a small
one what it can. Of a set of which a sample gets no right answer the rest is not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evals.facts.text import contains
from luna import files
from luna.answering import general_text
from luna.answering.ask import ask
from luna.answering.engine import Answer, Engine
from luna.answering.general_text import Likelihood
from luna.conversations import general as prompts
from luna.conversations.probes import Probe
from luna.conversations.questions import Question
from luna.params import Evaluate
from luna.promotion.size import LEAST_GENERAL

KIND = "ability"  # of their probes
SAMPLE = 20  # of each set, spread over it
MOST_TOKENS = (
    32  # of an answer: what is right stands at its beginning, and a small base goes on and on
)
MOST_OF_REPLY = 32  # tokens of an answer that is trained again
DRAWN = 7  # the seed of what is drawn
OWN = 60  # of the base's own answers, whose likelihood is measured
_FITS = 1024  # tokens of a question; longer ones are not asked
_PROSE = "prose-"


@dataclass(frozen=True)
class Asked:
    """A question with the beginning of a model's answer; ``ended``: it is all of it."""

    question: Question
    answer: str
    ended: bool
    right: bool

    def as_row(self) -> dict[str, Any]:
        """As models/general.jsonl and models/ability.jsonl keep it."""
        row = {"question": self.question.identity} | asdict(self.question)
        return row | {"answer": self.answer, "ended": self.ended, "right": self.right}


@dataclass(frozen=True)
class Texts:
    """How likely a model holds general text to be: prose in the language ``prose_of``, and the base's own answers."""

    prose_of: str | None
    prose: Likelihood
    own: Likelihood

    def as_json(self) -> dict[str, Any]:
        """As models/general.json keeps it."""
        return asdict(self)

    @classmethod
    def loads(cls, document: Mapping[str, Any]) -> Texts:
        """As ``as_json`` wrote it."""
        prose, own = (Likelihood(**document[key]) for key in ("prose", "own"))
        return cls(document["prose_of"], prose, own)


@dataclass(frozen=True)
class Reply:
    """The beginning of what the base itself says to a general prompt; ``ended``: it is all of it. ``drawn``: not the likeliest answer, but one by chance."""

    ask: str
    answer: str
    ended: bool
    drawn: bool

    def as_row(self) -> dict[str, Any]:
        """As models/general_replies.jsonl keeps it."""
        return asdict(self)


NOTHING = Texts(None, Likelihood(None, 0), Likelihood(None, 0))


def rows(path: Path) -> list[Asked]:
    """What models/general.jsonl or models/ability.jsonl says."""
    asked = []
    for row in files.read_jsonl(path):
        question = Question(row["set"], row["kind"], row["ask"], tuple(row["expect"]))
        asked.append(Asked(question, row["answer"], row["ended"], row["right"]))
    return asked


def of_base(
    model: Path, sets: Mapping[str, Sequence[Question]], system_prompt: str, settings: Evaluate
) -> list[Asked]:
    """The base's answers to every question; of a set whose sample gets no right answer, to the sample alone.

    Right is what it answers rightly twice, in two orders: llama.cpp rounds a little otherwise in another batch, and what a
    small model says by a hair's breadth would count as lost in every generation.
    """
    samples = {name: items[:: max(1, len(items) // SAMPLE)] for name, items in sets.items()}
    first = answers(
        model, [item for items in samples.values() for item in items], system_prompt, settings
    )
    known = {item.question.set for item in first if item.right}
    asked = {item.question for item in first}
    rest = [item for name in known for item in sets[name] if item not in asked]
    order = {item: at for at, item in enumerate(item for items in sets.values() for item in items)}
    both = first + answers(model, sorted(rest, key=order.__getitem__), system_prompt, settings)
    right = [item.question for item in both if item.right]
    again = answers(
        model, right[::-1], system_prompt, settings, called="general answers, asked again"
    )
    return sorted(sure(both, again), key=lambda item: order[item.question])


def sure(first: Sequence[Asked], again: Sequence[Asked]) -> list[Asked]:
    """The first answers; right are only those to questions that were answered rightly again."""
    twice = {item.question for item in again if item.right}
    return [replace(item, right=item.right and item.question in twice) for item in first]


def answers(
    model: Path,
    questions: Sequence[Question],
    system_prompt: str,
    settings: Evaluate,
    most: int = MOST_TOKENS,
    drawn: int | None = None,
    called: str = "general answers",
) -> list[Asked]:
    """A model's answers of at most ``most`` tokens, in the order of the questions."""
    given = ask(
        model,
        [_probe(item) for item in questions],
        system_prompt,
        settings.model_copy(update={"max_tokens": most}),
        lambda engine, prompt, replies: None,
        _FITS,
        drawn,
        called,
    )
    return [_marked(item, answer) for item, answer in zip(questions, given, strict=True)]


def _probe(question: Question) -> Probe:
    return Probe(KIND, (("user", question.ask),), question.expect, "", question.identity, None)


def _marked(question: Question, answer: Answer | None) -> Asked:
    if answer is None:
        return Asked(question, "", False, False)
    right = not answer.failed and any(
        contains(answer.text, accepted) for accepted in question.expect
    )
    return Asked(question, answer.text, answer.ended and not answer.failed, right)


def replies(model: Path, language: str, system_prompt: str, settings: Evaluate) -> list[Reply]:
    """The base's answers to the general prompts, for data.general_replay: to each the likeliest, and to every other one that is drawn."""
    asked = [Question(language, "prompt", text, ()) for text in prompts.prompts(language)]
    return [
        Reply(item.question.ask, item.answer, item.ended, drawn is not None)
        for drawn, some, called in (
            (None, asked, "answers to be replayed"),
            (DRAWN, asked[::2], "drawn answers to be replayed"),
        )
        for item in answers(model, some, system_prompt, settings, MOST_OF_REPLY, drawn, called)
        if item.answer
    ]


def right_by_set(asked: Iterable[Asked]) -> dict[str, dict[str, int]]:
    """Right and asked, by set."""
    counts: dict[str, dict[str, int]] = {}
    for item in asked:
        count = counts.setdefault(item.question.set, {"right": 0, "asked": 0})
        count["right"] += item.right
        count["asked"] += 1
    return counts


def main_set(base: Sequence[Asked], folder: Path) -> str | None:
    """The set with prose of which the base answers the largest part, and enough of it; None where there is none."""
    counts = right_by_set(base)
    with_prose = [
        (count["right"] / count["asked"], name)
        for name, count in counts.items()
        if count["right"] >= LEAST_GENERAL and _prose(folder, name).is_file()
    ]
    return max(with_prose)[1] if with_prose else None


def texts(
    model: Path, base: Sequence[Asked], folder: Path, prose_of: str | None, system_prompt: str
) -> Texts:
    """How likely the model holds the prose of a set, and the answers ``base`` gave to its questions."""
    if prose_of is None:
        return NOTHING
    path = _prose(folder, prose_of)
    prose = path.read_text(encoding="utf-8") if path.is_file() else ""
    own = sorted(
        (item for item in base if item.question.set == prose_of and item.answer),
        key=lambda item: item.question.identity,
    )[:OWN]
    with Engine(model, parallel=1, context_per_sequence=512) as engine:
        replies = [
            (engine.prompt((("user", item.question.ask),), system_prompt), item.answer)
            for item in own
        ]
        return Texts(
            prose_of,
            general_text.of_texts(engine, [part for part in prose.split("\n\n") if part.strip()]),
            general_text.of_replies(engine, replies),
        )


def _prose(folder: Path, name: str) -> Path:
    return folder / f"{_PROSE}{name}.txt"
