"""The file listings of a long line: files by hash, hashes.csv, dvc.lock, and stored objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from luna import artifacts
from luna.history.line import declared_outs


@dataclass(frozen=True)
class File:
    """What lists and dvc.lock say of a file: its length in bytes and its hashes."""

    size: int
    md5: str
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> File:
        return cls(
            len(data),
            hashlib.md5(data, usedforsecurity=False).hexdigest(),
            hashlib.sha256(data).hexdigest(),
        )


class Growing:
    """A text that only grows, and its hashes without reading it all again; a fork goes on from where it was."""

    def __init__(self, part: str, before: Growing | None = None) -> None:
        self.part, self.before = part, before
        self.size = len(part) + (before.size if before else 0)  # all of it is ASCII
        self.md5, self.sha256 = (
            (before.md5.copy(), before.sha256.copy())
            if before
            else (hashlib.md5(usedforsecurity=False), hashlib.sha256())
        )
        self.md5.update(part.encode())
        self.sha256.update(part.encode())

    @property
    def text(self) -> str:
        parts, at = [], self
        while at:
            parts.append(at.part)
            at = at.before
        return "".join(reversed(parts))

    @property
    def file(self) -> File:
        return File(self.size, self.md5.hexdigest(), self.sha256.hexdigest())


def hashes(listed: Mapping[str, File]) -> bytes:
    """hashes.csv as the promote stage writes it."""
    rows = ["path,bytes,sha256\n"]
    for entry in artifacts.HASHED:
        path = entry.as_posix()
        rows += [
            f"{name},{file.size},{file.sha256}\n"
            for name, file in sorted(listed.items())
            if name == path or name.startswith(path + "/")
        ]
    return "".join(rows).encode()


def lock(
    stages: Mapping[str, Any],
    cached: set[str],
    objects: Mapping[str, bytes],
    listed: Mapping[str, File],
    store: Path,
) -> bytes:
    """dvc.lock with every output of the pipeline; the bytes of those that DVC keeps go into the store."""
    text = ["schema: '2.0'\nstages:\n"]
    for stage, body in stages.items():
        text.append(f"  {stage}:\n    cmd: {body['cmd']}\n    outs:\n")
        for path in sorted(declared_outs(yaml.safe_dump({"stages": {stage: body}}).encode())):
            inside = {
                name: file for name, file in sorted(listed.items()) if name.startswith(path + "/")
            }
            if path in cached:
                for name in inside or [path]:
                    put(store, objects[name])
            file = listed.get(path)
            if file is None:
                listing = json.dumps(
                    [
                        {"md5": entry.md5, "relpath": name.removeprefix(path + "/")}
                        for name, entry in inside.items()
                    ],
                    separators=(", ", ": "),
                ).encode()
                file = File(
                    sum(entry.size for entry in inside.values()),
                    (
                        put(store, listing, ".dir")
                        if path in cached
                        else File.of(listing).md5 + ".dir"
                    ),
                    "",
                )
            text.append(
                f"    - path: {path}\n      hash: md5\n      md5: {file.md5}\n      size: {file.size}\n"
            )
    return "".join(text).encode()


def put(store: Path, data: bytes, suffix: str = "") -> str:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
    path = store / "files" / "md5" / md5[:2] / md5[2:]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return md5
