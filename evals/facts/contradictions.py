"""What makes an answer wrong: another item, another word in the place of the reply's, a hedge."""

from __future__ import annotations

from collections.abc import Sequence

from evals.facts import polarity
from evals.facts.alike import alike, among
from evals.facts.case import Case
from evals.facts.kinds import Kind, Token
from evals.facts.languages import CLOSED, Sort

MANY_NEW = 6  # new words: a long reply, which nobody repeats whole
IN_FRAME = 0.6  # share of wording (Case.frame) above which an answer is the reply with changes
_IN_LONG_FRAME = 0.7  # the same of a reply with many new words
_CLOSE_FRAME = 0.8  # the same where what was changed is no new word of the reply's first clause
_NEAR = 2  # tokens on each side of an 'or' that may be an answer
_NEAR_MAYBE = 5  # of a 'maybe'
_NUMBERS = (Kind.NUMBER, Kind.TIME, Kind.CODE)
LISTS: tuple[Sort | None, ...] = (None, *sorted(CLOSED, key=lambda sort: sort.value))
UNITS = (Sort.SPAN, Sort.MONEY)
_TIMES = (None, Sort.WEEKDAY, Sort.MONTH, Sort.SEASON)


def of_list(row: Sequence[Token], sort: Sort | None) -> list[Token]:
    """The items of a closed list; for None the numbers, times and names of code."""
    if sort is None:
        return [token for token in row if token.kind in _NUMBERS]
    return [token for token in row if token.sort is sort and token.kind is Kind.CLOSED]


def other_item(case: Case) -> bool:
    """Whether another number or item of a closed list stands where the reply's is missing."""
    for sort in LISTS:
        wanted = of_list(case.content, sort)
        if not wanted:
            continue
        given = of_list(case.given, sort)
        others = [
            token
            for token in given
            if not token.soft
            and not among(token, wanted)
            and not case.asked(token)
            and not _denied(case, token)
        ]
        if not others:
            continue
        missing = [token for token in wanted if not among(token, given)]
        if any(token.soft or token in case.new for token in missing):
            return True
        none_new = not any(token in case.new for token in wanted)
        if sort not in UNITS and none_new and len(missing) == len(wanted):
            return True
    return False


def same_choice(case: Case) -> bool | None:
    """Whether the answer takes the reply's choice of several that the question offers; None where one of them takes none."""
    wanted, given = (
        _chosen(case, parts) for parts in (case.reference_clauses, case.answer_clauses)
    )
    if not wanted or len(given) != 1:
        return None
    # Of two that the reply names, the first is its answer: 'Ada is taller than Ben'.
    return alike(given[0], wanted[0])


def _chosen(case: Case, parts: Sequence[polarity.Clause]) -> list[Token]:
    """The question's choices that a text names and does not deny, in its order."""
    return [
        token
        for part in parts
        if not part.denies
        for token in part.content
        if among(token, case.question.choices)
    ]


def lacks_what_was_asked(case: Case) -> bool:
    """Whether the question asks for a time or a number, the reply has one, and the answer has none of it."""
    when, many = Sort.WHEN in case.question.asks_for, Sort.MANY in case.question.asks_for
    if (
        many
        and (counted := _counted(case))
        and not any(among(item, case.given) for item in counted)
    ):
        return True
    lists = _TIMES if when else (None,) if many else ()
    wanted = [token for sort in lists for token in of_list(case.new, sort) if not token.soft]
    return bool(wanted) and not any(among(token, case.given) for token in wanted)


def _counted(case: Case) -> list[Token]:
    """The new numbers of the reply that stand before a word of the question: how many there are of it."""
    return [
        token
        for token, following in zip(case.content, case.content[1:], strict=False)
        if token.kind is Kind.NUMBER
        and token in case.new
        and following.kind is Kind.WORD
        and case.asked(following)
    ]


def _denied(case: Case, token: Token) -> bool:
    """Whether the answer names it only to deny it."""
    return any(
        part.denies and not part.shut and not part.open and token in part.content
        for part in case.answer_clauses
    )


def hedges(case: Case) -> bool:
    """Whether the answer names another answer beside the right one."""
    if any(token.sort is Sort.OR for token in case.reference):
        return False
    return _two_of_a_list(case) or any(
        _hedge(case, at)
        for at, token in enumerate(case.answer)
        if token.sort in (Sort.OR, Sort.MAYBE) and not _in_denial(case, token)
    )


def _hedge(case: Case, at: int) -> bool:
    is_or = case.answer[at].sort is Sort.OR
    near = _NEAR if is_or else _NEAR_MAYBE
    before = [token for token in case.answer[:at] if token.content][-near:]
    after = [token for token in case.answer[at + 1 :] if token.content][:near]
    for mine, theirs in ((before, after), (after, before)):
        right = [token for token in mine if among(token, case.focus or case.new)]
        others = [token for token in theirs if token in case.extra]
        if is_or and right and others:
            return True
        if any(
            one.kind is not Kind.WORD and one.kind is other.kind and one.sort is other.sort
            for one in right
            for other in others
        ):
            return True
    return False


def _in_denial(case: Case, token: Token) -> bool:
    return any(part.denies and token in part.tokens for part in case.answer_clauses)


def _two_of_a_list(case: Case) -> bool:
    """Two weekdays or two months in one clause where the reply has one."""
    for part in case.answer_clauses:
        for sort in () if part.denies else (Sort.WEEKDAY, Sort.MONTH):
            wanted, given = of_list(case.new, sort), of_list(part.content, sort)
            if any(among(token, wanted) for token in given) and any(
                token in case.extra for token in given
            ):
                return True
    return False


def other_word(case: Case) -> bool:
    """Whether the answer is the reply with another word in the place of one of its own."""
    least = _IN_LONG_FRAME if len(case.new) >= MANY_NEW else IN_FRAME
    for tag, i, j, k, m in case.matcher.get_opcodes():
        if tag != "replace":
            continue
        lost = [token for token in case.one[i:j] if token.content and not among(token, case.given)]
        won = [
            token
            for token in case.other[k:m]
            if token.content and not among(token, case.every) and not case.asked(token)
        ]
        if not lost or not won:
            continue
        new = [token for token in lost if token in case.new]
        in_focus = any(token in case.focus for token in new)
        if case.frame >= (least if in_focus else _CLOSE_FRAME):
            return True
        names = not case.question.nouns_are_capital and any(token.capital for token in new)
        if names and any(token.capital for token in won):
            return True
    return _other_names(case)


def _other_names(case: Case) -> bool:
    """Whether the answer has names, and none of the reply's. Not where every noun is written with a capital."""
    names = [token for token in case.new if token.capital]
    if (
        not names
        or case.question.nouns_are_capital
        or any(among(name, case.given) for name in names)
    ):
        return False
    return any(token.capital and not among(token, case.every) for token in case.extra)
