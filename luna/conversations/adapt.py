"""Adapts a base's chat template once, so that whoever renders it later asks exactly as training did.

The template goes into the base, from there into every GGUF, and from there into other programs. What would
differ between them is settled in its own text, in jinja: the day that ``strftime_now`` gives; a system
message, where the template knows none; and what the template writes before a reply but not when it asks for
one, such as an empty block of thought.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from luna.conversations.chat_template import PATIENCE, ChatTemplate
from luna.errors import BaseModelError, ExportError

_DAY_CALL = re.compile(r"""\bstrftime_now\s*\(\s*(?:"([^"]*)"|'([^']*)')?""")
#: How the known families begin and end a block of thought.
_THOUGHTS = (
    ("<think>", "</think>"),
    ("<mm:think>", "</mm:think>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
)
_SYSTEM, _REPLY = "Fact zero.", "The last words."
_TURNS = (("Question one?", "Reply one."), ("Question two?", "Reply two."), ("Question three?", ""))
#: Keeps the whole beginning of the template behind it: jinja2 strips no white space after what is written out.
_SEAM = '{{- "" }}'
_JOIN = """\
{%- set luna = namespace(rows=[], held="") -%}
{%- for message in messages -%}
{%- if message.role == "system" and FOLDS -%}
{%- set luna.held = luna.held + message.content + "\\n\\n" -%}
{%- elif message.role == "user" and luna.rows and luna.rows[-1].role == "user" -%}
{%- set luna.rows = luna.rows[:-1] + [{"role": "user", "content": luna.rows[-1].content + "\\n\\n" + luna.held + message.content}] -%}
{%- set luna.held = "" -%}
{%- elif message.role == "user" -%}
{%- set luna.rows = luna.rows + [{"role": "user", "content": luna.held + message.content}] -%}
{%- set luna.held = "" -%}
{%- else -%}
{%- set luna.rows = luna.rows + [message] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = luna.rows -%}
"""

Rows = list[dict[str, str]]


class Change(StrEnum):
    """What was changed in a template, for a person."""

    DAY = "the day that it writes is fixed"
    SYSTEM = "a system message goes before the first question, since the template takes none"
    JOINED = "the user's messages that follow each other are joined, since the template wants turns"
    OPENING = "what it writes before a reply is part of the prompt"


@dataclass(frozen=True)
class Adapted:
    """A template that can be trained on and asked, and what had to be changed for it."""

    source: str
    changes: tuple[Change, ...]


def adapt(source: str, bos: str, eos: str, day: date) -> Adapted:
    """The template with the fewest changes; the very same where none is needed.

    Raises:
        BaseModelError: it does not render every word of a conversation of one, two or three turns, with and without a
            system message; or it asks for a reply in another way than it writes one.
    """
    before, changes = "", []
    if "strftime_now" in source and "macro strftime_now" not in source:
        before += _fixed_day(source, day)
        changes.append(Change.DAY)
    two = [_row("user", question) for question, _ in _TURNS[:2]]
    with contextlib.ExitStack() as stack:
        chat = stack.enter_context(ChatTemplate(before + _SEAM + source, bos, eos, PATIENCE))
        takes_system = _takes(chat, _rows(1, system=True))
        if not (takes_system and _takes(chat, two)):
            joined = before + _JOIN.replace("FOLDS", "false" if takes_system else "true")
            other = stack.enter_context(ChatTemplate(joined + _SEAM + source, bos, eos, PATIENCE))
            if _takes(other, two):
                before, chat = joined, other
                changes.append(Change.JOINED if takes_system else Change.SYSTEM)
        _require_every_word(chat)
        opening = _opening(chat)
    if not changes and not opening:
        return Adapted(source, ())
    if opening:
        changes.append(Change.OPENING)
        # jinja2 leaves out one newline at the end of a template; with something behind it, it would be written.
        source = source.removesuffix("\n")
        source += f"{{% if add_generation_prompt %}}{{{{ {json.dumps(opening)} }}}}{{% endif %}}"
    notes = "".join(f"{{#- Luna: {change} -#}}\n" for change in changes)
    return Adapted(notes + before + _SEAM + source, tuple(changes))


def _fixed_day(source: str, day: date) -> str:
    formats = {double or single for double, single in _DAY_CALL.findall(source)} - {""}
    if not formats or not all(double or single for double, single in _DAY_CALL.findall(source)):
        raise BaseModelError(
            "The base's chat template asks for the day in a format that it makes up while it runs, so it cannot be fixed: "
            "write the day into the template (chat_template.jinja) in place of strftime_now."
        )
    days = {format: day.strftime(format) for format in sorted(formats)}
    return f"{{%- macro strftime_now(format) -%}}{{{{ {json.dumps(days)}[format] }}}}{{%- endmacro -%}}\n"


def _row(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _rows(turns: int, system: bool) -> Rows:
    """A conversation up to its last question."""
    rows = [_row("system", _SYSTEM)] if system else []
    for question, reply in _TURNS[:turns]:
        rows += [_row("user", question), _row("assistant", reply)]
    return rows[:-1]


_SHAPES = [(turns, system) for turns in (1, 2, 3) for system in (False, True)]


def _takes(chat: ChatTemplate, rows: Rows) -> bool:
    try:
        return _holds(chat.render(rows), rows)
    except ExportError:
        return False


def _holds(text: str, rows: Sequence[dict[str, str]]) -> bool:
    """Whether every message stands in the text."""
    return all(row["content"] in text for row in rows)


def _require_every_word(chat: ChatTemplate) -> None:
    for turns, system in _SHAPES:
        rows = _rows(turns, system)
        reply = _row("assistant", _REPLY)
        try:
            complete = _holds(chat.render(rows), rows) and _holds(
                chat.render([*rows, reply], add_generation_prompt=False), [reply]
            )
            reason = "it leaves words out"
        except ExportError as error:
            complete, reason = False, str(error).rstrip(".")
        if not complete:
            raise BaseModelError(
                f"The base's chat template does not render a conversation of {turns} turn{'s' * (turns > 1)} "
                f"{'with' if system else 'without'} a system message ({reason}): use a base whose template takes plain "
                "conversations, or put such a template into chat_template.jinja."
            )


def _opening(chat: ChatTemplate) -> str:
    """What is to be written after the prompt, so that a reply follows as the template writes one."""
    openings = {_opening_after(chat, _rows(*shape)) for shape in _SHAPES}
    if len(openings) > 1 or None in openings:
        raise BaseModelError(
            "The base's chat template asks for a reply in another way than it writes one, so what is taught would not be what is "
            "asked: use a base whose template continues its own prompt, or put such a template into chat_template.jinja."
        )
    return openings.pop() or ""


def _opening_after(chat: ChatTemplate, rows: Rows) -> str | None:
    asked = chat.render(rows)
    whole = chat.render([*rows, _row("assistant", _REPLY)], add_generation_prompt=False)
    written = whole[: whole.rindex(_REPLY)]
    if written.startswith(asked):
        rest = written[len(asked) :]
        return rest if rest.strip() else ""  # white space belongs to the reply's first token
    asked_plain, written_plain = (_without_thought(text) for text in (asked, written))
    if written_plain.startswith(asked_plain):
        return _end_of_thought(asked) + written_plain[len(asked_plain) :]
    # Without a mark for the reply, it comes after the last question, wherever else the system message stands then.
    return "" if asked == chat.render(rows, add_generation_prompt=False) else None


def _without_thought(text: str) -> str:
    for begin, end in _THOUGHTS:
        text = re.sub(f"{re.escape(begin)}.*?(?:{re.escape(end)}|$)", "", text, flags=re.DOTALL)
        text = text.replace(end, "")
    return text.rstrip()


def _end_of_thought(asked: str) -> str:
    """The mark that ends the thought which the prompt begins, set as empty ones are; empty where it begins none."""
    for begin, end in _THOUGHTS:
        if asked.rfind(begin) > asked.rfind(end):
            return f"\n{end}\n\n" if asked.endswith("\n") else end
    return ""
