"""The command `luna init`; the work is in operations/init.py."""

from __future__ import annotations

from luna.cli.common import repository_root, say, settings_of, tell_doubts
from luna.export import converter
from luna.history.line import read_line
from luna.operations import init


def command() -> None:
    """Prepare this clone: git hooks, and what git fetches and pushes.

    After it, 'git fetch' follows the head and refuses a changed generation. 'make setup' runs it;
    running it again changes nothing.
    """
    root = repository_root()
    prefix = settings_of(root).line.prefix
    for sentence in init.initialise(root, prefix):
        say(sentence)
    converter.set_up()
    if tell_doubts(read_line(root, prefix)):
        say("this clone is ready: run 'luna evolve'")
