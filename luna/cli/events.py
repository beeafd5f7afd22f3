"""Prints the events of a build as JSON lines, and passes them to `notify.command`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luna import params
from luna.cli.common import say, versioned
from luna.errors import LunaError, from_os_error
from luna.operations import notify

Tell = Callable[[dict[str, Any]], None]


@contextmanager
def telling(root: Path, as_json: bool, sealed: list[dict[str, Any]]) -> Iterator[Tell]:
    """Gives the function that takes each event; sealed generations are appended to ``sealed``.

    An error that ends the build is an event too: ``failed``, with the error's class, sentence and exit code.
    """
    command = params.load(root).notify.command

    def tell(event: dict[str, Any]) -> None:
        event = versioned(event)
        if event["event"] == "sealed":
            sealed.append(event)
        if as_json:
            _print(json.dumps(event, ensure_ascii=False))
        if event["event"] != "stage" and (trouble := notify.tell(root, command, event)):
            say(trouble)

    try:
        yield tell
    except (LunaError, OSError) as error:
        if sentence := error if isinstance(error, LunaError) else from_os_error(error):
            tell(
                {
                    "event": "failed",
                    "error": type(sentence).__name__,
                    "message": str(sentence),
                    "exit_code": sentence.exit_code,
                }
            )
        raise


def _print(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # the reader has gone: the build continues to its end
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
