"""`luna evolve`: new, dvc repro and seal, resumed from wherever it stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luna import artifacts, ending, files, params, stage
from luna.errors import LunaError, Refused, StateError
from luna.history import tip
from luna.history.line import read_line
from luna.operations import handover, new, recorded, trained
from luna.operations.retry import next_try
from luna.operations.seal import Sealed, seal
from luna.promotion import advice
from luna.promotion.advice import Advice
from luna.repo import interrupted, running
from luna.repo.git import Git
from luna.scores import SCORES

SAVED_SETTINGS = artifacts.SCRATCH / "evolve.json"


#: DVC without its advice to 'git add' and 'dvc push' what a seal commits and stores, and without its warning of
#: outputs that are rightly empty (generation 0 learns nothing).
_DVC = """
import logging, sys
logging.getLogger("dvc.repo.scm_context").setLevel(logging.WARNING)
logging.getLogger("dvc.output").addFilter(lambda record: record.msg != "'%s' is empty.")
from dvc.cli import main
from dvc.commands.repro import CmdRepro
def run(self):
    self.repo.reproduce(**self._common_kwargs, **self._repro_kwargs)
    return 0
CmdRepro.run = run
sys.exit(main(sys.argv[1:]))
"""
_RUNNING = re.compile(r"Running stage '(\w+)'")  # what DVC says as it starts a stage
Event = Callable[[dict[str, Any]], None]


def _ignore(event: dict[str, Any]) -> None:
    """Does nothing: for callers without a need for events."""


def reproduce(
    root: Path, quiet: bool = False, event: Event = _ignore, until: str | None = None
) -> None:
    """Run the pipeline, or its part up to a stage; ``quiet`` keeps standard output free for events, and sends one event for each stage that starts.

    What was trained before the generation was renumbered is not trained again.
    Raises the failing stage's own error; its sentence has been printed by the stage.
    """
    interrupted.mend_lockfile(root)
    if until != "prep" and (name := trained.name_then(root)):
        _run(root, quiet, event, "prep")
        if not trained.take_over(root, name):
            sys.stderr.write(f"the inputs of {name}'s training have changed: it is trained again\n")
    _run(root, quiet, event, until)


def _run(root: Path, quiet: bool, event: Event, until: str | None) -> None:
    failure = root / stage.FAILURE
    failure.unlink(missing_ok=True)
    # 'python' in the stages' commands must be this one, also when the environment is not activated.
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    }
    env |= {"PYTHONUNBUFFERED": "1"} if quiet else {}
    command = [sys.executable, "-c", _DVC, "repro", *([until] if until else [])]
    with ending.child(
        command,
        cwd=root,
        env=env,
        **(
            {"stdout": subprocess.PIPE, "text": True, "encoding": "utf-8", "errors": "replace"}
            if quiet
            else {}
        ),
    ) as process:
        for line in process.stdout or ():
            sys.stderr.write(line)
            if match := _RUNNING.match(line):
                event({"event": "stage", "stage": match[1]})
        if process.wait() == 0:
            return
    if failure.exists():
        error = json.loads(failure.read_text(encoding="utf-8"))
        kind = Refused if error["exit_code"] == Refused.exit_code else LunaError
        raise kind(error["message"])
    raise LunaError(
        "The pipeline stopped early (see above): correct the cause, then run 'luna evolve' again; it resumes from there."
    )


def one(
    root: Path, say: Callable[[str], None], quiet: bool = False, event: Event = _ignore
) -> Sealed:
    """Build and seal one generation: the unfinished one where there is one, else the next."""
    running.require_no_stage(root)
    name = _begin(root, say)
    branch = Git(root).branch()
    reproduce(root, quiet, event)
    _require_undisturbed(root, name, branch)
    say(f"{name}: sealing")
    return seal(root)


def _require_undisturbed(root: Path, name: str, branch: str | None) -> None:
    """The hook takes a checkout back that comes while a build runs; here it is seen where there is no hook, or it could not.

    Raises StateError: another branch is checked out than when the build began, or its parameters are gone.
    """
    now = Git(root).branch()
    if now != branch:
        was, new = (tip.short_name(item) or "a commit without a branch" for item in (branch, now))
        raise StateError(
            f"{new} was checked out while {name} was being built on {was}, so its files may be mixed; nothing was sealed: 'git switch {was}', then 'luna evolve'."
        )
    if params.load(root).generation.name != name:
        raise StateError(
            f"A checkout replaced params.yaml while {name} was being built; nothing was sealed: run 'luna evolve' to build it again."
        )


def part(
    root: Path, stage: str, say: Callable[[str], None], event: Event = _ignore, quiet: bool = False
) -> handover.HandedOver:
    """Build the next generation, or the unfinished one, up to ``stage`` and hand it over to another machine.

    Generation 0, where there is none, is built and sealed first. Raises what ``evolve`` and ``handover.hand_over`` do.
    """
    restore_settings(root)
    settings = params.load(root)
    _require_disk(root, settings)
    if not read_line(root, settings.line.prefix).sealed:
        event({"event": "sealed", **asdict(one(root, say, quiet, event))})
    event({"event": "started", "built": 0})
    name = _begin(root, say, exports=stage not in ("prep", "train"), trains=stage != "prep")
    branch = Git(root).branch()
    reproduce(root, quiet, event, stage)
    _require_undisturbed(root, name, branch)
    handed = handover.hand_over(
        root,
        read_line(root, settings.line.prefix),
        name,
        stage,
        lambda step: say(f"{name}: {step}"),
    )
    event({"event": "handed over", **asdict(handed)})
    return handed


def _begin(
    root: Path, say: Callable[[str], None], exports: bool = True, trains: bool = True
) -> str:
    """The name of the generation to build: the unfinished one, or a new one. What has been built of it, be it on another machine, is in place then."""
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    name = tip.building(settings, line)
    interrupted.mend_lockfile(root)
    if name is None:
        name = str(new.start(root, say=say, exports=exports, trains=trains))
        say(f"{name} is started")
    else:
        tip.require_tip(line)
        recorded.require_named(root, settings)
        say(f"Resuming {name}")
    handover.take_over(root, name, say)
    return name


@dataclass(frozen=True)
class Grown:
    """What the loop built, in order, and why it stopped: ``most``, ``mature``, ``denied``, ``nothing`` or ``disk``."""

    built: list[Sealed]
    stopped: str


def evolve(
    root: Path,
    most: int,
    say: Callable[[str], None],
    event: Event = _ignore,
    until_mature: bool = False,
    max_denials: int | None = None,
    quiet: bool = False,
) -> Grown:
    """Build up to ``most`` generations from the waiting conversations, and generation 0 first where there is none.

    After a denial the next of params.yaml's ``retry`` is tried on the same batch (see luna.operations.retry), in this call or
    in the next one; without one the loop stops, because the same settings would be denied again. The user's own settings
    are put back at the end, and by the next call after a kill: they are saved in ``.luna/evolve.json`` meanwhile.

    Raises:
        InputError: there is nothing new to learn and nothing was built.
        StateError: the disk is too full to begin.
    """
    restore_settings(root)
    settings = params.load(root)
    denials_allowed = max_denials or settings.evolve.max_denials
    built: list[Sealed] = []

    def grow() -> Sealed:
        event({"event": "started", "built": len(built)})
        sealed = one(root, say, quiet, event)
        built.append(sealed)
        restore_settings(root)
        event({"event": "sealed", **asdict(sealed)})
        return sealed

    _require_disk(root, settings)
    if not read_line(root, settings.line.prefix).sealed:
        grow()
    denials, stopped = 0, "most"
    try:
        for _ in range(most):
            line = read_line(root, settings.line.prefix)
            unfinished = tip.building(params.load(root), line)
            if until_mature and is_mature(root):
                stopped = "mature"
                break
            if built and not unfinished and not new.pending(root, line).conversations:
                stopped = "nothing"
                break
            if built and _free_gb(root) < settings.evolve.min_free_gb:
                stopped = "disk"
                break
            if not unfinished and (number := next_try(root, line)):
                other = params.load(root).retry[number - 1].settings()
                _apply_retry(root, other)
                say(
                    f"the rule denied these conversations before: trying entry {number} of retry: in params.yaml"
                )
                event({"event": "retry", "number": number, "settings": other})
            if grow().promoted:
                denials = 0
                continue
            denials += 1
            if (
                denials >= denials_allowed
                or next_try(root, read_line(root, settings.line.prefix)) is None
            ):
                stopped = "denied"
                break
    finally:
        if tip.building(params.load(root), read_line(root, settings.line.prefix)) is None:
            restore_settings(root)
    event({"event": "stopped", "reason": stopped, "built": len(built)})
    return Grown(built, stopped)


@dataclass(frozen=True)
class Learnt:
    """What a generation was taught, each score's value by its name in a sentence (None: not measured), and what would help."""

    conversations: int
    scores: dict[str, float | None]
    advice: Advice | None  # after a denial


