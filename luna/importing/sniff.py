"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
from dataclasses import dataclass
from enum import Enum, auto

from luna.importing import messages, pairs, transcript, whatsapp
from luna.importing.draft import NotConversations
from luna.importing.shapes import NO_FORM
from luna.importing.source import Member

HEAD_BYTES = 1 << 20
_START_BYTES = 4096
_DELIMITERS = ",\t;|"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Beginnings of binary files that people name by mistake.
_BINARY = (
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3\0", "a database"),
    (b"GGUF", "a model"),
    (b"PK", "a zip file inside another: unpack it and name it by itself"),
    (b"7z\xbc\xaf", "a 7z file: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: unpack it"),
    (b"BZh", "a bzip2 file: unpack it"),
    (b"\xfd7zXZ", "an xz file: unpack it"),
)
_HTML = re.compile(
    r"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|meta|div|script)\b",
    re.IGNORECASE | re.DOTALL,
)
_JSON_ARRAY = re.compile(r'\[\s*([{\["\]]|-?\d+\s*[,\]]|true|false|null|$)')

_COLUMNS = (
    "if it is a table, its first line must name the columns: a question "
    f"({', '.join(pairs.QUESTIONS)}) and an answer ({', '.join(pairs.ANSWERS)}), or role and content"
)
_ROWS = 5  # by which a table is told whose columns are not known


class Kind(Enum):
    """The ways in which files are read."""

    JSON_ARRAY = auto()
    JSON_OBJECT = auto()
    JSON_LINES = auto()
    TABLE = auto()
    PARQUET = auto()
    ARROW = auto()
    TEXT = auto()
    WHATSAPP = auto()


@dataclass(frozen=True)
class Sniffed:
    """``encoding`` of a text, ``delimiter`` of a table."""

    kind: Kind
    encoding: str = "utf-8"
    delimiter: str = ","


def sniff(member: Member) -> Sniffed:
    """Raises NotConversations for a file that is none of these, with what it is instead."""
    head = member.head(_START_BYTES)
    if not head:
        raise NotConversations("is empty")
    if head.startswith(b"PAR1"):
        return Sniffed(Kind.PARQUET)
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return Sniffed(Kind.ARROW)
    if name := next((name for begin, name in _BINARY if head.startswith(begin)), None):
        raise NotConversations(f"is {name}{'' if ':' in name else ', and no text'}")
    if len(head) == _START_BYTES:  # of the many pictures in an export, no more is read
        head = member.head(HEAD_BYTES)
    encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    text = _decoded(head, encoding)
    if not text:
        raise NotConversations("is empty")
    if _HTML.match(text):
        raise NotConversations("is HTML: export the chats as JSON, or as text")
    if text.startswith("{\\rtf"):
        raise NotConversations("is a document of an office program: save it as text")
    if whatsapp.is_one(text):
        return Sniffed(Kind.WHATSAPP, encoding)
    if _JSON_ARRAY.match(text):
        return Sniffed(Kind.JSON_ARRAY, encoding)
    if text.startswith("{"):
        return Sniffed(Kind.JSON_LINES if _is_lines(text) else Kind.JSON_OBJECT, encoding)
    if delimiter := _delimiter(text):
        return Sniffed(Kind.TABLE, encoding, delimiter)
    if transcript.is_one(text):
        return Sniffed(Kind.TEXT, encoding)
    if _is_table(text):
        raise NotConversations(f"{NO_FORM}; {_COLUMNS}")
    raise NotConversations(NO_FORM)


def _decoded(head: bytes, encoding: str) -> str:
    """The text at the beginning, without white space before it. Raises NotConversations."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        if b"\0" in head:
            raise NotConversations("is a binary file, and no text") from None
        if head.lstrip().startswith(b"{"):  # of a file of lines, one may be broken
            return head.decode(errors="replace").lstrip()
        raise NotConversations("is no UTF-8: save it as UTF-8 (in Excel: 'CSV UTF-8')") from None
    if "\0" in text:
        raise NotConversations("is a binary file, and no text")
    return text.lstrip()


def _is_lines(text: str) -> bool:
    """Whether each line is an object of its own: the first one is, or the second, where the first is broken."""
    first, _, rest = text.partition("\n")
    second = rest.lstrip().partition("\n")[0]
    if not second:
        return False
    if _is_object(first):
        return True
    return len(first.strip()) > 1 and second.startswith("{") and _is_object(second)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _delimiter(text: str) -> str | None:
    """What divides the columns of a table whose first line names a question and an answer, or role and content."""
    line = text.partition("\n")[0].strip("\r")
    for delimiter in _DELIMITERS:
        if delimiter in line:
            try:
                names = next(csv.reader([line], delimiter=delimiter))
            except csv.Error:  # such as a carriage return in the middle
                continue
            columns = [name.strip().lower() for name in names]
            cells = dict.fromkeys(columns, "[]")
            if pairs.is_header(columns) or messages.is_message(cells) or messages.is_one(cells):
                return delimiter
    return None


def _is_table(text: str) -> bool:
    """Whether the first rows, two at least, have the same number of cells."""
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            rows = list(itertools.islice(filter(None, reader), _ROWS))
        except csv.Error:
            continue
        if len(rows) > 1 and len(rows[0]) > 1 and len({len(cells) for cells in rows}) == 1:
            return True
    return False
