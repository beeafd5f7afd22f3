"""Reads a source: every member is told by its content, and what is not ours is named."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from luna.errors import InputError
from luna.importing import chatlog, rows, shapes, sniff, source, telegram, transcript, whatsapp
from luna.importing.chatlog import Sides
from luna.importing.draft import Form, Located, NotConversations, Unreadable
from luna.importing.sniff import Kind
from luna.importing.source import Member
from luna.text import escaped


@dataclass
class Reading:
    """One source while it is read. ``skipped``: members that hold no conversation, each with the reason."""

    path: Path
    sides: Sides = field(default_factory=Sides)
    skipped: dict[str, str] = field(default_factory=dict)

    def conversations(self) -> Iterator[Located]:
        """Everything in it, in the order of names and places.

        Raises InputError with one sentence where the source cannot be used: it is damaged, too large when
        unpacked, or nothing in it has a known form.
        """
        shown = escaped(str(self.path))
        any_read = False
        try:
            with source.members(self.path) as members:
                for item in self._of_all(members):
                    any_read = True
                    yield item
        except Unreadable as error:
            raise InputError(f"{shown} {error}. Nothing was imported.") from error
        if not any_read:
            raise InputError(
                f"{shown} {shapes.NO_FORM}{self._first_skipped()}. Nothing was imported."
            )

    def _of_all(self, members: list[Member]) -> Iterator[Located]:
        for member in members:
            try:
                for item in _read(member, self.sides):
                    yield _named(item, member.name)
            except Unreadable as error:
                if not member.name:
                    raise
                if not isinstance(error, NotConversations):
                    raise Unreadable(f"holds {escaped(member.name)}, which {error}") from error
                self.skipped[member.name] = str(error)

    def _first_skipped(self) -> str:
        return next((f"; {name} {why}" for name, why in self.skipped.items()), "")


def _read(member: Member, sides: Sides) -> Iterator[Located]:
    sniffed = sniff.sniff(member)
    if sniffed.kind in (Kind.WHATSAPP, Kind.TEXT):
        yield from _text(member, sniffed, sides)
    elif sniffed.kind is Kind.JSON_OBJECT and telegram.is_one(_beginning(member, sniffed.encoding)):
        with member.open() as file:
            yield from telegram.conversations(rows.utf8(file, sniffed.encoding), sides)
    else:
        yield from shapes.drafts(rows.of(member, sniffed))


def _text(member: Member, sniffed: sniff.Sniffed, sides: Sides) -> Iterator[Located]:
    beginning = _beginning(member, sniffed.encoding)
    try:
        with member.open() as file:
            lines = io.TextIOWrapper(file, encoding=sniffed.encoding)
            if sniffed.kind is Kind.TEXT:
                yield from transcript.conversations(lines)
            else:
                messages = whatsapp.messages(lines, beginning)
                yield from chatlog.drafts(messages, Form.WHATSAPP, sides, "line")
    except UnicodeDecodeError as error:
        raise Unreadable("is no UTF-8: save it as UTF-8") from error


def _beginning(member: Member, encoding: str) -> str:
    return member.head(sniff.HEAD_BYTES).decode(encoding, errors="replace")


def _named(item: Located, name: str) -> Located:
    if not name:
        return item
    return dataclasses.replace(item, where=f"{name} {item.where}".strip())
