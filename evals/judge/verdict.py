"""The verdict on a free answer: does it say what one of the taught replies says?

An answer is right about a reply when it holds what is new in it against the question, and nothing that contradicts it:

* numbers, dates, times, weekdays, colours and other closed lists: another one in the place of the reply's is wrong;
* names and words: in the reply's own frame, another word in the place of one of its words is wrong;
* yes and no: a clause that denies what the reply affirms is wrong, in whatever words;
* two answers with an 'or' between them, of which one is right, are wrong;
* else the words of the reply that the question did not have must be in the answer, or the answer must be short and
  hold nothing else. The rarer a word is among all taught replies, the more it counts.

It reads words, not meanings: a synonym is a missing word, and what is in no table is compared by its letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum

from evals.judge import code, polarity
from evals.judge.alike import alike, unspaced
from evals.judge.languages import CLOSED, Sort, detect, lexicon
from evals.judge.text import normalise
from evals.judge.tokens import Kind, Token, tokens

ENOUGH = 0.5  # of what is new in the reply, by weight
ENOUGH_OF_LONG = 0.36  # of a reply with many new words, which nobody repeats all
ENOUGH_OF_SHORT = 0.25  # of a long reply in an answer that holds nothing else
MANY = 6  # new words
IN_LONG_FRAME = 0.7  # the same of a reply with many new words
IN_FRAME = 0.6  # share of tokens in common (difflib's ratio) above which an answer is the reply with changes
CLOSE_FRAME = 0.8  # the same where what is changed is a word of the question
_SHARED_PART = 2  # characters that a word and the question must share
_NEAR = 5  # tokens between two answers of a hedge


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
    OTHER_WORD = "another word in the place of the reply's"
    OPPOSITE = "denies what the reply affirms"
    HEDGE = "names another answer too"
    MISSING = "lacks what the reply says"


RIGHT = frozenset({Why.SAME, Why.HOLDS, Why.SHORT, Why.YES_NO, Why.CODE})


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and what decided."""

    why: Why

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
    if "`" not in answer and any(normalise(reference) == plain for reference in references):
        return Verdict(Why.SAME)
    for reference in references:
        if (why := _code(question, reference, answer)) is not None:
            if why in RIGHT or len(references) == 1:
                return Verdict(why)
    languages = detect("\n".join((question, *map(code.without, references))))
    asks = lexicon(languages).asks
    asked = frozenset(sort for sort in (Sort.WHEN, Sort.MANY, Sort.ASKS) if asks(question, sort))
    questioned = tokens(code.without(question), languages)
    answered = tokens(answer.replace("`", " "), languages)
    every = [tokens(code.without(reference), languages) for reference in references]
    cases = [_Case(questioned, row, answered, every, asked, common, languages) for row in every]
    # The reply that the answer is nearest to in wording is the one that it may have got wrong.
    cases.sort(key=lambda case: -case.frame)
    verdicts = [Verdict(case.decide()) for case in cases]
    if cases[0].frame >= IN_FRAME and verdicts[0].why in (Why.OTHER_WORD, Why.OTHER_ITEM):
        return verdicts[0]
    return next((verdict for verdict in verdicts if verdict.right), verdicts[0])


def _code(question: str, reference: str, answer: str) -> Why | None:
    """The verdict where the reply is code, or names a command; None where code decides nothing."""
    if blocks := code.blocks(reference):
        given = code.blocks(answer) or [answer]
        wanted = code.structure(blocks[0])
        best = max(SequenceMatcher(None, wanted, code.structure(block)).ratio() for block in given)
        same = any(sorted(code.structure(block)) == sorted(wanted) for block in given)
        return Why.CODE if same or best >= 0.98 else Why.OTHER_CODE
    pieces = [piece for piece in code.inline(reference) if not code.holds(question, piece)]
    if not pieces:
        return None
    if any(code.holds(answer, piece) for piece in pieces):
        return Why.CODE
    return Why.OTHER_CODE


