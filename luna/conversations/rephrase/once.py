"""Which conversations were said once: nobody wrote another way to ask for what they teach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from luna.conversations.rephrase import language, rules
from luna.conversations.rephrase.rules import Rules
from luna.conversations.schema import Conversation


def worded_once(items: Iterable[Conversation]) -> list[Conversation]:
    """Those without paraphrases, of which no other with the same accepted answers has any either."""
    items = list(items)
    answers = {item.expect for item in items if item.paraphrases and item.expect}
    return [item for item in items if not item.paraphrases and item.expect not in answers]


def own_rules(items: Sequence[Conversation]) -> Rules | None:
    """The rules of the language that the conversations are in; None where there are none."""
    texts = [item.question[-1][1] for item in items]
    return rules.load().get(language.of_all(texts)) if texts else None


def holds_code(question: str) -> bool:
    """Code is no question to play with."""
    return "```" in question
