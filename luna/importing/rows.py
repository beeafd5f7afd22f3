"""The rows of JSON, JSON lines, tables and Parquet, each with where it stands, read as a stream."""

from __future__ import annotations

import codecs
import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

from luna.importing import shapes
from luna.importing.draft import NotConversations, Reason, Unreadable, Unusable
from luna.importing.shapes import Row
from luna.importing.sniff import Kind, Sniffed
from luna.importing.source import Member, damage

MAX_ROW_BYTES = 64 << 20
_NOT_JSON = "is not valid JSON (cut off, perhaps): export or copy it again"
#: An object that holds no list of conversations is one conversation, and is read whole.
_LISTS = ("conversations", "data", "chats", "train", "rows", "items", "examples", "messages")
_SHOWN = 2_000  # characters of a row that is no value, for the file of rejects
_BATCH = 1000  # rows of Parquet that are in memory at a time


def of(member: Member, sniffed: Sniffed) -> Iterator[Row]:
    """Every row of the file. Raises Unreadable where it cannot be read on."""
    match sniffed.kind:
        case Kind.JSON_ARRAY:
            return _array(member, sniffed.encoding, "item")
        case Kind.JSON_OBJECT:
            return _object(member, sniffed.encoding)
        case Kind.JSON_LINES:
            return _lines(member, sniffed.encoding)
        case Kind.TABLE:
            return _table(member, sniffed)
        case Kind.PARQUET | Kind.ARROW:
            return _columns(member, sniffed.kind)
        case _:
            raise AssertionError(sniffed.kind)


def utf8(file: BinaryIO, encoding: str) -> BinaryIO:
    """The file's bytes as UTF-8 without a byte order mark."""
    if encoding == "utf-8":
        return file
    if encoding == "utf-8-sig":
        file.read(len(codecs.BOM_UTF8))
        return file
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    return cast(BinaryIO, io.BufferedReader(_AsUtf8(text)))


