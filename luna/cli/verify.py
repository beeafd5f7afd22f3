"""Commands that audit: verify, repair, doctor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from luna.cli.common import Json, print_json, printable, root, say, settings_of


def register(app: typer.Typer) -> None:
    app.command()(verify)
    app.command()(repair)
    app.command()(doctor)


Generations = Annotated[
    list[str] | None,
    typer.Argument(help="Generations to read: G003, 3, the full name, or HEAD. None: all of them."),
]


@contextmanager
def reading(quiet: bool) -> Iterator[Any]:
    """A progress bar in bytes on a terminal; a function (bytes now, bytes in all) to drive it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda now, total: None
        return
    with Progress(
        TextColumn("reading"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda now, total: bar.update(task, advance=now, total=total)


def _stores(place: Path, remote: bool, name: str | None) -> list[Any]:
    if not remote and not name:
        return []
    from luna.storage import cold

    return cold.open_all(place) if name is None else [cold.open_store(place, name)]


def _setting(place: Path) -> tuple[str, str | None]:
    """The line's prefix, and the generation that params.yaml names as being built."""
    settings = settings_of(place)
    return settings.line.prefix, settings.generation.name


def verify(
    generations: Generations = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every generation; the same as naming none.")
    ] = False,
    remote: Annotated[
        bool,
        typer.Option(
            "--remote", help="Read every byte in cold storage back as well, in all of its remotes."
        ),
    ] = False,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="NAME", help="With --remote: only the DVC remote of this name."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Objects: only whether they exist and how long they are. Tags, ledger and head are checked as ever.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Prove that history is whole: tags, head, ledger, artifact sets, snapshots, and every byte by its hash.

    Nothing is changed. Each finding names what is wrong, where, and the command that mends it.
    Exit code 0 when all is whole, 1 when something was found, 2 for a mistake in the call.
    """
    from luna.errors import InputError

    if everything and generations:
        raise InputError("Name generations or give --all, not both.")
    from luna.audit.verify import verify as audit
    from luna.history import thinned

    place = root()
    prefix, named = _setting(place)
    with reading(as_json) as progress:
        stores = _stores(place, remote, store)
        report = audit(
            place,
            prefix,
            named,
            generations or (),
            stores,
            quick,
            progress,
            thinned.everywhere(place, prefix, stores),
        )
    if as_json:
        from dataclasses import asdict

        print_json(asdict(report) | {"clean": report.clean})
    else:
        _tell(report)
    if not report.clean:
        raise typer.Exit(1)


def _tell(report: Any) -> None:
    for finding in report.findings:
        typer.echo(
            printable(
                f"{'note  ' if finding.severity == 'note' else 'DAMAGE'}  {finding.sentence}\n        mend: {finding.mend}"
            )
        )
    for row in report.sealed_by:
        if row["signer"]:
            typer.echo(f"{row['generation']}: sealed by {row['tagger']}, signed by {row['signer']}")
    how = (
        f"{report.objects} objects looked at"
        if report.quick
        else f"{report.objects} objects, {report.bytes_read / 1e6:,.1f} MB read"
    )
    verdict = (
        "whole"
        if report.clean
        else f"{sum(finding.severity == 'damage' for finding in report.findings)} found"
    )
    beside = f" and {len(report.snapshots)} snapshots" if report.snapshots else ""
    typer.echo(
        f"{len(report.generations)} generations{beside} in {', '.join(report.places)}: {how}: {verdict}"
    )
    if not report.clean:
        say("next: luna repair --dry-run")


def repair(
    generations: Generations = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Mend what verify finds, wherever another whole copy is: cache, cold storage, git remotes, the record.

    What was damaged is put aside in 'quarantine' first, here or in the store; nothing is deleted. Run
    again, it does nothing more; killed, it goes on. Exit code 0 when all is whole afterwards, 1 when
    something cannot be mended.
    """
    import tempfile

    from luna import artifacts
    from luna.audit import repair as mending
    from luna.history import thinned
    from luna.operations.rebuild import remaker
    from luna.repo.lock import exclusive

    place = root()
    prefix, named = _setting(place)
    with (
        exclusive(place, "repair"),
        tempfile.TemporaryDirectory(prefix="rebuild-", dir=place / artifacts.SCRATCH) as scratch,
    ):
        stores = _reachable(place)
        done = mending.repair(
            place,
            prefix,
            named,
            stores,
            dry_run,
            generations or (),
            remaker(place, prefix, Path(scratch), say),
            thinned.everywhere(place, prefix, stores),
            lambda text: say(printable(f"repair: {text}")),
        )
    if as_json:
        from dataclasses import asdict

        print_json(asdict(done) | {"complete": done.complete})
    else:
        for step in done.steps:
            state = ("would mend" if dry_run else "mended") if step.done else "CANNOT MEND"
            typer.echo(
                printable(
                    f"{state}  {step.finding.sentence}\n        {step.done or f'no whole copy is to be had; {step.finding.mend}'}"
                )
            )
        typer.echo(
            "nothing to mend"
            if not done.steps
            else f"{sum(step.done is not None for step in done.steps)} of {len(done.steps)} {'could be ' if dry_run else ''}mended"
        )
    if not done.complete:
        raise typer.Exit(1)


def _reachable(place: Path) -> list[Any]:
    """The stores to mend and to mend from; none when cold storage does not answer, for the rest can still be mended."""
    from luna.errors import ColdStorageError

    try:
        return _stores(place, True, None)
    except ColdStorageError as error:
        say(f"luna: {error} Going on without it.")
        return []


def doctor(
    checklist: Annotated[
        str | None,
        typer.Option(
            "--checklist",
            metavar="GEN",
            help="Instead, go through the safety checklist for this generation: G003, 3, the full name, or HEAD.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Examine this clone: versions, disk, hooks, record, cold storage, and settings that would break a promise.

    Nothing is changed. With --checklist each box is ticked by a machine or marked as yours, with the
    evidence. Exit code 1 when something is bad, or a box is open.
    """
    from dataclasses import asdict

    place = root()
    if checklist:
        from luna.doctor import checklist as design
        from luna.promotion.checklist import OPEN

        boxes = design.boxes(place, _setting(place)[0], checklist, _reachable(place))
        if as_json:
            print_json([asdict(box) for box in boxes])
        else:
            _tell_boxes(boxes)
        if any(box.state == OPEN for box in boxes):
            raise typer.Exit(1)
        return
    from luna.doctor.check import BAD, GOOD
    from luna.doctor.examine import examine

    checks = examine(place)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            typer.echo(
                f"{check.state:<8} {check.name}: {check.said}"
                + (f"\n         mend: {check.mend}" if check.state != GOOD else "")
            )
    if any(check.state == BAD for check in checks):
        raise typer.Exit(1)


def _tell_boxes(boxes: list[Any]) -> None:
    from luna.promotion.checklist import MARKS

    section = None
    for box in boxes:
        if box.section != section:
            section = box.section
            typer.echo(section)
        typer.echo(
            f"  {MARKS[box.state]} {box.text}: {box.evidence}{' (yours to judge)' if box.state == 'yours' else ''}"
        )
