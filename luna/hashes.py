"""hashes.csv: path, bytes and SHA-256 of each file of an artifact set or a snapshot."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import NamedTuple

from luna.errors import InputError

COLUMNS = ("path", "bytes", "sha256")


class Listed(NamedTuple):
    """What is listed of a file."""

    bytes: int
    sha256: str


def dumps(rows: Iterable[tuple[str, int, str]]) -> str:
    """The rows (path, bytes, SHA-256) as hashes.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue()


def loads(content: bytes) -> dict[str, Listed]:
    """The files by path, in their order. Raises InputError for what ``dumps`` does not write."""
    try:
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
        if tuple(header) != COLUMNS:
            raise ValueError
        return {path: Listed(_size(size), sha256) for path, size, sha256 in rows}
    except (ValueError, csv.Error):
        raise InputError("hashes.csv cannot be read: it is not a list of files.") from None


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError
    return int(text)
