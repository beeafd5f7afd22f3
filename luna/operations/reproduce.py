"""`luna reproduce`: trains a generation again in a scratch clone and compares the results.

The verdict is kept as an in-toto Statement (https://in-toto.io/Statement/v1) whose predicate has the
shape of SLSA's provenance (https://slsa.dev/provenance/v1), beside the generation and never in it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from luna import artifacts, files, hashes, params, stage
from luna.errors import StateError
from luna.history import attestations, keyframes
from luna.history.line import Line, read_line, sealed_outs
from luna.history.tip import require_tip
from luna.operations.rebuild import link, scratch_folder
from luna.storage import config, objects

BIT_FOR_BIT, WITHIN, OUTSIDE = "bit for bit", "within intervals", "outside intervals"
KIND = "reproduced"
#: What is made again and must be the same; the rest of a generation follows from these.
COMPARED = tuple(
    path.as_posix()
    for path in (
        artifacts.DELTA,
        artifacts.TRAINING_SET,
        artifacts.PROBES,
        artifacts.ADAPTER,
        artifacts.MODEL,
    )
)


@dataclass(frozen=True)
class Reproduction:
    """What a reproduction gave.

    ``same``: for each output, whether its bytes are the recorded ones. ``scores``: by clause, the recorded and the new
    value, where bytes differed. ``same_kind``: whether device and package versions are the recorded ones.
    """

    name: str
    verdict: str
    same: dict[str, bool]
    scores: dict[str, dict[str, Any]]
    same_kind: bool
    recorded_on: dict[str, Any]
    made_on: dict[str, Any]
    started: str
    finished: str

    @property
    def holds(self) -> bool:
        """Bit for bit on the same kind of device; scores within the recorded intervals on another."""
        return self.verdict == BIT_FOR_BIT or (self.verdict == WITHIN and not self.same_kind)


def reproduce(
    root: Path, name: str, say: Callable[[str], None] = lambda text: None
) -> Reproduction:
    """Run prep, train and export (and evaluate, where bytes differ) with the code and data of the tag.

    Raises:
        StateError: a stage failed, or a branch that is not the line's tip is checked out.
        ColdStorageError: no intact copy of what it was trained from is left.
    """
    root = root.resolve()
    line = read_line(root, params.load(root).line.prefix)
    require_tip(line)
    started = _now()
    with scratch_folder(root) as scratch:
        repo = _clone(root, line, name, scratch / "luna")
        for step in ("prep", "train", "export"):
            say(step)
            _run(repo, step)
        same = _same(root, repo, name)
        scores: dict[str, dict[str, Any]] = {}
        if not all(same.values()):
            say("evaluate")
            _run(repo, "evaluate")
            text = line.git.show(f"refs/tags/{name}", artifacts.SCORES)
            scores = compare_scores(
                json.loads(text or b"{}"), files.read_json(repo / artifacts.SCORES)
            )
        text = line.git.show(f"refs/tags/{name}", artifacts.TRAIN_ARGS)
        before, after = (
            _kind(document)
            for document in (
                json.loads(text or b"{}"),
                files.read_json(repo / artifacts.TRAIN_ARGS),
            )
        )
    return Reproduction(
        name, verdict(same, scores), same, scores, before == after, before, after, started, _now()
    )


def compare_scores(
    recorded: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """By clause: recorded value, its interval, the new value, and whether that is the same or lies in the interval."""
    rows = {}
    for clause, old in recorded.items():
        value = (now.get(clause) or {}).get("value")
        # The recorded value itself may lie outside: a drift is given less the reference's own, its interval is resampled.
        inside = value == old["value"] or (
            None not in (value, old["value"]) and old["low"] <= value <= old["high"]
        )
        rows[clause] = {
            "recorded": old["value"],
            "low": old["low"],
            "high": old["high"],
            "found": value,
            "within": inside,
        }
    return rows


def verdict(same: Mapping[str, bool], scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Bit for bit, within the intervals, or outside."""
    if all(same.values()):
        return BIT_FOR_BIT
    return WITHIN if scores and all(row["within"] for row in scores.values()) else OUTSIDE


