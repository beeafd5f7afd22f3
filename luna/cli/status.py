"""The command `luna status`; the work is in operations/: status.py, usage.py, waiting.py."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from luna.cli.common import Json, print_json, printable, repository_root
from luna.names import GenerationName
from luna.operations import status, usage, waiting
from luna.operations.new import Pending

_SHOWN = 90  # characters of a question


def command(
    storage: Annotated[
        bool,
        typer.Option(
            "--storage",
            help="Bytes by generation in cold storage, what is shared, and what plain DVC would "
            "take.",
        ),
    ] = False,
    waits: Annotated[
        bool,
        typer.Option(
            "--waiting",
            help="Each conversation that waits to be learnt, its length, and what would be left out or cut.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Where the line stands, and what to do next.

    The current best, the newest generation, what is being built, and what waits to be learnt.
    """
    root = repository_root()
    if storage:
        use = usage.storage(root)
        if as_json:
            print_json(asdict(use))
        else:
            _show_storage(use)
        return
    if waits:
        ahead = waiting.outlook(root)
        if as_json:
            print_json(ahead)
        else:
            _show_waiting(ahead)
        return
    now = status.status(root)
    if as_json:
        print_json(asdict(now) | {"next": now.next_step})
    else:
        _show(now)


def _show(now: status.Status) -> None:
    for title, value in (
        ("current best", now.head or "none yet"),
        *([("what it is worth", now.balance.sentence)] if now.balance else []),
        ("newest", now.newest or "none yet"),
        ("generations", now.generations),
        ("checked out", now.checked_out or now.where.position),
        ("being built", now.building or "-"),
        *([("running", now.running.sentence)] if now.running else []),
        *([("stopped", now.failure)] if now.failure else []),
        *([("not the tip's", now.foreign)] if now.foreign else []),
        ("waiting to be learnt", now.pending_error or _conversations(now.pending)),
        ("karma", _karma(now)),
        ("pushed to", now.push_remote or "nowhere (git config luna.pushRemote NAME)"),
        *(("doubt", doubt.sentence) for doubt in now.doubts),
        *([("denied", now.advice.reason)] if now.advice else []),
        ("next", now.next_step),
    ):
        typer.echo(f"{title + ':':<22}{printable(str(value))}")
    for sentence in now.ignored:
        typer.echo(sentence)


def _conversations(pending: Pending | None) -> str:
    if not pending:
        return "-"
    text = f"{pending.conversations} {'conversation' if pending.conversations == 1 else 'conversations'}"
    if pending.next == pending.conversations and not pending.folder:
        return text
    folder = f", with the folder {pending.folder}" if pending.folder else ""
    return f"{text}; {pending.next} of them are next{folder}"


def _karma(now: status.Status) -> str:
    if not now.pending:
        return "-"
    missing = max(0.0, now.karma_required - now.pending.karma)
    enough = f"{missing:g} missing" if missing else "enough for luna age-up"
    return f"{now.pending.karma:g} of {now.karma_required:g}, {enough}"


def _show_waiting(ahead: waiting.Outlook) -> None:
    for item in ahead.conversations:
        question = " ".join(item.question.split())
        shown = question if len(question) <= _SHOWN else f"{question[: _SHOWN - 1]}…"
        later = "" if item.next else "  (later)"
        typer.echo(printable(f"{item.tokens:>7,} tokens  {shown}{later}"))
    tokens, about = ahead.tokens, "" if ahead.tokens.exact else "about "
    typer.echo(
        f"{len(ahead.conversations):,} conversations"
        + (
            f", {about}{tokens.median:,} tokens in the median, {about}{tokens.longest:,} in the longest"
            if ahead.conversations
            else ""
        )
    )
    for sentence in ahead.foreseen:
        typer.echo(printable(sentence))


def _show_storage(use: usage.Storage) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("gen", "new MB", "shared MB", "stored MB", "adapter MB", "GGUF MB", "GGUF kept"):
        table.add_column(title, justify="right" if title.endswith("MB") else "left", no_wrap=True)
    for row in use.generations:
        if row.missing:
            kept = f"{row.missing} objects MISSING"
        else:
            kept = "rebuilt on demand" if row.lean else "yes"
        sizes = (row.own, row.shared, row.stored, row.adapter, row.model)
        table.add_row(
            GenerationName.parse(row.name).short, *(f"{size / 1e6:.1f}" for size in sizes), kept
        )
    Console().print(table)
    for title, size in (
        ("in cold storage:", use.stored),
        ("with every GGUF:", use.whole),
        ("keyframes:", sum(row.keyframe for row in use.generations)),
        ("plain DVC:", use.plain_dvc),
    ):
        typer.echo(f"{title:<22}{size / 1e6:.1f} MB")
    ratio = (
        f", {use.plain_dvc / use.stored:.1f} times less than plain DVC keeping adapter, "
        "merged weights and GGUF"
        if use.stored
        else ""
    )
    typer.echo(f"{'rule:':<22}cold.keep: {use.rule}{ratio}")
