"""Whether an answer says of one what the reply says of the other: the same words, and another meaning."""

from __future__ import annotations

from collections.abc import Sequence

from evals.facts import polarity
from evals.facts.alike import alike, among
from evals.facts.case import Case
from evals.facts.contradictions import IN_FRAME, LISTS, UNITS, of_list
from evals.facts.kinds import Kind, Token

_SAME_CLAUSE = 2  # words that two clauses share when they are about the same
_LONG = 40  # tokens of a reply in which no exchange is looked for
_AS_BEFORE = 0.85  # share of wording that an answer exchanged back has with the reply
_BETTER = 0.05  # more than it had


def exchanged(case: Case) -> bool:
    """Whether the answer says of one what the reply says of the other."""
    return (
        _other_count(case)
        or any(_other_clause(case, part) for part in case.answer_clauses)
        or _other_way_round(case)
    )


def _counted(row: Sequence[Token]) -> list[tuple[Token, Token]]:
    """The numbers with what they count."""
    content = [token for token in row if token.content or token.kind is Kind.END]
    return [
        (number, thing)
        for number, thing in zip(content, content[1:], strict=False)
        if number.kind is Kind.NUMBER and thing.kind in (Kind.WORD, Kind.CLOSED)
    ]


def _other_count(case: Case) -> bool:
    """Three days for three weeks; three cows and seven pigs for seven cows and three pigs."""
    wanted, given = _counted(case.reference), _counted(case.answer)
    for number, thing in given:
        units = [unit for first, unit in wanted if alike(first, number) and unit.sort in UNITS]
        same_list = [unit for unit in units if unit.sort is thing.sort]
        if same_list and not among(thing, same_list):
            return True
        numbers = [first for first, other in wanted if alike(other, thing)]
        elsewhere = [first for first, other in given if not alike(other, thing)]
        if not among(number, numbers) and any(among(first, elsewhere) for first in numbers):
            return True
    return False


def _other_clause(case: Case, part: polarity.Clause) -> bool:
    """Whether a clause of the answer has items of a list that the reply has in another clause, and none of its own."""
    best = max(
        case.reference_clauses,
        key=lambda clause: sum(among(token, clause.content) for token in part.content),
        default=None,
    )
    if best is None:
        return False
    named = [token for token in best.content if token.kind is Kind.WORD]
    shared = [token for token in part.content if among(token, named)]
    if len(shared) < _SAME_CLAUSE:
        return False
    for sort in LISTS[1:]:
        own, given = of_list(best.content, sort), of_list(part.content, sort)
        if sort not in UNITS and own and given and not any(among(token, own) for token in given):
            return True
    return False


def _other_way_round(case: Case) -> bool:
    """'Ben is taller than Ada' for 'Ada is taller than Ben': exchanged back, the answer is the reply."""
    if case.frame < IN_FRAME or len(case.one) > _LONG:
        return False
    for one, other in _pairs(case):
        back = [_exchange(token, one, other) for token in case.other]
        if back != case.other:
            again = Case(case.question, case.reference, back, case.every)
            if again.frame >= max(_AS_BEFORE, case.frame + _BETTER):
                return True
    return False


def _pairs(case: Case) -> list[tuple[Token, Token]]:
    """Two words of the reply that the answer has in the other order, with no 'and' or comma between them."""
    pairs = []
    for clause in case.reference_clauses:
        for i, one in enumerate(clause.tokens):
            for other in _after(clause.tokens[i + 1 :], one, case):
                positions = [_first(token, case.other) for token in (other, one)]
                if positions == sorted(positions) and positions[0] >= 0:
                    pairs.append((one, other))
    return pairs


def _after(row: Sequence[Token], one: Token, case: Case) -> list[Token]:
    if one.kind is not Kind.WORD:
        return []
    others = []
    for token in row:
        if token.key in case.question.joins:
            break
        new = one in case.new or token in case.new
        if (
            new
            and token.kind is Kind.WORD
            and _written(token) is _written(one)
            and not alike(token, one)
        ):
            others.append(token)
    return others


def _written(token: Token) -> bool:
    """Whether a word is written with a capital, be it only since it begins the sentence."""
    return token.text[:1].isupper()


def _first(token: Token, row: Sequence[Token]) -> int:
    """Where a row has the token first; -1 where it has not."""
    return next((at for at, other in enumerate(row) if other.content and alike(other, token)), -1)


def _exchange(token: Token, one: Token, other: Token) -> Token:
    if not token.content:
        return token
    return other if alike(token, one) else one if alike(token, other) else token