class _AsUtf8(io.RawIOBase):
    """The bytes of a text in UTF-8, a piece at a time. Reading raises Unreadable."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        super().__init__()
        self._text = text

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            piece = self._text.read(len(buffer) // 4).encode()  # a character has four bytes at most
        except UnicodeDecodeError as error:
            raise Unreadable("is no valid UTF-16 (cut off, perhaps): save it as UTF-8") from error
        buffer[: len(piece)] = piece
        return len(piece)


def _array(member: Member, encoding: str, prefix: str) -> Iterator[Row]:
    import ijson

    number = 0
    try:
        with member.open() as file:
            values = ijson.items(utf8(file, encoding), prefix, use_float=True)
            for number, value in enumerate(values, start=1):
                yield Row(f"item {number}", value)
    except (ijson.JSONError, ValueError, RecursionError) as error:
        raise Unreadable(
            f"is not valid JSON after item {number} (cut off, perhaps): export or copy it again"
        ) from error


def _object(member: Member, encoding: str) -> Iterator[Row]:
    with member.open() as file:
        raw = utf8(file, encoding).read(MAX_ROW_BYTES + 1)
    if len(raw) > MAX_ROW_BYTES:
        del raw
        yield from _array(member, encoding, f"{_list_in(member, encoding)}.item")
        return
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NotConversations(_NOT_JSON) from error  # a template, or a page's style
    if not shapes.is_known(value):
        for name in _LISTS:
            listed = value.get(name)
            if isinstance(listed, list) and listed:
                for number, item in enumerate(listed, start=1):
                    inner = item.get("row") if isinstance(item, dict) else None  # the hub's viewer
                    yield Row(f"{name} item {number}", inner if isinstance(inner, dict) else item)
                return
    yield Row("", value)


def _list_in(member: Member, encoding: str) -> str:
    """The key of the first list of objects in a large object."""
    import ijson

    try:
        with member.open() as file:
            for prefix, event, _ in ijson.parse(utf8(file, encoding)):
                if event == "start_array" and prefix in _LISTS:
                    return str(prefix)
    except (ijson.JSONError, ValueError) as error:
        raise NotConversations(_NOT_JSON) from error
    raise NotConversations(shapes.NO_FORM)


def _lines(member: Member, encoding: str) -> Iterator[Row]:
    with member.open() as opened:
        file = utf8(opened, encoding)
        number = 0
        while raw := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(raw) > MAX_ROW_BYTES:
                begin = _text(raw)
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(MAX_ROW_BYTES)
                yield Row(
                    f"line {number}", Unusable(Reason.TOO_LONG, "is longer than 64 MB", begin)
                )
            elif raw.strip():
                yield Row(f"line {number}", _json(raw))


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return Unusable(Reason.NOT_JSON, "is not UTF-8", _text(raw))
    except json.JSONDecodeError as error:
        why = f"is not valid JSON ({error.msg} at column {error.colno})"
        return Unusable(Reason.NOT_JSON, why, _text(raw))
    except (ValueError, RecursionError):
        why = "is JSON that cannot be read (too deep, or a huge number)"
        return Unusable(Reason.NOT_JSON, why, _text(raw))


def _text(raw: bytes) -> str:
    """The beginning of a line that is not read, without its end."""
    return raw[: 4 * _SHOWN].decode("utf-8", "replace").rstrip("\r\n")[:_SHOWN]


def _table(member: Member, sniffed: Sniffed) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW_BYTES)
    number = 0
    try:
        with member.open() as file:
            text = io.TextIOWrapper(file, encoding=sniffed.encoding, newline="")
            records = _records(text, sniffed.delimiter)
            columns = [name.strip().lower() for name in next(records)[0]]
            for number, (cells, lines) in enumerate(records, start=1):
                if not any(cell.strip() for cell in cells):
                    continue
                where = f"row {number}"
                if len(cells) > len(columns):
                    wrong = f"has {len(cells)} cells under {len(columns)} columns"
                    shown = "".join(lines).rstrip("\r\n")[:_SHOWN]
                    yield Row(where, Unusable(Reason.NOT_VALID, wrong, shown))
                else:
                    yield Row(where, dict(zip(columns, cells, strict=False)))
    except csv.Error as error:
        raise Unreadable(f"is no table that can be read after row {number} ({error})") from error
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"is no UTF-8 after row {number}: save it as UTF-8 (in Excel: 'CSV UTF-8')"
        ) from error


def _records(text: Iterable[str], delimiter: str) -> Iterator[tuple[list[str], list[str]]]:
    """The rows of a table, each with the lines that it stands on.

    Raises Unreadable where a quote is never closed, or only by one that opens a later cell: the rows between would
    be one text. A quote that is wrong within one line
    swallows no other, and is taken as text.
    """
    lines: list[str] = []

    def kept() -> Iterator[str]:
        for line in text:
            lines.append(line)
            yield line

    begin = 1
    for cells in csv.reader(kept(), delimiter=delimiter):
        if len(lines) > 1:
            try:
                list(csv.reader(lines, delimiter=delimiter, strict=True))
            except csv.Error as error:
                raise Unreadable(
                    f"has a quote that is not closed in the row that begins in line {begin}, so the rows after it cannot be told "
                    "from its text: close it (a quote inside a cell is written twice)"
                ) from error
        yield cells, lines
        begin += len(lines)
        lines.clear()


def _columns(member: Member, kind: Kind) -> Iterator[Row]:
    """Parquet, and Arrow as the datasets library saves it."""
    import pyarrow as arrow
    from pyarrow import parquet

    number = 0
    try:
        with damage(), tempfile.TemporaryFile() as copy, member.open() as file:
            source = file
            if not isinstance(getattr(file, "raw", None), io.FileIO):  # packed
                while piece := file.read(1 << 20):
                    copy.write(piece)
                copy.seek(0)
                source = cast(BinaryIO, copy)
            if kind is Kind.PARQUET:
                batches = parquet.ParquetFile(source).iter_batches(batch_size=_BATCH)
            else:
                batches = _arrow_batches(source)
            for batch in batches:
                for value in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", value)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise Unreadable(
            "is a Parquet or Arrow file that is cut off or damaged: copy it again"
        ) from error


def _arrow_batches(source: BinaryIO) -> Iterator[Any]:
    import pyarrow as arrow

    if source.read(6) == b"ARROW1":
        reader = arrow.ipc.open_file(source)
        whole = (reader.get_batch(at) for at in range(reader.num_record_batches))
    else:
        source.seek(0)
        whole = iter(arrow.ipc.open_stream(source))
    for batch in whole:
        for begin in range(0, batch.num_rows, _BATCH):
            yield batch.slice(begin, _BATCH)
