"""Repairs git's objects from the record, the workspace, a git remote or cold storage."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from pathlib import Path

from luna.audit import gitstore, mend_refs
from luna.audit.workbench import Bench
from luna.errors import LunaError
from luna.history import record
from luna.names import head_tag
from luna.repo import quarantine
from luna.repo.git import Git
from luna.storage import packs


def mend(bench: Bench, object_id: str) -> str | None:
    """Write a damaged git object again from an intact copy. Returns what was done, None without an intact copy."""
    if not re.fullmatch("[0-9a-f]{40}", object_id):
        return _pack(bench, object_id)
    intact = _content(bench, object_id)
    if intact is None:
        return _head(bench, object_id)
    kind, content, source = intact
    if not bench.dry:
        _aside(bench, object_id)
        bench.git.run("hash-object", "-t", kind, "-w", "--stdin", "--literally", stdin=content)
    return f"the object was restored from {source}"


def _head(bench: Bench, object_id: str) -> str | None:
    """The head's own tag has no copy, but the record knows what it says."""
    if bench.picture.references.get(f"refs/tags/{head_tag(bench.picture.prefix)}") != object_id:
        return None
    made = mend_refs.head(bench)
    if made and not bench.dry:
        _aside(bench, object_id)
    return made


def _aside(bench: Bench, object_id: str) -> None:
    path = gitstore.loose_path(bench.git, object_id)
    if path.exists():
        quarantine.aside(bench.root, path, f"git-{object_id}")


def _content(bench: Bench, object_id: str) -> tuple[str, bytes, str] | None:
    """Type, bytes and source of an object, looked for wherever its bytes may be whole."""
    for entry in bench.picture.entries:
        if entry.object == object_id:
            return "tag", entry.body.encode("utf-8", "surrogateescape"), "the record"
    listed = (
        bench.git.run("ls-files", "-z", check=False).decode("utf-8", "surrogateescape").split("\0")
    )
    present = [
        path for path in listed if path and "\n" not in path and (bench.root / path).is_file()
    ]
    ids = bench.git.text(
        "hash-object",
        "--no-filters",
        "--stdin-paths",
        stdin="".join(f"{path}\n" for path in present).encode("utf-8", "surrogateescape"),
        check=False,
    ).splitlines()
    for path, oid in zip(present, ids, strict=False):
        if oid == object_id:
            return "blob", (bench.root / path).read_bytes(), f"the workspace's {path}"
    for store in bench.stores:
        try:
            text = record.dumps(record.in_cold(store)).encode()
        except LunaError:
            continue
        if bench.git.text("hash-object", "--stdin", stdin=text) == object_id:
            return "blob", text, f"the record in cold storage '{store.name}'"
    if bench.sources is None:
        bench.sources = _fetch_sources(bench)
    for source in bench.sources:
        there = Git.at(source)
        kind = there.text("cat-file", "-t", object_id, check=False)
        if kind:
            return kind, there.run("cat-file", kind, object_id), "another copy of git"
    if tree := _tree_of_index(bench, object_id):
        return "tree", tree, "git's index"
    return None


def _fetch_sources(bench: Bench) -> list[Path]:
    sources: list[Path] = []
    for name in bench.git.text("remote", check=False).splitlines():
        bare = bench.scratch / f"source-{len(sources)}"
        if (
            bench.git.attempt(
                "clone",
                "--quiet",
                "--mirror",
                bench.git.config(f"remote.{name}.url") or "",
                str(bare),
            )[0]
            == 0
        ):
            sources.append(bare)
    for store in bench.stores:
        bare = bench.scratch / f"source-{len(sources)}"
        bare.mkdir()
        with contextlib.suppress(LunaError):
            packs.unpack(store, packs.repository(bare))
            sources.append(bare)
    return sources


def _tree_of_index(bench: Bench, object_id: str) -> bytes | None:
    """Trees of the generation that is checked out can be written again from the index, in a scratch repository."""
    index = bench.git.common_dir / "index"
    if not index.is_file():
        return None
    scratch = bench.scratch / "trees"
    if not scratch.exists():
        shutil.copytree(
            bench.git.common_dir / "objects",
            scratch,
            ignore=lambda folder, entries: (
                []
                if Path(folder).name == "pack"
                else [entry for entry in entries if entry == "info"]
            ),
        )
        damaged = scratch / object_id[:2] / object_id[2:]
        damaged.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "index"
        shutil.copyfile(index, own)
        env = {"GIT_INDEX_FILE": str(own), "GIT_OBJECT_DIRECTORY": str(scratch)}
        bench.git.run("write-tree", "--missing-ok", env=env, check=False)
        return bench.git.run("cat-file", "tree", object_id, env=env, check=False) or None


def _pack(bench: Bench, stem: str) -> str | None:
    """A damaged pack is unpacked as far as it is readable, then moved to quarantine; the next round names what it lacked."""
    folder = bench.git.common_dir / "objects" / "pack"
    if not bench.dry:
        kept = {
            path: quarantine.aside(bench.root, path, path.name)
            for path in sorted(folder.glob(f"{stem}.*"))
        }
        pack = next((target for path, target in kept.items() if path.suffix == ".pack"), None)
        if pack:
            with pack.open("rb") as file:
                bench.git.run("unpack-objects", "-r", "-q", stdin=file.read(), check=False)
    return "its readable objects were unpacked; the pack was moved to quarantine"
