"""Checks snapshots: tag, commit and listing of hashes agree, and the bytes are there."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import yaml

from luna import artifacts, names
from luna import hashes as hash_list
from luna.audit import content
from luna.audit.content import Wanted
from luna.audit.finding import GIT, Finding
from luna.audit.picture import Picture
from luna.audit.places import Place
from luna.audit.problem import Problem
from luna.errors import InputError
from luna.hashes import Listed
from luna.history.line import Out, dvc_file_outs
from luna.repo.tag import TagBody


def bodies(picture: Picture) -> dict[str, str]:
    """Tag objects of all snapshots by tag, the record's word before git's."""
    by_tag = {
        tag: picture.bodies[value]
        for tag, value in picture.tags.items()
        if names.is_snapshot(tag) and value in picture.bodies
    }
    by_tag |= {entry.tag: entry.body for entry in picture.entries if names.is_snapshot(entry.tag)}
    return dict(sorted(by_tag.items()))


def check(picture: Picture, places: Sequence[Place]) -> tuple[list[Wanted], list[Finding]]:
    """The objects that the snapshots need, and what is wrong with what git keeps of them."""
    wanted: list[Wanted] = []
    findings: list[Finding] = []
    for tag, body in bodies(picture).items():
        fields = TagBody.of(body).fields
        if not content.is_name(fields.get("Object")):
            findings.append(Finding(Problem.SNAPSHOT_FOREIGN, GIT, tag, tag))
            continue
        outs, hashes, wrong = _kept(picture, tag, body, fields)
        needed, untold = content.wanted(tag, outs, hashes, places)
        wanted += needed
        findings += [*wrong, *untold]
    return wanted, findings


def _kept(
    picture: Picture, tag: str, body: str, fields: dict[str, str]
) -> tuple[list[Out], dict[str, Listed], list[Finding]]:
    """Outputs and hashes by the commit; where git has lost it, the content by the tag's own word."""
    commit = TagBody.of(body).object
    named = [Out(artifacts.SNAPSHOT.as_posix(), fields["Object"], 0, True)]
    text, listed = picture.read(
        [f"{commit}:{artifacts.SNAPSHOT_DVC}", f"{commit}:{artifacts.SNAPSHOT_HASHES}"]
    )
    if text is None or listed is None:
        lacks = Finding(Problem.SNAPSHOT_LACKS, GIT, tag, tag)
        return named, {}, [] if picture.unreadable else [lacks]
    try:
        outs = list(dvc_file_outs(text).values())
        hashes = hash_list.loads(listed)
    except (yaml.YAMLError, InputError, KeyError, TypeError):
        return named, {}, [Finding(Problem.SNAPSHOT_UNREAD, GIT, tag, tag)]
    in_tag = (fields["Object"], fields.get(artifacts.HASHES_TRAILER))
    if ([out.md5 for out in outs], hashlib.sha256(listed).hexdigest()) != ([in_tag[0]], in_tag[1]):
        return named, {}, [Finding(Problem.SNAPSHOT_OTHER, GIT, tag, tag)]
    return outs, hashes, []