def learnt(root: Path, name: str) -> Learnt:
    """Of a sealed generation, as its own metrics.json says."""
    git = read_line(root, params.load(root).line.prefix).git
    metrics = json.loads(
        git.run("cat-file", "blob", f"refs/tags/{name}:{artifacts.METRICS.as_posix()}")
    )
    scores = metrics["evaluation"]
    return Learnt(
        metrics["data"]["new_conversations"],
        {score.words: scores.get(score.key) for score in SCORES},
        advice.loads(metrics["decision"].get("advice")),
    )


def is_mature(root: Path) -> bool:
    """Whether the head's own line has stopped gaining, by the rule under ``maturity`` in params.yaml."""
    from luna.operations.maturity import maturity_of_head

    return maturity_of_head(root)[0].state == "mature"


def _apply_retry(root: Path, other: dict[str, dict[str, Any]]) -> None:
    """Put a try's settings into params.yaml, after saving the user's own."""
    restore_settings(root)
    before = params.load(root).model_dump(mode="json")
    files.write_json(
        root / SAVED_SETTINGS,
        {
            section: {key: before[section][key] for key in values}
            for section, values in other.items()
        },
    )
    params.write(root, other)


def restore_settings(root: Path) -> None:
    """Put the user's own settings back, unless the generation that was started with others is still unfinished."""
    saved = root / SAVED_SETTINGS
    if not saved.exists():
        return
    current = params.load(root)
    if tip.building(current, read_line(root, current.line.prefix)) is None:
        params.write(root, files.read_json(saved))
        saved.unlink()


def _free_gb(root: Path) -> float:
    return shutil.disk_usage(root).free / 1e9


def _require_disk(root: Path, settings: params.Params) -> None:
    free = _free_gb(root)
    if free < settings.evolve.min_free_gb:
        raise StateError(
            f"Only {free:.1f} GB are free at {root}, and evolve.min_free_gb asks for {settings.evolve.min_free_gb:g}: free some space, then run the same command again; nothing was started."
        )
