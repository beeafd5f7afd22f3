"""From a draft to a conversation that training can take, by the stated rules (docs/import.md)."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from luna.conversations import jsonl, schema
from luna.conversations.schema import Conversation
from luna.importing import content
from luna.importing.draft import Draft, Form, Mend, Reason, Role, Turn, Unusable


@dataclass(frozen=True)
class Mended:
    """``line`` is the conversation as it is written into a file of conversations, with its line end."""

    conversation: Conversation
    line: str
    form: Form
    rules: frozenset[Mend]


def mended(draft: Draft) -> Mended:
    """Apply the rules one after the other. Raises Unusable when nothing is left that can be learnt."""
    rules = set(draft.mended)
    turns = _system_first(_filled(draft.turns, rules), rules)
    turns = _taking_turns(turns, rules)
    row: dict[str, Any] = {"id": draft.id} if draft.id else {}
    row["messages"] = [
        {"role": turn.role.value, "content": turn.text} | ({} if turn.learnt else {"weight": 0})
        for turn in turns
    ]
    try:
        conversation = schema.parse(row | draft.optional)
        kept = conversation.as_row()
        jsonl.require_finite(kept)
    except ValueError as error:
        raise Unusable(Reason.NOT_VALID, f"is not valid: {error}") from error
    line = json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n"
    if len(line.encode()) > jsonl.MAX_LINE_BYTES:
        raise Unusable(
            Reason.TOO_LONG, f"is longer than {jsonl.MAX_LINE_BYTES:,} bytes, the most of one line"
        )
    return Mended(conversation, line, draft.form, frozenset(rules))


def _filled(turns: list[Turn], rules: set[Mend]) -> list[Turn]:
    """Without characters that no text may hold, and without messages that hold no text."""
    filled = []
    for turn in turns:
        text = content.cleaned(turn.text)
        if text != turn.text:
            rules.add(Mend.CLEANED_TEXT)
        if turn.role is Role.ASSISTANT and (thought := content.THOUGHT.match(text)):
            text = text[thought.end() :]
            rules.add(Mend.DROPPED_THINKING)
        if text.strip():
            filled.append(dataclasses.replace(turn, text=text.strip()))
        else:
            rules.add(Mend.DROPPED_EMPTY)
    return filled


def _system_first(turns: list[Turn], rules: set[Mend]) -> list[Turn]:
    """System messages at the beginning as one; later ones are left out."""
    first = next((at for at, turn in enumerate(turns) if turn.role is not Role.SYSTEM), len(turns))
    spoken = [turn for turn in turns[first:] if turn.role is not Role.SYSTEM]
    if len(spoken) < len(turns) - first:
        rules.add(Mend.DROPPED_SYSTEM)
    texts = dict.fromkeys(turn.text for turn in turns[:first])
    if first > 1:
        rules.add(Mend.MERGED_TURNS)
    return [*([Turn(Role.SYSTEM, "\n\n".join(texts))] if texts else []), *spoken]


def _taking_turns(turns: list[Turn], rules: set[Mend]) -> list[Turn]:
    """From the user's first message to the assistant's last, one message of each in turn. Raises Unusable."""
    system = turns[:1] if turns and turns[0].role is Role.SYSTEM else []
    spoken = turns[len(system) :]
    merged: list[Turn] = []
    for turn in spoken:
        if not merged and turn.role is Role.ASSISTANT:
            rules.add(Mend.DROPPED_GREETING)
        elif merged and merged[-1].role is turn.role:
            rules.add(Mend.MERGED_TURNS)
            last = merged[-1]
            # What was context stays context: nothing is learnt that was marked as not to be.
            merged[-1] = Turn(turn.role, f"{last.text}\n\n{turn.text}", last.learnt and turn.learnt)
        else:
            merged.append(turn)
    if merged and merged[-1].role is Role.USER:
        merged.pop()
        rules.add(Mend.DROPPED_TAIL)
    if merged:
        return [*system, *merged]
    if any(turn.role is Role.ASSISTANT for turn in spoken):
        raise Unusable(Reason.NO_QUESTION, "has no message of the user before the assistant's")
    raise Unusable(Reason.NO_REPLY, "has no reply of the assistant")
