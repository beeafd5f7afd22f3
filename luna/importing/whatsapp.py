"""WhatsApp's export: a text, a line a message, dates as the phone's language writes them.

Android writes ``31.12.23, 22:15 - Name: text``, an iPhone ``[31.12.23, 22:15:01] Name: text``; what follows on the
next lines belongs to the message. Lines without a name, and texts that begin with a mark of direction, are the
program's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from luna.importing.chatlog import Message

_MARKS = "\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
_MARK = rf"[{_MARKS}]*"
_DATE = (
    rf"(?P<a>\d{{1,4}}){_MARK}(?P<by>[./-])\s?(?P<b>\d{{1,2}}){_MARK}[./-]\s?(?P<c>\d{{1,4}})\.?"
)
_WORD = r"[^\W\d_]{1,4}\.?(?:\s?[^\W\d_]{1,3}\.?)?"  # AM, p. m., 오후, 下午, klo
_TIME = rf"(?:(?P<before>{_WORD})\s?)?(?P<hour>\d{{1,2}})[:.](?P<minute>\d{{2}})(?:[:.](?P<second>\d{{2}}))?(?:\s?(?P<after>{_WORD}))?"
_BETWEEN = rf"{_MARK}[,،]?{_MARK}\s{{1,2}}"
_BRACKETED = rf"\[{_DATE}{_BETWEEN}{_TIME}{_MARK}\]\s"
_PLAIN = rf"{_DATE}{_BETWEEN}{_TIME}{_MARK}(?:\s[-–]\s|,\s)".replace("P<", "P<x")
_HEADER = re.compile(rf"{_MARK}(?:{_BRACKETED}|{_PLAIN})")
_SENDER = re.compile(r"(?P<name>[^:\"“”„\n]{1,100}):(?:\s|$)(?P<text>.*)", re.DOTALL)
_AFTERNOON = {"pm", "p", "오후", "下午", "午後", "晚上", "μμ", "م"}
_MORNING = {"am", "a", "오전", "上午", "午前", "凌晨", "早上", "πμ", "ص"}
_FILE = r"[^\n]{1,120}\.\w{2,5} \([^()\n]{3,40}\)"  # its name, and the remark that it is attached
#: Instead of a picture: '<Media omitted>' in any language, or a file's name and a remark.
_MEDIA = re.compile(rf"[{_MARKS}]*(?:<[^<>\n]{{3,60}}>|{_FILE}|null)\s*$")
_EDITED = re.compile(
    rf"\s*[{_MARKS}]+<[^<>\n]{{3,60}}>\s*$"
    r"|\s*<(?:this message was edited|diese nachricht wurde bearbeitet|mensagem editada|ce message a été modifié"
    r"|se editó este mensaje|este mensaje fue editado|questo messaggio è stato modificato|dit bericht is bewerkt"
    r"|bu mesaj düzenlendi|сообщение изменено|ta wiadomość została edytowana)\.?>\s*$",
    re.IGNORECASE,
)
#: In the first line of a message that goes on.
_ATTACHED = re.compile(rf"[{_MARKS}]*{_FILE}\n")
_DELETED = {
    "this message was deleted",
    "you deleted this message",
    "diese nachricht wurde gelöscht",
    "du hast diese nachricht gelöscht",
    "ce message a été supprimé",
    "vous avez supprimé ce message",
    "se eliminó este mensaje",
    "eliminaste este mensaje",
    "questo messaggio è stato eliminato",
    "hai eliminato questo messaggio",
    "essa mensagem foi apagada",
    "esta mensagem foi apagada",
    "mensagem apagada",
    "apagou esta mensagem",
    "eliminó este mensaje",
    "u hebt dit bericht verwijderd",
    "je hebt dit bericht verwijderd",
    "ta wiadomość została usunięta",
    "usunięto tę wiadomość",
    "данное сообщение удалено",
    "сообщение удалено",
    "вы удалили данное сообщение",
    "bu mesaj silindi",
    "bu mesajı sildiniz",
    "waiting for this message",
    "waiting for this message. this may take a while",
    "live location shared",
    "você apagou esta mensagem",
    "dit bericht is verwijderd",
    "このメッセージは削除されました",
}
_PROBED = 20  # lines


@dataclass(frozen=True)
class _Line:
    """A line that begins a message. ``date`` has its three numbers in their order, ``rest`` what comes after the time."""

    date: tuple[int, int, int]
    slashes: bool
    hour: int
    minute: int
    second: int
    halves: bool  # a clock of twelve hours
    rest: str


def is_one(text: str) -> bool:
    """Whether a text begins as such an export does: its first line is a message, and one has a name."""
    lines = [line for line in text.splitlines()[: 3 * _PROBED] if line.strip()][:_PROBED]
    begun = [_begun(line) for line in lines]
    return (
        bool(begun)
        and begun[0] is not None
        and any(line is not None and _SENDER.match(line.rest) for line in begun)
    )


def messages(lines: Iterable[str], beginning: str) -> Iterator[Message]:
    """The messages; ``beginning`` is the first part of the text, by which the order of day and month is told."""
    day_first = _day_first(beginning)
    header: _Line | None = None
    number, texts = 0, []
    for at, line in enumerate(lines, start=1):
        begun = _begun(line)
        if begun is None:
            texts.append(line.rstrip("\r\n"))
            continue
        if header is not None:
            yield _message(header, texts, number, day_first)
        header, number, texts = begun, at, [begun.rest.rstrip("\r\n")]
    if header is not None:
        yield _message(header, texts, number, day_first)


def _begun(line: str) -> _Line | None:
    spaced = line.replace("\u202f", " ").replace("\u00a0", " ")  # one character each: places stay
    match = _HEADER.match(spaced)
    if match is None:
        return None
    value = {name.removeprefix("x"): text for name, text in match.groupdict().items() if text}
    words = {
        re.sub(r"[.\s]", "", value[name]).casefold()
        for name in ("before", "after")
        if name in value
    }
    hour, minute, second = (int(value.get(name, 0)) for name in ("hour", "minute", "second"))
    if words & _AFTERNOON and hour < 12:
        hour += 12
    elif words & _MORNING and hour == 12:
        hour = 0
    if hour > 23 or minute > 59 or second > 59:
        return None
    date = (int(value["a"]), int(value["b"]), int(value["c"]))
    halves = bool(words & (_AFTERNOON | _MORNING))
    return _Line(date, value["by"] == "/", hour, minute, second, halves, line[match.end() :])


def _day_first(text: str) -> bool:
    """Whether the day comes before the month; where no date tells it, as usual with such a clock and such strokes."""
    begun = [line for line in map(_begun, text.splitlines()) if line is not None]
    if any(line.date[0] > 12 for line in begun):
        return True
    if any(line.date[1] > 12 for line in begun):
        return False
    return not any(line.slashes and line.halves for line in begun)


def _message(header: _Line, texts: list[str], number: int, day_first: bool) -> Message:
    match = _SENDER.match("\n".join(texts))
    sender = match["name"] if match else ""
    text = match["text"] if match else ""
    if text.startswith(("\u200e", "\u200f\u200e")) or _MEDIA.match(text):
        text = ""
    text = _EDITED.sub("", text)
    if attached := _ATTACHED.match(text):
        text = text[attached.end() :]
    if text.strip().rstrip(".").casefold() in _DELETED:
        text = ""
    return Message(_when(header, day_first), sender, text, number)


def _when(line: _Line, day_first: bool) -> datetime | None:
    one, two, three = line.date
    if one > 31:
        year, month, day = one, two, three
    else:
        year = three if three > 99 else 2000 + three
        day, month = (one, two) if day_first else (two, one)
    try:
        return datetime(year, month, day, line.hour, line.minute, line.second)
    except ValueError:  # another calendar
        return None