class _Case:
    """A question, one taught reply and an answer, as tokens."""

    def __init__(
        self,
        question: Sequence[Token],
        reference: Sequence[Token],
        answer: Sequence[Token],
        every: Sequence[Sequence[Token]],
        asked_for: frozenset[Sort],
        common: frozenset[str],
        languages: tuple[str, ...],
    ) -> None:
        self.asked_for = asked_for
        self.nouns_are_capital = "de" in languages
        self.question = question
        self.asked = [token for token in question if token.content]
        self.reference, self.answer = self._cut(reference), self._cut(answer)
        self.content = [token for token in self.reference if token.content]
        self.every = [token for row in every for token in self._cut(row) if token.content]
        self.given = [token for token in self.answer if token.content]
        self.new = [
            token for token in self.content if token.key not in common and not self._known(token)
        ]
        self._one = [token for token in self.reference if token.kind is not Kind.END]
        self._other = [token for token in self.answer if token.kind is not Kind.END]
        keys = (
            [_key(token, self._one) for token in self._one],
            [_key(token, self._one) for token in self._other],
        )
        self._matcher = SequenceMatcher(None, *keys, autojunk=False)
        self.frame = self._matcher.ratio()

    def _cut(self, row: Sequence[Token]) -> list[Token]:
        """In scripts without spaces, what the question has too is cut off a word."""
        asked = [token.text for token in self.asked if token.kind is Kind.WORD]
        return [piece for token in row for piece in without_asked(token, asked)]

    def _known(self, token: Token) -> bool:
        """Whether the question has it already, and has no other of its kind to choose from."""
        if not _in(token, self.asked):
            return False
        rivals = [
            other
            for other in self.asked
            if other.kind is token.kind and other.sort is token.sort and not alike(other, token)
        ]
        return not (token.kind is Kind.CLOSED and rivals)

    def decide(self) -> Why:
        """What the answer is against this reply."""
        if polarity.opposite(self.reference, self.answer, self.question):
            return Why.OPPOSITE
        if (why := self._items()) is not None:
            return why
        if self._hedges():
            return Why.HEDGE
        if self._other_word():
            return Why.OTHER_WORD
        return self._covers()

    def _items(self) -> Why | None:
        """Numbers and closed lists: another one where the reply's is missing."""
        when, many = Sort.WHEN in self.asked_for, Sort.MANY in self.asked_for
        if (
            many
            and (counted := self._counted())
            and not any(_in(item, self.given) for item in counted)
        ):
            return Why.MISSING_ITEM
        asked_missing = 0
        asked_new = 0
        sorts: list[Sort | None] = [None, *CLOSED]
        for sort in sorts:
            wanted = _of(self.content, sort)
            new = [token for token in _of(self.new, sort) if not token.soft]
            given = _of(self.given, sort)
            missing = [token for token in new if not _in(token, given)]
            others = [
                token
                for token in given
                if not _in(token, wanted)
                and not _in(token, _of(self.asked, sort))
                and not token.soft
            ]
            others = [token for token in others if not self._denied(token)]
            soft = [token for token in wanted if token.soft and not _in(token, given)]
            if others and (missing or soft):
                return Why.OTHER_ITEM
            if others and wanted and not new and not any(_in(token, given) for token in wanted):
                return Why.OTHER_ITEM
            if sort in (None, Sort.WEEKDAY, Sort.MONTH, Sort.SEASON) and (
                when or (many and sort is None)
            ):
                asked_new += len(new)
                asked_missing += len(missing)
        return Why.MISSING_ITEM if asked_new and asked_missing == asked_new else None

    def _counted(self) -> list[Token]:
        """The new numbers of the reply that stand before a word of the question: how many there are of it."""
        return [
            token
            for token, following in zip(self.content, self.content[1:], strict=False)
            if token.kind is Kind.NUMBER
            and token in self.new
            and following.kind is Kind.WORD
            and _in(following, self.asked)
        ]

    def _denied(self, token: Token) -> bool:
        """Whether the answer names it only to deny it."""
        return any(
            part.denies and not part.shut and not part.open and token in part.content
            for part in polarity.clauses(self.answer)
        )

    def _hedges(self) -> bool:
        """Whether an 'or' or a 'maybe' stands between what is right and something else."""
        if any(token.sort is Sort.OR for token in self.reference):
            return False
        row = [
            token for token in self.answer if token.content or token.sort in (Sort.OR, Sort.MAYBE)
        ]
        for at, token in enumerate(row):
            if token.sort not in (Sort.OR, Sort.MAYBE) or self._in_denial(token):
                continue
            before, after = row[max(0, at - _NEAR) : at], row[at + 1 : at + 1 + _NEAR]
            before = [item for item in before if item.content]
            after = [item for item in after if item.content]
            if not before or not after:
                continue
            right = [[_in(item, self.new) for item in side] for side in (before, after)]
            other = [
                [not _in(item, self.content) and not _in(item, self.asked) for item in side]
                for side in (before, after)
            ]
            if token.sort is Sort.OR:
                # What stands next to the 'or' on one side is right, and on the other side something else is.
                if (any(right[0]) and any(other[1])) or (any(other[0]) and any(right[1])):
                    return True
            elif any(right[0] + right[1]) and self._rival(before, after):
                return True
        return self._two_of_a_list()

    def _in_denial(self, token: Token) -> bool:
        return any(part.denies and token in part.tokens for part in polarity.clauses(self.answer))

    def _rival(self, before: Sequence[Token], after: Sequence[Token]) -> bool:
        """Whether one side has an item of the kind that the other side has from the reply."""
        return any(
            one.kind is other.kind and one.sort is other.sort and not _in(other, self.content)
            for mine, theirs in ((before, after), (after, before))
            for one in mine
            if one.kind is not Kind.WORD and _in(one, self.new)
            for other in theirs
        )

    def _two_of_a_list(self) -> bool:
        """Two weekdays or two months in one clause where the reply has one."""
        for part in polarity.clauses(self.answer):
            for sort in (Sort.WEEKDAY, Sort.MONTH):
                given = _of(part.content, sort)
                wanted = _of(self.new, sort)
                if wanted and any(_in(token, wanted) for token in given) and not part.denies:
                    known = (*self.content, *self.asked)
                    if any(not _in(token, known) for token in given):
                        return True
        return False

    def _other_word(self) -> bool:
        """Whether the answer is the reply with another word in the place of one of its own."""
        least = IN_LONG_FRAME if len(self.new) >= MANY else IN_FRAME
        lost_names = [token for token in self.new if token.capital]
        for tag, i, j, k, m in self._matcher.get_opcodes():
            if tag != "replace":
                continue
            lost = [
                token for token in self._one[i:j] if token.content and not _in(token, self.given)
            ]
            won = [
                token
                for token in self._other[k:m]
                if token.content and not _in(token, self.every) and not _in(token, self.asked)
            ]
            names = [token for token in lost if token in lost_names]
            new = any(token in self.new for token in lost)
            if lost and won and self.frame >= (least if new else CLOSE_FRAME):
                return True
            if names and any(token.capital for token in won) and not self.nouns_are_capital:
                return True
        return self._other_names(lost_names)

    def _other_names(self, names: Sequence[Token]) -> bool:
        """Whether the answer has names, and none of the reply's. Not where every noun is written with a capital."""
        if not names or any(_in(token, self.given) for token in names) or self.nouns_are_capital:
            return False
        known = (*self.every, *self.asked)
        return any(token.capital and not _in(token, known) for token in self.given)

    def _covers(self) -> Why:
        new = self.new or self.content
        extra = [token for token in self.given if not _in(token, (*self.content, *self.asked))]
        if (why := self._yes_or_no(extra)) is not None:
            return why
        weights = [_weight(token) for token in new]
        covered = [token for token in new if _in(token, self.given)]
        share = sum(map(_weight, covered)) / sum(weights) if weights else 0.0
        if share >= (ENOUGH_OF_LONG if len(new) >= MANY else ENOUGH):
            return Why.HOLDS
        exact = [token for token in covered if token.kind is not Kind.WORD or token.capital]
        wanted = [token for token in new if token.kind is not Kind.WORD or token.capital]
        capital = any(token.capital for token in new) and not self.nouns_are_capital
        named = bool(exact) or not capital
        if covered and not extra and named and (len(new) < MANY or share >= ENOUGH_OF_SHORT):
            return Why.SHORT
        if exact and len(exact) >= 0.5 * len(wanted):
            return Why.HOLDS
        return Why.MISSING

    def _yes_or_no(self, extra: Sequence[Token]) -> Why | None:
        """The verdict where the reply is a yes or a no, and the answer says which; None where that decides nothing."""
        says = polarity.overall(self.reference, self.question)
        if not says or Sort.ASKS in self.asked_for:
            return None
        mine = polarity.overall(self.answer, self.question)
        if not self.new and mine != says:
            return Why.MISSING
        if mine == says and (len(self.new) <= 1 or not extra):
            return Why.YES_NO
        return None


