"""What a clause affirms or denies, and whether two texts say the opposite of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evals.facts.alike import among
from evals.facts.kinds import Kind, Token
from evals.facts.languages import Sort

_SAME_MATTER = 0.5  # of the content of the smaller clause: both are about the same
_RESTATED = 0.75  # of the content of a denial, without the denial: the opposite is said
_STEERS = (Sort.NEGATION, Sort.SHUT, Sort.OPEN)


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
    sorts = [token.sort for token in part if token.kind is Kind.KNOWN]
    content = tuple(token for token in part if token.content)
    alone = not content and not any(sort in _STEERS for sort in sorts)
    word = 1 if Sort.AFFIRM in sorts and alone else -1 if Sort.DENY in sorts and alone else 0
    denies = Sort.NEGATION in sorts or (Sort.DENY in sorts and not alone)
    affirms = part[0].sort is Sort.AFFIRM and not alone
    return Clause(
        tuple(part), content, denies, Sort.SHUT in sorts, Sort.OPEN in sorts or affirms, word
    )


def _matter(clause: Clause) -> list[Token]:
    return [token for token in clause.content if not token.soft]


def _held(one: Sequence[Token], other: Sequence[Token]) -> float:
    """The share of a row that the other has too; 0 of an empty one."""
    return sum(among(token, other) for token in one) / len(one) if one else 0.0


def _frame(asked: Sequence[Clause]) -> int:
    """What the question itself affirms or denies: 'closed on Sundays?' denies."""
    return next((part.sign for part in asked if part.shut or part.open), 0)


def overall(parts: Sequence[Clause], asked: Sequence[Clause]) -> int:
    """What a text says to a question that asks for yes or no: 1, -1, or 0 where it does not say.

    'No' to 'Is it closed?' says that it is open.
    """
    question = [token for part in asked for token in part.content]
    for part in parts:
        if part.word:
            return part.word * (_frame(asked) or 1)
        if part.sign and (
            not part.content or any(among(token, question) for token in part.content)
        ):
            return part.sign
    return 0


def opposite(
    reference: Sequence[Clause],
    answer: Sequence[Clause],
    asked: Sequence[Clause],
    about: Sequence[Token] = (),
) -> bool:
    """Whether the answer denies what the reference affirms, or the other way round.

    ``about``: only clauses of the answer that have one of these tokens count; all where there are none.
    """
    by_word = any(part.word for part in reference)
    if by_word and (
        any(part.word for part in answer) or not any(part.content for part in reference)
    ):
        says = overall(answer, asked)
        if says:
            return says != overall(reference, asked)
    if any(part.denies for part in asked):
        return False  # 'Where must I not park?' is answered without a denial
    return any(
        _contradicts(part, reference, _frame(asked), by_word)
        for part in answer
        if not about or any(among(token, about) for token in part.content)
    )


def _contradicts(clause: Clause, reference: Sequence[Clause], frame: int, by_word: bool) -> bool:
    matter = _matter(clause)
    if clause.word or not matter or not reference:
        return False
    best = max(reference, key=lambda part: _common_share(matter, _matter(part)))
    if _common_share(matter, _matter(best)) < _SAME_MATTER:
        return False
    if not clause.sign:
        return best.denies and not best.shut and _held(_matter(best), matter) >= _RESTATED
    expected = best.sign or frame
    if not expected and (by_word or not clause.denies):
        return False
    return clause.sign != (expected or 1) and (
        clause.denies or best.denies or bool((clause.shut or clause.open) and expected)
    )


def _common_share(one: Sequence[Token], other: Sequence[Token]) -> float:
    """The share of the shorter row that both have."""
    least = min(len(one), len(other))
    return sum(among(token, other) for token in one) / least if least else 0.0
