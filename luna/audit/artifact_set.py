"""Checks that a sealed generation is complete and that each file has its listed hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from luna import artifacts
from luna import hashes as hash_list
from luna.audit.finding import GIT, Finding
from luna.audit.picture import Picture, Seal
from luna.audit.problem import Problem
from luna.errors import InputError
from luna.hashes import Listed
from luna.history.line import Out, declared_outs, outs_of

_LOCK, _HASHES = artifacts.LOCK.as_posix(), artifacts.HASHES.as_posix()


@dataclass(frozen=True)
class Manifest:
    """Outputs by path, and what hashes.csv lists by path."""

    outs: dict[str, Out]
    hashes: dict[str, Listed]


def read(picture: Picture, seal: Seal) -> tuple[Manifest, list[Finding]]:
    """The generation's manifest, and what is wrong with it and with the files that git keeps."""
    lock, pipeline, listed, weights = picture.read(
        [
            f"{seal.commit}:{path.as_posix()}"
            for path in (
                artifacts.LOCK,
                artifacts.PIPELINE,
                artifacts.HASHES,
                artifacts.WEIGHTS_SHA256,
            )
        ]
    )
    findings: list[Finding] = []
    outs: dict[str, Out] = {}
    hashes: dict[str, Listed] = {}

    def say(problem: Problem, path: str) -> None:
        findings.append(Finding(problem, GIT, path, seal.name))

    if lock is None or pipeline is None:
        if not picture.unreadable:
            say(Problem.LOCK_MISSING, _LOCK)
    else:
        try:
            outs = outs_of(lock, pipeline)
        except (yaml.YAMLError, KeyError, AttributeError, TypeError):
            say(Problem.LOCK_UNREAD, _LOCK)
    if listed is None:
        if not picture.unreadable:
            say(Problem.HASHES_MISSING, _HASHES)
    else:
        try:
            hashes = hash_list.loads(listed)
        except InputError:
            say(Problem.HASHES_UNREAD, _HASHES)
    if outs and hashes:
        findings += _complete(picture, seal, pipeline or b"", outs, hashes)
    listed_model = hashes.get(artifacts.MODEL.as_posix())
    model = listed_model.sha256 if listed_model else ""
    named = (weights or b"").decode("utf-8", "replace").split()[:1]
    if hashes and named and model != named[0]:
        say(Problem.WEIGHTS_MODEL, artifacts.WEIGHTS_SHA256.as_posix())
    sealed = seal.fields.get(artifacts.HASHES_TRAILER)
    if listed is not None and sealed not in (None, hashlib.sha256(listed).hexdigest()):
        say(Problem.HASHES_OTHER, _HASHES)
    if hashes and seal.fields.get("Weights-SHA256") not in (None, model):
        say(Problem.HASHES_MODEL, _HASHES)
    return Manifest(outs, hashes), findings


def _complete(
    picture: Picture,
    seal: Seal,
    pipeline: bytes,
    outs: dict[str, Out],
    hashes: dict[str, Listed],
) -> list[Finding]:
    wrong = [
        (Problem.OUTPUT_UNLOCKED, path)
        for path in sorted(declared_outs(pipeline).keys() - outs.keys())
    ]
    wrong += [
        (Problem.FILE_UNLISTED, path)
        for path in map(Path.as_posix, artifacts.REQUIRED)
        if not any(listed == path or listed.startswith(path + "/") for listed in hashes)
    ]
    in_git = [
        path
        for path in hashes
        if not ((out := outs.get(path)) and out.cached)
        and not any(out.cached and path.startswith(folder + "/") for folder, out in outs.items())
    ]
    for path, content in zip(
        in_git, picture.read([f"{seal.commit}:{path}" for path in in_git]), strict=True
    ):
        if content is None:
            if not picture.unreadable:
                wrong.append((Problem.FILE_MISSING, path))
        elif hashlib.sha256(content).hexdigest() != hashes[path].sha256:
            wrong.append((Problem.FILE_OTHER, path))
    return [Finding(problem, GIT, path, seal.name) for problem, path in wrong]
