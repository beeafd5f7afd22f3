"""The verdict on a free answer: whether it says what one of the taught replies says.

An answer is right about a reply when it holds what is new in it against the question, and nothing that contradicts it:

* numbers, dates, times, weekdays, colours and other closed lists: another one in the place of the reply's is wrong;
* names and words: in the reply's own frame, another word in the place of one of its words is wrong;
* yes and no: a clause that denies what the reply affirms is wrong, in whatever words;
* two answers with an 'or' between them, of which one is right, are wrong;
* else what is new in the reply must be in the answer: above all in its first clause, since the later ones adorn it.
  A short answer may leave out much, if it holds nothing else.

It reads words, not meanings: a synonym is a missing word, and what is in no table is compared by its letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum

from evals.facts import code, contradictions, exchanges, polarity
from evals.facts.alike import among
from evals.facts.case import Case, Question
from evals.facts.contradictions import IN_FRAME, MANY_NEW, UNITS
from evals.facts.kinds import Kind, Token
from evals.facts.languages import Sort, detect, lexicon
from evals.facts.text import normalise
from evals.facts.tokens import tokens

_ENOUGH = 0.5  # of what is new, by weight
_ENOUGH_OF_LONG = 0.36  # of a reply with many new words
_ENOUGH_OF_SHORT = 0.25  # of a long reply, in an answer that holds nothing else
_SAME_CODE = 0.98  # difflib's ratio of the pieces of two blocks
_ASKING = (Sort.WHEN, Sort.MANY, Sort.ASKS)


class Why(Enum):
    """What decided."""

    SAME = "the reply itself"
    HOLDS = "holds what the reply says"
    SHORT = "short, and nothing else than the reply"
    YES_NO = "the same yes or no"
    CODE = "the same code"
    EMPTY = "empty"
    OTHER_CODE = "other code"
    OTHER_ITEM = "another number, date or item of a closed list"
    MISSING_ITEM = "lacks the number or date that was asked for"
    EXCHANGED = "says of one what the reply says of the other"
    OTHER_WORD = "another word in the place of the reply's"
    OPPOSITE = "denies what the reply affirms"
    HEDGE = "names another answer too"
    MISSING = "lacks what the reply says"


RIGHT = frozenset({Why.SAME, Why.HOLDS, Why.SHORT, Why.YES_NO, Why.CODE})

_OTHER_FACT = frozenset({Why.OTHER_WORD, Why.OTHER_ITEM, Why.EXCHANGED})


@dataclass(frozen=True)
class Verdict:
    """What decided. ``small_talk``: the reply has no fact and the question asks for none, so that wording is all there is."""

    why: Why
    small_talk: bool = False

    @property
    def right(self) -> bool:
        """Whether the answer says what a taught reply says."""
        return self.why in RIGHT


def judge(
    question: str, references: Sequence[str], answer: str, common: frozenset[str] = frozenset()
) -> Verdict:
    """The verdict on an answer; one of several taught replies is enough.

    ``common``: keys of words that so many taught replies have that they say nothing (``background.common``).
    """
    plain = normalise(answer)
    if not plain:
        return Verdict(Why.EMPTY)
    # Of code, what normalising leaves out may be all that matters.
    has_code = code.without(answer) != answer
    if answer in references or (not has_code and plain in map(normalise, references)):
        return Verdict(Why.SAME)
    for reference in references:
        why = _code(question, reference, answer)
        if why in RIGHT or (why is not None and len(references) == 1):
            return Verdict(why)
    cases = _cases(question, references, answer, common)
    verdicts = [Verdict(_decide(case), _is_small_talk(case)) for case in cases]
    # The reply whose wording the answer has is the one that it may have got wrong.
    if cases[0].frame >= IN_FRAME and verdicts[0].why in _OTHER_FACT:
        return verdicts[0]
    return next((verdict for verdict in verdicts if verdict.right), verdicts[0])


def _cases(
    question: str, references: Sequence[str], answer: str, common: frozenset[str]
) -> list[Case]:
    """One for each reply; the one with the answer's wording first."""
    languages = detect("\n".join((question, *map(code.without, references))))
    words = lexicon(languages)
    asked = Question(
        tokens(code.without(question), languages),
        frozenset(sort for sort in _ASKING if words.asks(question, sort)),
        common,
        "de" in languages,
        frozenset(words.joins),
    )
    answered = asked.cut(tokens(answer.replace("`", " "), languages))
    rows = [asked.cut(tokens(code.without(reference), languages)) for reference in references]
    every = [token for row in rows for token in row if token.content]
    cases = [Case(asked, row, answered, every) for row in rows]
    return sorted(cases, key=lambda case: -case.frame)


