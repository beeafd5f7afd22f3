"""A chat between people, as a messenger keeps it: divided by silences, each side given its role."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from luna.importing.draft import Draft, Form, Located, Mend, Role, Turn, Unreadable

SILENCE = timedelta(hours=6)  # after so long, the next message begins another conversation
MOST_MESSAGES = 200  # of one conversation; then the user's next message begins another
_LISTED = 8  # names in a refusal
_HELD = 1_000  # conversations
_INVISIBLE = dict.fromkeys(
    map(ord, "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
)


class Learn(Enum):
    """Whose messages are the assistant's, which are learnt."""

    OTHERS = "others"
    ME = "me"


@dataclass(frozen=True)
class Sides:
    """``me``: the name, as the export writes it, of the person who exports; None where it was not said."""

    me: str | None = None
    learn: Learn = Learn.OTHERS


@dataclass(frozen=True)
class Message:
    """One message: ``text`` is empty for a picture, a call, or what the messenger itself says. ``number`` is its line, or its place."""

    when: datetime | None
    sender: str
    text: str
    number: int


def plain(name: str) -> str:
    """A name without the invisible marks that messengers put around it."""
    return unicodedata.normalize("NFC", name.translate(_INVISIBLE).replace("\u00a0", " ")).strip(
        "~ "
    )


def drafts(messages: Iterable[Message], form: Form, sides: Sides, unit: str) -> Iterator[Located]:
    """The conversations of one chat. ``unit`` is what ``number`` counts, in words.

    Raises Unreadable, at the end at the latest, where nobody in it is ``sides.me``.
    """
    names: Counter[str] = Counter()
    wanted = plain(sides.me).casefold() if sides.me else None
    current: list[Message] = []
    held: list[
        Located
    ] = []  # until the person has spoken, or so many that this can take no more memory
    dropped = there = False
    for message in messages:
        if not message.text.strip():
            dropped = True
            continue
        names[plain(message.sender)] += 1
        mine = plain(message.sender).casefold() == wanted
        there = there or mine
        if current and (_silent(current[-1], message) or _long(current, mine, sides)):
            if wanted is not None:
                held.append(_located(current, form, sides, wanted, dropped, unit))
            current, dropped = [], False
        if there or len(held) > _HELD:
            yield from held
            held = []
        current.append(message)
    if not there:
        shown = ", ".join(f"'{name}' ({count})" for name, count in names.most_common(_LISTED))
        raise Unreadable(
            f"is a {form.value} chat: say with --me NAME which of its people you are: "
            f"{shown or 'it holds no message'}"
        )
    yield from held
    if current:
        yield _located(current, form, sides, wanted, dropped, unit)


def _silent(last: Message, message: Message) -> bool:
    return bool(last.when and message.when and message.when - last.when > SILENCE)


def _long(current: list[Message], mine: bool, sides: Sides) -> bool:
    return len(current) >= MOST_MESSAGES and mine == (sides.learn is Learn.OTHERS)


def _located(
    current: list[Message], form: Form, sides: Sides, wanted: str | None, dropped: bool, unit: str
) -> Located:
    my_role = Role.USER if sides.learn is Learn.OTHERS else Role.ASSISTANT
    other_role = Role.ASSISTANT if sides.learn is Learn.OTHERS else Role.USER
    turns: list[Turn] = []
    for message in current:
        role = my_role if plain(message.sender).casefold() == wanted else other_role
        # People write one thing in several messages; so it is not counted as mending.
        if turns and turns[-1].role is role:
            turns[-1] = Turn(role, f"{turns[-1].text}\n{message.text}")
        else:
            turns.append(Turn(role, message.text))
    made = Draft(form, turns, mended={Mend.DROPPED_MEDIA} if dropped else set())
    row = [{"from": message.sender, "text": message.text} for message in current]
    return Located(f"{unit} {current[0].number}", row, made)
