"""luna init."""

from __future__ import annotations

from luna.cli.common import repository_root, say, settings_of
from luna.export import converter
from luna.operations import init


def command() -> None:
    """Prepare this clone: git hooks, and what git fetches and pushes.

    The refspecs follow the head but never a changed generation. 'make setup' runs it; running it
    again changes nothing.
    """
    root = repository_root()
    for sentence in init.initialise(root, settings_of(root).line.prefix):
        say(sentence)
    converter.set_up()
    say("this clone is ready: run 'luna evolve'")
