"""A question, one of its taught replies and an answer, as tokens laid side by side."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from evals.facts import polarity
from evals.facts.alike import alike, among, unspaced
from evals.facts.kinds import Kind, Token
from evals.facts.languages import Sort

_SHARED_PART = 2  # characters that a word and the question must share


class Question:
    """A question as tokens, what it asks for, and words that say nothing because most taught replies have them."""

    def __init__(
        self,
        row: Sequence[Token],
        asks_for: frozenset[Sort],
        common: frozenset[str],
        nouns_are_capital: bool,
        joins: frozenset[str] = frozenset(),
    ) -> None:
        self.content = [token for token in row if token.content]
        self.clauses = polarity.clauses(row)
        self.asks_for = asks_for
        self.common = common
        self.nouns_are_capital = nouns_are_capital
        self.joins = joins
        self.choices = _choices(row)

    def cut(self, row: Sequence[Token]) -> list[Token]:
        """The row; in scripts without spaces, what the question has too is cut off its words."""
        asked = [token.text for token in self.content if unspaced(token.text)]
        return [piece for token in row for piece in _without(token, asked)] if asked else list(row)

    def has(self, token: Token) -> bool:
        """Whether the question has it already, and does not offer it as one of several to choose from."""
        if not among(token, self.content) or among(token, self.choices):
            return False
        return token.kind is not Kind.CLOSED or not any(
            other.sort is token.sort and not alike(other, token) for other in self.content
        )


def _choices(row: Sequence[Token]) -> list[Token]:
    """What stands on both sides of an 'or': 'Ben or Ada?'."""
    choices = []
    for at, token in enumerate(row):
        if token.sort is Sort.OR:
            before = [item for item in row[:at] if item.content][-1:]
            after = [item for item in row[at + 1 :] if item.content][:1]
            choices += [*before, *after] if before and after else []
    return choices


class Case:
    """One taught reply and an answer. ``every``: the content of all replies that were taught to the question."""

    def __init__(
        self,
        question: Question,
        reference: Sequence[Token],
        answer: Sequence[Token],
        every: Sequence[Token],
    ) -> None:
        self.question = question
        self.reference = reference
        self.answer = answer
        self.every = every
        self.content = [token for token in reference if token.content]
        self.given = [token for token in answer if token.content]
        self.reference_clauses = polarity.clauses(reference)
        self.answer_clauses = polarity.clauses(answer)
        self.new = [
            token
            for token in self.content
            if token.key not in question.common and not question.has(token)
        ]
        # 'each one', 'a sweet one': as good as an article where the reply has anything else.
        self.new = [token for token in self.new if not token.soft] or self.new
        self.focus = self._focus()
        self.extra = [
            token
            for token in self.given
            if not among(token, self.content) and not self.asked(token)
        ]
        self._align()

    def _focus(self) -> list[Token]:
        """What is new in the first clause that has anything new: what comes after explains or adorns it."""
        for part in self.reference_clauses:
            new = [token for token in part.content if token in self.new]
            # 'Not a fish, it is an acorn.': a choice of the question's that is denied is not the answer.
            if new and not (part.denies and all(map(self.asked, new))):
                return new
        return self.new or self.content

    def asked(self, token: Token) -> bool:
        """Whether the question has the token."""
        return among(token, self.question.content)

    def _align(self) -> None:
        self.one = [token for token in self.reference if token.kind is not Kind.END]
        self.other = [token for token in self.answer if token.kind is not Kind.END]
        firsts = [token for token in self.one if token.content]
        one, other = ([_key(token, firsts) for token in row] for row in (self.one, self.other))
        self.matcher = SequenceMatcher(None, one, other, autojunk=False)
        #: How much of the wording they share: difflib's ratio, 0..1.
        self.frame = self.matcher.ratio()


def _key(token: Token, firsts: Sequence[Token]) -> tuple[int, str | float]:
    """The same for tokens that are alike: that of the first in the reply, else the token's own."""
    if token.content:
        token = next((other for other in firsts if alike(token, other)), token)
    return int(token.kind), token.key


def _without(token: Token, asked: Sequence[str]) -> list[Token]:
    """A word of a script without spaces in pieces, without the parts that the question's words have too."""
    if token.kind is not Kind.WORD or not unspaced(token.text):
        return [token]
    pieces = [token.text]
    for word in asked:
        for at, piece in enumerate(pieces):
            match = SequenceMatcher(None, piece, word, autojunk=False).find_longest_match()
            if _SHARED_PART <= match.size < len(piece):
                pieces[at : at + 1] = [piece[: match.a], piece[match.a + match.size :]]
                break
    return [Token(Kind.WORD, piece, piece) for piece in pieces if piece] or [token]
