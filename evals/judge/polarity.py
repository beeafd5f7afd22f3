"""Yes or no: what a clause affirms and what it denies, and whether two texts say the opposite of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evals.judge.alike import alike
from evals.judge.languages import Sort
from evals.judge.tokens import Kind, Token


_SAME_MATTER = 0.5  # of the content of the smaller clause: both are about the same
_RESTATED = 0.75  # of the content of a denial, without the denial: the opposite is said


@dataclass(frozen=True)
class Clause:
    """A part of a sentence. ``word``: it is a yes (1) or a no (-1) by itself, else 0."""

    tokens: tuple[Token, ...]
    content: tuple[Token, ...]
    denies: bool
    shut: bool
    open: bool
    word: int

    @property
    def sign(self) -> int:
        """1 affirms, -1 denies: 'not open' is 'closed'. 0 where nothing says either."""
        if self.word:
            return self.word
        if not (self.denies or self.shut or self.open):
            return 0
        return (-1 if self.denies else 1) * (-1 if self.shut else 1)


def clauses(row: Sequence[Token]) -> list[Clause]:
    """The clauses of a text, parted at punctuation and at words as 'but'."""
    parts: list[list[Token]] = [[]]
    for token in row:
        if token.kind is Kind.END or token.sort is Sort.BUT:
            parts.append([])
        else:
            parts[-1].append(token)
    return [_clause(part) for part in parts if part]


def _clause(part: Sequence[Token]) -> Clause:
    sorts = {token.sort for token in part if token.kind is Kind.KNOWN}
    content = tuple(token for token in part if token.content)
    others = [
        token
        for token in part
        if token.content or token.sort in (Sort.NEGATION, Sort.SHUT, Sort.OPEN)
    ]
    first = part[0].sort
    alone = not others
    word = 1 if Sort.AFFIRM in sorts and alone else -1 if Sort.DENY in sorts and alone else 0
    denies = Sort.NEGATION in sorts or (Sort.DENY in sorts and not alone)
    affirms = first is Sort.AFFIRM and not alone
    return Clause(
        tuple(part), content, denies, Sort.SHUT in sorts, Sort.OPEN in sorts or affirms, word
    )


def _shared(one: Clause, other: Clause) -> float:
    """The share of the smaller clause's content that both have."""
    least = min(len(one.content), len(other.content))
    return (
        sum(any(alike(a, b) for b in other.content) for a in one.content) / least if least else 0.0
    )


def _held(one: Clause, other: Clause) -> float:
    """The share of one clause's content that the other has."""
    return sum(any(alike(a, b) for b in other.content) for a in one.content) / len(one.content)


def _of_question(question: Sequence[Token]) -> int:
    return next((part.sign for part in clauses(question) if part.shut or part.open), 0)


def overall(row: Sequence[Token], question: Sequence[Token]) -> int:
    """What a text says to a question that asks for yes or no: 1, -1, or 0 where it does not say.

    'No' to 'Is it closed?' says that it is open.
    """
    asked = _of_question(question) or 1
    for part in clauses(row):
        if part.word:
            return part.word * asked
        if part.sign and (
            not part.content
            or any(alike(token, other) for token in part.content for other in question)
        ):
            return part.sign
    return 0


def opposite(
    reference: Sequence[Token], answer: Sequence[Token], question: Sequence[Token]
) -> bool:
    """Whether the answer denies what the reference affirms, or the other way round."""
    parts, others = clauses(reference), clauses(answer)
    asked = clauses(question)
    if any(part.word for part in parts) and (
        any(part.word for part in others) or not any(part.content for part in parts)
    ):
        says = overall(answer, question)
        if says:
            return says != overall(reference, question)
    if any(part.denies for part in asked):
        return False
    frame = _of_question(question)
    for other in others:
        if other.word or not other.content:
            continue
        best = max(parts, key=lambda part: _shared(part, other))
        if _shared(best, other) < _SAME_MATTER:
            continue
        expected = best.sign or frame
        if not expected and any(part.word for part in parts):
            continue
        if other.sign and (expected or other.denies) and other.sign != (expected or 1):
            if other.denies or best.denies or (other.shut or other.open) and expected:
                return True
        if not other.sign and best.denies and not best.shut and _held(best, other) >= _RESTATED:
            return True
    return False