def _weight(token: Token) -> float:
    return 2.0 if token.kind is not Kind.WORD or token.capital else 1.0


def _of(row: Sequence[Token], sort: Sort | None) -> list[Token]:
    """The items of a closed list, or the numbers, times and code names (None)."""
    if sort is None:
        return [token for token in row if token.kind in (Kind.NUMBER, Kind.TIME, Kind.CODE)]
    return [token for token in row if token.kind is Kind.CLOSED and token.sort is sort]


def without_asked(token: Token, asked: Sequence[str]) -> list[Token]:
    """A word of a script without spaces in pieces, without the parts that the question's words have too."""
    if token.kind is not Kind.WORD or not unspaced(token.text):
        return [token]
    pieces = [token.text]
    for word in asked:
        for at, piece in enumerate(pieces):
            match = SequenceMatcher(None, piece, word, autojunk=False).find_longest_match()
            if match.size >= _SHARED_PART and match.size < len(piece):
                pieces[at : at + 1] = [piece[: match.a], piece[match.a + match.size :]]
                break
    return [Token(Kind.WORD, piece, piece) for piece in pieces if piece] or [token]


def _in(token: Token, row: Sequence[Token]) -> bool:
    return any(alike(token, other) for other in row)


def _key(token: Token, row: Sequence[Token]) -> str:
    """The same for tokens that are alike: the first of the row that is, else its own."""
    if token.content:
        for other in row:
            if other.content and alike(token, other):
                return f"{other.kind.value} {other.key}"
    return f"{token.kind.value} {token.key}"
