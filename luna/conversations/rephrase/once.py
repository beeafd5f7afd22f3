"""Which conversations were said once, what else is trained of them, and by which questions they are examined."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from luna.conversations.rephrase import language, rules
from luna.conversations.rephrase.compose import rephrase
from luna.conversations.rephrase.keep import keeps
from luna.conversations.rephrase.near import Questions, owners_near_any
from luna.conversations.rephrase.rules import Rules, Side
from luna.conversations.schema import Conversation

VARIANTS = 6  # of each conversation, besides itself (docs/evals.md has what fewer and more give)
MOST_EXAMPLES = 4_000  # that a training set grows to by variants: a larger one has variety of its own, and takes long
_MOST_PROBES = 3  # rule-made questions for one conversation
_TRIES = 12  # drawn for each rephrasing that is wanted


@dataclass
class Dropped:
    """How many drawn rephrasings were not used, and why."""

    lost_words: int = 0  # they lacked a word of the question
    near_another: int = 0  # they were nearly another conversation's question, or trained
    same: int = 0  # they were drawn before


def said_once(items: Iterable[Conversation]) -> list[Conversation]:
    """Those for which nobody wrote another way to ask: not for them, and not for another with the same accepted answers."""
    items = list(items)
    answers = {item.expect for item in items if item.paraphrases and item.expect}
    return [item for item in items if not item.paraphrases and item.expect not in answers]


def own_rules(items: Sequence[Conversation]) -> Rules | None:
    """The rules of the language that the conversations are in; None where there are none."""
    texts = [item.question[-1][1] for item in items]
    return rules.load().get(language.of_all(texts)) if texts else None


def how_many(once: int, examples: int) -> int:
    """Variants for each of the conversations that were said once, in a training set of so many examples."""
    return min(VARIANTS, max(0, MOST_EXAMPLES - examples) // once) if once else 0


def variants(
    items: Sequence[Conversation],
    count: int,
    questions: Questions,
    seed: str,
    dropped: Dropped,
) -> list[Conversation]:
    """Up to ``count`` for each item, to train on. ``questions``: of all conversations, by their identities."""
    own = own_rules(items)
    made = []
    for item in items if count else ():
        for number, text in enumerate(
            _drawn(item, own, "training", count, questions, seed, dropped), 1
        ):
            made.append(_variant(item, text, number))
    return made


def with_exam(
    taught: Mapping[int | None, Sequence[Conversation]],
    training: Sequence[Conversation],
    cap: int,
    seed: int,
    dropped: Dropped,
) -> dict[int | None, list[Conversation]]:
    """The same conversations; those that were said once have rule-made paraphrases, by rules that training never uses.

    At most as many conversations of each generation have them as ``cap`` probes can ask for. A paraphrase that is
    almost a question that is trained on is left out.
    """
    picked: dict[str, tuple[str, ...]] = {}
    candidates, texts = Questions(), {}
    whole = sum(len(items) for items in taught.values())
    each = max(1, min(_MOST_PROBES, cap // max(1, whole)))
    for generation, items in taught.items():
        once = sorted(said_once(items), key=lambda item: item.identity)
        chance = random.Random(f"{seed}/exam/{generation}")
        once = chance.sample(once, min(len(once), 2 * cap))
        own = own_rules(once)
        for item in once:
            for text in _drawn(item, own, "exam", each + 1, Questions(), f"{seed}", dropped):
                owner = f"{item.identity}/{len(texts)}"
                candidates.add(text, owner)
                texts[owner] = text
    trained = (text for item in training for role, text in item.messages if role == "user")
    leaked = owners_near_any(candidates, trained)
    dropped.near_another += len(leaked)
    for owner, text in texts.items():
        identity = owner.partition("/")[0]
        if owner not in leaked and len(picked.get(identity, ())) < each:
            picked[identity] = (*picked.get(identity, ()), text)
    return {
        generation: [
            replace(item, paraphrases=picked[item.identity]) if item.identity in picked else item
            for item in items
        ]
        for generation, items in taught.items()
    }


def _drawn(
    item: Conversation,
    own: Rules | None,
    side: Side,
    count: int,
    questions: Questions,
    seed: str,
    dropped: Dropped,
) -> list[str]:
    """Up to ``count`` different rephrasings of the conversation's question."""
    question = item.question[-1][1]
    if "```" in question:
        return []  # code is no question to play with
    chance = random.Random(f"{seed}/{side}/{item.identity}")
    drawn: dict[str, None] = {}
    for _ in range(_TRIES * count):
        if len(drawn) == count:
            break
        text = rephrase(question, own, side, chance)
        if text == question or text in drawn:
            dropped.same += 1
        elif not keeps(question, text, own if own and own.fit(question) else None):
            dropped.lost_words += 1
        elif any(owner != item.identity for owner in questions.owners_near(text)):
            dropped.near_another += 1
        else:
            drawn[text] = None
    return list(drawn)


def _variant(item: Conversation, text: str, number: int) -> Conversation:
    """The same lesson, asked otherwise; the replies before it are learnt by the conversation itself."""
    messages = (*item.question[:-1], ("user", text), ("assistant", item.reply))
    context = tuple(i for i, (role, _) in enumerate(messages[:-1]) if role == "assistant")
    identifier = f"{item.id}~{number}" if item.id else None
    return Conversation(messages, identifier, item.expect, context=context)
