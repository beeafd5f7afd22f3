"""Reads YAML 1.2 as DVC does, and refuses what can be read in two ways."""

from __future__ import annotations

import re
from typing import Any

from luna.errors import InputError

MAX_BYTES = 1_000_000
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")


def load(data: bytes, where: str) -> Any:
    """The document; None for an empty one. Raises InputError naming ``where``, the line and what is wrong."""
    from ruamel.yaml import YAML, YAMLError

    if len(data) > MAX_BYTES:
        raise InputError(f"{where} is longer than {MAX_BYTES:,} bytes.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise InputError(f"{where} line {number} is not UTF-8: save the file as UTF-8.") from None
    reader = YAML(typ="safe")  # as DVC's own parse_yaml does
    reader.Constructor = _constructor()
    try:
        return reader.load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise InputError(f"{where}{line} is not valid YAML: {problem}.") from None
    except RecursionError:
        raise InputError(f"{where} is nested too deeply.") from None
    except (ValueError, TypeError, ArithmeticError) as error:
        # A date that is none, a whole number of thousands of digits.
        raise InputError(f"{where} holds a value that YAML cannot have: {error}.") from None


def load_1_1(data: bytes) -> Any:
    """YAML 1.1, as PyYAML reads it: for files that DVC wrote, and for parameters that were sealed before ``load`` was. Raises yaml.YAMLError."""
    import yaml

    return yaml.load(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _constructor() -> Any:
    from ruamel.yaml.constructor import ConstructorError, SafeConstructor

    class Constructor(SafeConstructor):
        def construct_yaml_int(self, node: Any) -> int:
            if _LEADING_ZERO.fullmatch(node.value):
                raise ConstructorError(
                    None,
                    None,
                    f"{node.value} is ten or eight to different readers: write the number without the leading zero",
                    node.start_mark,
                )
            return super().construct_yaml_int(node)

    Constructor.add_constructor("tag:yaml.org,2002:int", Constructor.construct_yaml_int)
    return Constructor
