"""Reads files of one JSON object per line strictly; an error names file and line."""

from __future__ import annotations

import codecs
import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luna import files
from luna.errors import InputError
from luna.text import escaped

MAX_LINE_BYTES = 1_000_000
_MOST_DIGITS = 300  # of a whole number; Python refuses 4,300, and no key here needs that many


def rows(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    """Number and value of every line that is not empty; ``shown`` is the file's name in errors.

    Raises:
        InputError: the file cannot be read, is no plain file, or a line is not JSON in UTF-8.
        FileNotFoundError: there is no such file.
    """
    with files.opened(path, shown) as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            with naming(shown, number):
                text = _text(raw, first=number == 1)
                value = _json(text.rstrip()) if text.strip() else None
            if text.strip():
                yield number, value


def require_finite(value: Any) -> None:
    """Raises ValueError where a number in a row is NaN or infinite, which JSON does not have.

    Checked after each key's own rule, whose message says more.
    """
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            require_finite(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it has {value}, which is not a JSON number")


@contextlib.contextmanager
def naming(shown: str, number: int) -> Iterator[None]:
    """Turn what is wrong with a line into an InputError that names file and line."""
    where = f"{escaped(shown)} line {number}"
    try:
        yield
    except UnicodeDecodeError:
        raise InputError(f"{where}: it is not UTF-8; save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: it is not valid JSON ({error.msg} at column {error.colno})."
        ) from None
    except RecursionError:
        raise InputError(f"{where}: it is nested too deeply.") from None
    except ValueError as error:
        raise InputError(f"{where}: {error}.") from None


def _text(raw: bytes, first: bool) -> str:
    if len(raw) > MAX_LINE_BYTES:
        raise ValueError(f"it is longer than {MAX_LINE_BYTES:,} bytes")
    if first and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16, not UTF-8; save the file as UTF-8")
    if b"\0" in raw:
        raise ValueError("it holds NUL bytes, so it is not UTF-8 text")
    return raw.decode("utf-8-sig" if first else "utf-8")


def _json(text: str) -> Any:
    """As RFC 8259 has it, each key of an object once; NaN is let pass (see ``require_finite``). Raises ValueError."""
    return json.loads(text, object_pairs_hook=_object, parse_int=_integer)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [key for key, _ in pairs]
        doubled = next(key for key in names if names.count(key) > 1)
        raise ValueError(f"the key {doubled!r} occurs twice in one object")
    return row


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"it holds a number of {len(digits)} digits")
    return int(digits)
