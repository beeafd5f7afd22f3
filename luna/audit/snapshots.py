"""Checks snapshots: tag, commit and listing of hashes agree, and the bytes are there."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence

import yaml

from luna import artifacts, names
from luna.audit import content
from luna.audit.content import Wanted
from luna.audit.finding import CONTENT, NOTE, Finding
from luna.audit.picture import Picture
from luna.audit.places import Place
from luna.history.line import Out, dvc_file_outs, message_fields

_SEALED = "none: it was made so"


def bodies(picture: Picture) -> dict[str, str]:
    """Tag objects of all snapshots by tag, the record's word before git's."""
    found = {
        tag: picture.bodies[value]
        for tag, value in picture.tags.items()
        if names.is_snapshot(tag) and value in picture.bodies
    }
    found |= {entry.tag: entry.body for entry in picture.entries if names.is_snapshot(entry.tag)}
    return dict(sorted(found.items()))


def check(picture: Picture, places: Sequence[Place]) -> tuple[list[Wanted], list[Finding]]:
    """The objects that the snapshots need, and what is wrong with what git keeps of them."""
    wanted: list[Wanted] = []
    findings: list[Finding] = []
    for tag, body in bodies(picture).items():
        said = message_fields(body)
        if not content.is_name(said.get("Object")):
            findings.append(
                Finding(
                    CONTENT,
                    "git",
                    tag,
                    tag,
                    "the tag is not one that 'luna snapshot' made: nothing is known of its content",
                    "none: use another name for tags of your own",
                    NOTE,
                )
            )
            continue
        outs, hashes, wrong = _kept(picture, tag, body, said)
        found, untold = content.wanted(tag, outs, hashes, places)
        wanted += found
        findings += [*wrong, *untold]
    return wanted, findings


def _kept(
    picture: Picture, tag: str, body: str, said: dict[str, str]
) -> tuple[list[Out], dict[str, tuple[int, str]], list[Finding]]:
    """Outputs and hashes by the commit; where git has lost it, the content by the tag's own word."""
    commit = body.partition("\n")[0].removeprefix("object ")
    named = [Out(artifacts.SNAPSHOT.as_posix(), said["Object"], 0, True)]
    text, listed = picture.read(
        [f"{commit}:{artifacts.SNAPSHOT_DVC}", f"{commit}:{artifacts.SNAPSHOT_HASHES}"]
    )
    if text is None or listed is None:
        lost = (
            []
            if picture.unreadable
            else [
                Finding(
                    CONTENT,
                    "git",
                    tag,
                    tag,
                    "its commit lacks what it was made with",
                    "luna repair (from a git remote)",
                )
            ]
        )
        return named, {}, lost
    try:
        outs = list(dvc_file_outs(text).values())
        hashes = {
            row["path"]: (int(row["bytes"]), row["sha256"])
            for row in csv.DictReader(io.StringIO(listed.decode("utf-8")))
        }
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        return (
            named,
            {},
            [Finding(CONTENT, "git", tag, tag, "its commit cannot be understood", _SEALED)],
        )
    if [out.md5 for out in outs] != [said["Object"]] or hashlib.sha256(
        listed
    ).hexdigest() != said.get(artifacts.HASHES_TRAILER):
        return (
            named,
            {},
            [
                Finding(
                    CONTENT,
                    "git",
                    tag,
                    tag,
                    "its commit and its tag disagree on the content",
                    _SEALED,
                )
            ],
        )
    return outs, hashes, []
