"""Checks that a sealed generation is complete and that each file has its listed hash."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass

import yaml

from luna import artifacts
from luna.audit.finding import CONTENT, Finding
from luna.audit.picture import Picture, Seal
from luna.history.line import Out, declared_outs, outs_of

_SEALED = "none: it was sealed so"


@dataclass(frozen=True)
class Manifest:
    """Outputs by path, and (bytes, SHA-256) by path from hashes.csv."""

    outs: dict[str, Out]
    hashes: dict[str, tuple[int, str]]


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
    hashes: dict[str, tuple[int, str]] = {}

    def say(path: str, what: str, mend: str = _SEALED) -> None:
        findings.append(Finding(CONTENT, "git", path, seal.name, what, mend))

    if lock is None or pipeline is None:
        if not picture.unreadable:
            say(
                artifacts.LOCK.as_posix(),
                "the sealed commit lacks dvc.lock or dvc.yaml",
                "luna repair (from a git remote)",
            )
    else:
        try:
            outs = outs_of(lock, pipeline)
        except (yaml.YAMLError, KeyError, AttributeError, TypeError):
            say(artifacts.LOCK.as_posix(), "dvc.lock cannot be understood")
    if listed is None:
        if not picture.unreadable:
            say(
                artifacts.HASHES.as_posix(),
                "the sealed commit lacks hashes.csv",
                "luna repair (from a git remote)",
            )
    else:
        try:
            hashes = {
                row["path"]: (int(row["bytes"]), row["sha256"])
                for row in csv.DictReader(io.StringIO(listed.decode("utf-8")))
            }
        except (ValueError, KeyError, TypeError):
            say(artifacts.HASHES.as_posix(), "hashes.csv cannot be understood")
    if outs and hashes:
        findings += _complete(picture, seal, pipeline or b"", outs, hashes)
    model = artifacts.MODEL.as_posix()
    named = (weights or b"").decode("utf-8", "replace").split()[:1]
    if hashes and named and hashes.get(model, (0, ""))[1] != named[0]:
        say(
            artifacts.WEIGHTS_SHA256.as_posix(),
            "weights.sha256 and hashes.csv disagree on the model",
        )
    sealed = seal.fields.get(artifacts.HASHES_TRAILER)
    if listed is not None and sealed not in (None, hashlib.sha256(listed).hexdigest()):
        say(artifacts.HASHES.as_posix(), "hashes.csv is not the one that the seal names")
    if hashes and seal.fields.get("Weights-SHA256") not in (None, hashes.get(model, (0, ""))[1]):
        say(artifacts.HASHES.as_posix(), "hashes.csv and the seal disagree on the model")
    return Manifest(outs, hashes), findings


def _complete(
    picture: Picture,
    seal: Seal,
    pipeline: bytes,
    outs: dict[str, Out],
    hashes: dict[str, tuple[int, str]],
) -> list[Finding]:
    findings = [
        Finding(
            CONTENT,
            "git",
            path,
            seal.name,
            "its own pipeline makes it, but its dvc.lock does not know it",
            _SEALED,
        )
        for path in sorted(declared_outs(pipeline).keys() - outs.keys())
    ]
    for entry in artifacts.REQUIRED:
        path = entry.as_posix()
        if not any(listed == path or listed.startswith(path + "/") for listed in hashes):
            findings.append(
                Finding(
                    CONTENT,
                    "git",
                    path,
                    seal.name,
                    "the artifact set lacks it: hashes.csv does not list it",
                    _SEALED,
                )
            )
    in_git = [path for path in hashes if not (out := outs.get(path)) or not out.cached]
    in_git = [
        path
        for path in in_git
        if not any(out.cached and path.startswith(folder + "/") for folder, out in outs.items())
    ]
    for path, content in zip(
        in_git, picture.read([f"{seal.commit}:{path}" for path in in_git]), strict=True
    ):
        if content is None:
            if not picture.unreadable:
                findings.append(
                    Finding(
                        CONTENT,
                        "git",
                        path,
                        seal.name,
                        "the sealed commit lacks it",
                        "luna repair (from a git remote)",
                    )
                )
        elif hashlib.sha256(content).hexdigest() != hashes[path][1]:
            findings.append(
                Finding(
                    CONTENT,
                    "git",
                    path,
                    seal.name,
                    "its SHA-256 is not the one in hashes.csv",
                    _SEALED,
                )
            )
    return findings
