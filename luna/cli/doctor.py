"""The command `luna doctor`; the work is in doctor/examine.py and doctor/checklist.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import (
    GENERATION,
    Json,
    print_json,
    reachable_stores,
    repository_root,
    settings_of,
)
from luna.doctor import checklist as design
from luna.doctor.check import BAD, GOOD, Check
from luna.doctor.examine import examine
from luna.promotion.checklist import MARKS, OPEN, Box


def command(
    checklist: Annotated[
        str | None,
        typer.Option(
            "--checklist",
            metavar="GEN",
            help=f"Instead, go through the safety checklist for this generation: {GENERATION}.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine this clone and its settings.

    It checks versions, disk, hooks, record, cold storage, and settings that would break a promise, and
    changes nothing. With --checklist it goes through the safety checklist of one generation: each box is
    ticked with the evidence, or marked as yours to judge. Exit code 1 when a check is bad or a box open.
    """
    root = repository_root()
    if checklist:
        _checklist(root, checklist, as_json)
        return
    checks = examine(root)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        _show_checks(checks)
    if any(check.state == BAD for check in checks):
        raise typer.Exit(1)


def _checklist(root: Path, generation: str, as_json: bool) -> None:
    boxes = design.boxes(root, settings_of(root).line.prefix, generation, reachable_stores(root))
    if as_json:
        print_json([asdict(box) for box in boxes])
    else:
        _show_boxes(boxes)
    if any(box.state == OPEN for box in boxes):
        raise typer.Exit(1)


def _show_checks(checks: list[Check]) -> None:
    for check in checks:
        mend = f"\n         mend: {check.mend}" if check.state != GOOD else ""
        typer.echo(f"{check.state:<8} {check.name}: {check.detail}{mend}")


def _show_boxes(boxes: list[Box]) -> None:
    section = None
    for box in boxes:
        if box.section != section:
            section = box.section
            typer.echo(section)
        whose = " (yours to judge)" if box.state == "yours" else ""
        typer.echo(f"  {MARKS[box.state]} {box.text}: {box.evidence}{whose}")
