"""Reuses a finished training after the generation was renamed.

The train stage depends on the name, since train_args.json carries it. When a generation was renumbered, and
DVC finds that nothing else which training depends on has changed, the name is corrected in train_args.json and
DVC records the stage with it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

from luna import artifacts, files, params
from luna.history import build as builds
from luna.history.line import read_line

_STAGE = "train"
_COUNTS = ("new_conversations", "replay_samples")  # what training takes from prep.json


def name_then(root: Path) -> str | None:
    """The name under which a generation that is being built and was renumbered was trained; None for any other."""
    build = builds.read(root)
    if build is None or not build.renumbered:
        return None
    settings = params.load(root)
    trained = ((_recorded(root).get("params") or {}).get(artifacts.PARAMS.as_posix()) or {}).get(
        "generation"
    ) or {}
    name, now = trained.get("name"), settings.generation
    sealed = {tag.name for tag in read_line(root, settings.line.prefix).sealed.values()}
    return (
        name
        if name not in {None, *sealed}
        and now.name not in sealed
        and trained.get("parent") == now.parent
        else None
    )


def take_over(root: Path, name: str) -> bool:
    """Record the training of ``name`` as that of the generation being built, for which the prep stage has run. False: it is another training."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    recorded = {out["path"]: out["md5"] for out in _recorded(root).get("outs", [])}
    try:
        changes = Repo(str(root)).status(targets=[_STAGE]).get(_STAGE, [])
        if not changes:
            return True
        if not _differs_in_name_alone(changes):
            return False
        arguments, prep = (
            files.read_json(root / artifacts.TRAIN_ARGS),
            files.read_json(root / artifacts.PREP_REPORT),
        )
        as_it_was = hashlib.md5(
            files.json_text(arguments | {"generation": name}).encode(), usedforsecurity=False
        ).hexdigest()
        if as_it_was != recorded[artifacts.TRAIN_ARGS.as_posix()] or any(
            arguments[key] != prep[key] for key in _COUNTS
        ):
            return False
        files.write_json(
            root / artifacts.TRAIN_ARGS,
            arguments | {"generation": params.load(root).generation.name},
        )
        Repo(str(root)).commit(target=_STAGE, force=True)
    except (DvcException, OSError, ValueError, KeyError):
        return False  # what is lacking or unreadable is made again
    return True


def _differs_in_name_alone(changes: list[Any]) -> bool:
    """Asks DVC for the stage's state. A kill may have come after the name was corrected in train_args.json."""
    allowed: dict[str, dict[str, object]] = {
        "changed deps": {
            artifacts.PARAMS.as_posix(): {"generation": "modified"},
            artifacts.PREP_REPORT.as_posix(): "modified",
            artifacts.BUILD.as_posix(): "modified",  # the ancestors in it follow from the parent, which is the same
        },
        "changed outs": {artifacts.TRAIN_ARGS.as_posix(): "modified"},
    }
    return all(
        isinstance(change, dict)
        and all(what.items() <= allowed.get(kind, {}).items() for kind, what in change.items())
        for change in changes
    )


def _recorded(root: Path) -> dict[str, Any]:
    """The stage in dvc.lock; empty where it has not run."""
    lock = root / artifacts.LOCK
    return (
        ((yaml.safe_load(lock.read_bytes()) or {}).get("stages", {}).get(_STAGE) or {})
        if lock.is_file()
        else {}
    )
