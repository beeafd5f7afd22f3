"""One rephrasing of a question, by the rules of one side drawn at random."""

from __future__ import annotations

import random
import re

from luna.conversations.rephrase import slips
from luna.conversations.rephrase.parts import Parts, take_apart
from luna.conversations.rephrase.rules import Frames, Rules, Side

_BEFORE, _AFTER = 0.5, 0.25  # how often a sentence stands before, or after
_SLIP = {"training": 0.5, "exam": 0.15}
_OTHER_WORDS = {
    "training": 0.5,
    "exam": 0.3,
}  # how often words are exchanged for others that mean the same
_MOST_WORDS = 2
#: How much more often than the others: a clause changes the question itself.
_WEIGHTS = {"clause": 4, "thing": 3, "short": 2, "plain": 3}
_PARAGRAPH = (
    200  # characters: a longer one is a text and no question, which gets no sentence after it
)


def rephrase(question: str, rules: Rules | None, side: Side, chance: random.Random) -> str:
    """Another way to ask; the question itself where the rules have none."""
    own = slips.TRAINING if side == "training" else slips.EXAM
    if rules is None or not rules.fit(question):
        text = chance.choice(own)(question, chance)
        return text if text != question else own[0](question, chance)
    frames = rules.frames(side)
    text = _other_words(question, rules, side, chance)
    parts = take_apart(text, rules)
    forms = [form for form in _WEIGHTS if form == "plain" or _options(form, frames, parts)]
    form = chance.choices(forms, [_WEIGHTS[form] for form in forms])[0]
    if form != "plain":
        text = _filled(chance.choice(_options(form, frames, parts)), parts)
    draw = chance.random()
    plain = form == "plain"
    if plain or draw < _BEFORE:
        text = _joined(chance.choice(frames.before), text, rules)
    if len(question) <= _PARAGRAPH and chance.random() < _AFTER:
        text = f"{text}{rules.gap}{chance.choice(frames.after)}"
    if chance.random() < _SLIP[side] or len(question) > _PARAGRAPH:
        text = chance.choice(own[:-1] if side == "training" else own[:1])(text, chance)
    return text


def _other_words(question: str, rules: Rules, side: Side, chance: random.Random) -> str:
    words = [word for word in re.finditer(r"[^\W\d_]+", question) if rules.others(word[0], side)]
    if not words or chance.random() >= _OTHER_WORDS[side]:
        return question
    chosen = chance.sample(words, chance.randint(1, min(len(words), _MOST_WORDS)))
    for word in sorted(chosen, key=lambda word: -word.start()):
        other = chance.choice(rules.others(word[0], side))
        question = question[: word.start()] + other + question[word.end() :]
    return question


def _options(form: str, frames: Frames, parts: Parts) -> list[str]:
    """The frames of a form whose gaps can be filled."""
    have = {
        "c": parts.clause,
        "x": parts.thing,
        "w": parts.words,
        "k": parts.key,
    }
    frame: tuple[str, ...] = getattr(frames, form)
    return [text for text in frame if all(have[gap] for gap in re.findall(r"\{(\w)\}", text))]


def _filled(frame: str, parts: Parts) -> str:
    text = frame.format(c=parts.clause, x=parts.thing, w=parts.words, k=parts.key)
    return text[0].upper() + text[1:]


def _joined(before: str, text: str, rules: Rules) -> str:
    first = re.match(r"\w+", text)
    inside = before.endswith((",", ":", "so", "but"))
    if inside and first and first[0].casefold() in rules.small and first[0] != "I":
        text = text[0].lower() + text[1:]
    return f"{before}{rules.gap}{text}"
