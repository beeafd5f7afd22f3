"""Conversations that one of two generations was taught and the other was not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from luna import artifacts
from luna.conversations import schema
from luna.errors import InputError
from luna.forensics.diff.known import Known
from luna.history.line import Line
from luna.repo.git import Git


def section(line: Line, a: Known, b: Known) -> dict[str, Any]:
    """``added`` and ``missing``: what B was taught and A was not, and the reverse; None where a record cannot be read."""
    counts = {
        key: {"a": a.number("data", key), "b": b.number("data", key)}
        for key in ("new_conversations", "replay_samples", "total_training_examples", "karma")
    }
    if a.taught is None or b.taught is None:
        return counts | {"added": None, "missing": None}
    added = {identity: gen for identity, gen in b.taught.items() if identity not in a.taught}
    missing = {identity: gen for identity, gen in a.taught.items() if identity not in b.taught}
    words = _words(line, a.name, b.name, set(added) | set(missing))
    return counts | {
        key: [
            {
                "conversation": identity,
                "generation": gen,
                **words.get(identity, {"question": None, "reply": None}),
            }
            for identity, gen in rows.items()
        ]
        for key, rows in (("added", added), ("missing", missing))
    }


def _words(line: Line, one: str, other: str, wanted: set[str]) -> dict[str, dict[str, str]]:
    """Question and reply of conversations. Files that differ between the two tags are read first: most often they hold all."""
    words: dict[str, dict[str, str]] = {}
    folder = artifacts.CONVERSATIONS.as_posix()
    if not wanted:
        return words
    differing = _paths(
        line.git,
        "diff",
        "--name-only",
        "--no-renames",
        "-z",
        f"refs/tags/{one}",
        f"refs/tags/{other}",
        "--",
        folder,
    )
    _read(line, (one, other), differing, wanted, words)
    if wanted - words.keys():
        rest = [
            path
            for path in _paths(
                line.git, "ls-tree", "-r", "--name-only", "-z", f"refs/tags/{other}", "--", folder
            )
            if path not in set(differing)
        ]
        _read(line, (other,), rest, wanted, words)
    return words


def _paths(git: Git, *command: str) -> list[str]:
    return [
        path
        for path in git.run(*command).decode("utf-8", "surrogateescape").split("\0")
        if path.endswith(".jsonl") and "\n" not in path
    ]


def _read(
    line: Line,
    tags: Iterable[str],
    paths: list[str],
    wanted: set[str],
    words: dict[str, dict[str, str]],
) -> None:
    for text in (
        line.git.cat([f"refs/tags/{tag}:{path}" for tag in tags for path in paths]) if paths else []
    ):
        for row in (text or b"").splitlines():
            try:
                item = schema.parse(json.loads(row))
            except (ValueError, InputError, RecursionError):
                continue
            if item.identity in wanted:
                words[item.identity] = {
                    "question": item.question[-1][1],
                    "reply": item.reply,
                }
        if not wanted - words.keys():
            return