def statement(line: Line, done: Reproduction) -> dict[str, Any]:
    """The verdict as an in-toto Statement about the generation's sealed files."""
    text = line.git.show(f"refs/tags/{done.name}", artifacts.HASHES)
    digests = {path: listed.sha256 for path, listed in hashes.loads(text or b"").items()}
    made = [
        path
        for path in digests
        if path == artifacts.MODEL.as_posix() or path.startswith(f"{artifacts.ADAPTER.as_posix()}/")
    ]
    used = [artifacts.TRAINING_SET.as_posix()]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": path, "digest": {"sha256": digests[path]}} for path in sorted(made)],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:luna:reproduce:v1",
                "externalParameters": {"generation": done.name},
                "internalParameters": {"recorded": done.recorded_on, "made": done.made_on},
                "resolvedDependencies": [
                    {
                        "uri": f"git:refs/tags/{done.name}",
                        "digest": {
                            "gitCommit": line.git.resolve(f"refs/tags/{done.name}^{{commit}}")
                        },
                    },
                    *(
                        {"name": path, "digest": {"sha256": digests[path]}}
                        for path in used
                        if path in digests
                    ),
                ],
            },
            "runDetails": {
                "builder": {"id": "urn:luna:local"},
                "metadata": {"startedOn": done.started, "finishedOn": done.finished},
                "byproducts": [
                    {
                        "name": "verdict",
                        "annotations": {
                            "verdict": done.verdict,
                            "holds": done.holds,
                            "same": done.same,
                            "scores": done.scores,
                            "same_kind": done.same_kind,
                        },
                    }
                ],
            },
        },
    }


def record(root: Path, done: Reproduction) -> Path:
    """Commit the statement on the line, a file of its own for each time. Returns its path in the repository."""
    line = read_line(root, params.load(root).line.prefix)
    path = attestations.path_of(
        done.name, f"{KIND}-{done.finished.replace('-', '').replace(':', '')}"
    )
    attestations.record(
        root, line, {path: statement(line, done)}, f"{done.name} reproduced: {done.verdict}\n"
    )
    return path


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _kind(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"device": arguments.get("device"), "versions": arguments.get("versions")}


def _clone(root: Path, line: Line, name: str, clone: Path) -> Path:
    """A clone at the tag that shares git's objects and reads DVC's cache, with base, keyframe and the base's answers in their places."""
    line.git.run("clone", "--quiet", "--shared", "--no-checkout", str(root), str(clone))
    line.git.run("-C", str(clone), "checkout", "--quiet", "--detach", f"refs/tags/{name}")
    config.with_cache(root, clone)
    merged = keyframes.made_of(line, name).generations
    for ancestor in line.ancestors(name)[:-1]:
        outs = sealed_outs(root, ancestor)
        taught = (artifacts.DELTA, artifacts.HELD_OUT)
        for path in (*taught, artifacts.ADAPTER) if ancestor in merged else taught:
            for md5 in objects.expanded(root, [outs[path.as_posix()].md5]):
                objects.whole(root, md5)
    outs = sealed_outs(root, name)
    for path in (artifacts.BASE, artifacts.KEYFRAME):
        if path.as_posix() not in outs:  # a generation of before there were keyframes
            continue
        for relative, md5 in objects.listing(root, outs[path.as_posix()].md5).items():
            target = clone / path / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            link(objects.whole(root, md5)[0], target)
    for path in (artifacts.GENERAL, artifacts.GENERAL_REPLIES):
        if path.as_posix() in outs:  # not of a generation of before the base was asked
            link(objects.whole(root, outs[path.as_posix()].md5)[0], clone / path)
    return clone


def _run(repo: Path, name: str) -> None:
    """One stage as the tag's dvc.yaml defines it, its outputs removed before, as DVC does."""
    definition = yaml.safe_load((repo / artifacts.PIPELINE).read_text(encoding="utf-8"))["stages"][
        name
    ]
    for entry in definition["outs"]:
        out = repo / (entry if isinstance(entry, str) else next(iter(entry)))
        shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
    command = shlex.split(definition["cmd"])
    if command[0] == "python":
        command[0] = sys.executable
    done = subprocess.run(command, cwd=repo, stdout=sys.stderr, env=os.environ | {"PYTHONPATH": ""})
    if done.returncode:
        failure = repo / stage.FAILURE
        why = (
            files.read_json(failure)["message"]
            if failure.exists()
            else f"exit code {done.returncode}, see above"
        )
        raise StateError(f"The stage '{name}' failed in the reproduction: {why}")


def _same(root: Path, repo: Path, name: str) -> dict[str, bool]:
    outs = sealed_outs(root, name)
    same = {}
    for path in COMPARED:
        md5 = outs[path].md5
        if md5.endswith(".dir"):
            listing = objects.listing(root, md5)
            here = {
                item.relative_to(repo / path).as_posix(): files.digest(item, "md5")
                for item in (repo / path).rglob("*")
                if item.is_file()
            }
            same[path] = here == listing
        else:
            same[path] = files.digest(repo / path, "md5") == md5
    return same
