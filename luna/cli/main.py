"""The command ``luna``: each command's help is its documentation; errors are one sentence and an exit code."""

from __future__ import annotations

import sys

import typer

from luna import ending, start
from luna.cli import (
    answers,
    build,
    diff,
    host,
    judge,
    keep,
    lean,
    lineage,
    look,
    maturity,
    talk,
    verify,
)
from luna.errors import LunaError, from_os_error

app = typer.Typer(
    name="luna",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Generations of a fine-tuned chat model that never overwrite history.\n\n"
    "A generation is named G003, 3, by its full name, or HEAD for the current best. "
    "Exit codes: 0 done, 1 a check or a rule said no, 2 a mistake in the call or its input.",
)
build.register(app)
host.register(app)
look.register(app)
lineage.register(app)
diff.register(app)
maturity.register(app)
judge.register(app)
answers.register(app)
lean.register(app)
verify.register(app)
keep.register(app)
talk.register(app)


def main() -> None:
    start.prepare()
    ending.on_sigterm("luna")
    try:
        try:
            app(standalone_mode=True)
        except OSError as error:
            raise from_os_error(error) or error from error
    except LunaError as error:
        print(f"luna: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("luna: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