def _code(question: str, reference: str, answer: str) -> Why | None:
    """The verdict where the reply is code, or names a command; None where code decides nothing."""
    if blocks := code.blocks(reference):
        wanted = code.structure(blocks[0])
        for block in code.blocks(answer) or [answer]:
            pieces = code.structure(block)
            if sorted(pieces) == sorted(wanted):
                return Why.CODE
            if SequenceMatcher(None, wanted, pieces, autojunk=False).ratio() >= _SAME_CODE:
                return Why.CODE
        return Why.OTHER_CODE
    pieces = [piece for piece in code.inline(reference) if not code.holds(question, piece)]
    if not pieces:
        return None
    return Why.CODE if any(code.holds(answer, piece) for piece in pieces) else Why.OTHER_CODE


def _decide(case: Case) -> Why:
    asked = case.question.clauses
    about = case.new if Sort.ASKS in case.question.asks_for else ()
    if polarity.opposite(case.reference_clauses, case.answer_clauses, asked, about):
        return Why.OPPOSITE
    if contradictions.other_item(case) or contradictions.same_choice(case) is False:
        return Why.OTHER_ITEM
    if exchanges.exchanged(case):
        return Why.EXCHANGED
    if contradictions.lacks_what_was_asked(case):
        return Why.MISSING_ITEM
    if contradictions.hedges(case):
        return Why.HEDGE
    if contradictions.other_word(case):
        return Why.OTHER_WORD
    return _yes_or_no(case) or _held(case)


def _yes_or_no(case: Case) -> Why | None:
    """The verdict where the reply is a yes or a no, and the answer says which; None where that decides nothing."""
    says = polarity.overall(case.reference_clauses, case.question.clauses)
    if not says or Sort.ASKS in case.question.asks_for:
        return None
    mine = polarity.overall(case.answer_clauses, case.question.clauses)
    if not case.new and mine != says:
        return Why.MISSING
    return Why.YES_NO if mine == says and (len(case.new) <= 1 or not case.extra) else None


def _held(case: Case) -> Why:
    """Whether the answer holds enough of what is new in the reply."""
    new = case.new or case.content
    share = _share(new, case.given)
    if contradictions.same_choice(case):
        return Why.HOLDS
    in_focus = _share(case.focus, case.given)
    if in_focus >= _ENOUGH:
        return Why.HOLDS
    if in_focus and share >= (_ENOUGH_OF_LONG if len(new) >= MANY_NEW else _ENOUGH):
        return Why.HOLDS
    strong = [token for token in new if _is_strong(token)]
    exact = [token for token in strong if among(token, case.given)]
    named = exact or case.question.nouns_are_capital or not any(token.capital for token in new)
    enough = share >= _ENOUGH_OF_SHORT if len(new) >= MANY_NEW else share > 0
    if named and enough and not case.extra:
        return Why.SHORT
    return Why.HOLDS if exact and 2 * len(exact) >= len(strong) else Why.MISSING


def _share(wanted: Sequence[Token], given: Sequence[Token]) -> float:
    """How much of the wanted is given, by weight, 0..1."""
    weights = [_weight(token) for token in wanted]
    covered = sum(
        weight for token, weight in zip(wanted, weights, strict=True) if among(token, given)
    )
    return covered / sum(weights) if weights else 0.0


def _is_strong(token: Token) -> bool:
    """Whether it is a number, an item of a list or a name: what seldom has a synonym."""
    return (token.kind is not Kind.WORD or token.capital) and not token.soft


def _weight(token: Token) -> float:
    if token.sort in UNITS:
        return 0.5  # the number beside it is what counts
    return 2.0 if _is_strong(token) else 1.0


def _is_small_talk(case: Case) -> bool:
    return not case.question.asks_for and not any(_is_strong(token) for token in case.new)
