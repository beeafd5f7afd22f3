"""Where faults.flips damages files: a line, its cold storages and a bundle, all copied."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luna.audit import gitstore
from luna.audit.finding import WORKSPACE, Finding
from luna.audit.picture import object_names, take
from luna.audit.places import Cache, Cold
from luna.audit.problem import Kind
from luna.audit.verify import check_generation
from luna.bundle import check
from luna.history import backup, record, thinned
from luna.names import head_tag
from luna.repo.git import Git
from luna.storage import cold, packs
from luna.storage.cold import Store
from tests.faults.clones import must, thin
from tests.faults.s3server import Server

CACHE, COLD, COLD_RECORD, S3 = "cache", "cold storage", "record in cold storage", "S3 storage"
COLD_GIT = "git objects in cold storage"
TAGS, PACKED, GIT, LEDGER, LOCK, BUNDLE = (
    "tags and branches",
    "packed references",
    "git objects",
    "ledger",
    "dvc.lock",
    "bundle",
)
KINDS = (
    CACHE,
    COLD,
    COLD_RECORD,
    COLD_GIT,
    TAGS,
    PACKED,
    GIT,
    LEDGER,
    LOCK,
    BUNDLE,
)  # S3 where there is a server


@dataclass(frozen=True)
class Target:
    """A file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def object(self) -> str:
        """What its place names: an object's hash is its folder's name and its own."""
        return self.path.parent.name + self.path.name

    def read(self) -> bytes:
        return self.path.read_bytes()

    def write(self, content: bytes) -> None:
        """As a new file: a file in the workspace may be the same as one in the cache, and one fault is one fault."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        temporary.write_bytes(content)
        temporary.replace(self.path)


@dataclass(frozen=True)
class Stored:
    """An object in a store that has no files."""

    store: Store
    object: str

    @property
    def name(self) -> str:
        return self.object

    def read(self) -> bytes:
        return self.store.odb.fs.fs.cat_file(self.store.path(self.object))

    def write(self, content: bytes) -> None:
        self.store.odb.fs.fs.pipe_file(self.store.path(self.object), content)


@dataclass(frozen=True)
class Field:
    """The copy that is damaged. Beside it lie a bare git repository, the second copy of git's own objects, and one bundle."""

    root: Path
    store: Store
    s3: Store | None = None
    thinned: frozenset[str] = frozenset()
    prefix: str = "Luna"
    users: dict[str, str] = field(default_factory=dict)

    @property
    def git(self) -> Git:
        return Git(self.root)

    @property
    def bundle(self) -> Path:
        return self.root.parent / "bundle.zip"

    def stores(self, kind: str) -> list[Store]:
        return [self.s3] if kind == S3 else [self.store]


def prepare(line: Path, folder: Path, lean: bool = False, server: Server | None = None) -> Field:
    """A full copy with its own cold storage, its record complete, a git remote that holds everything, and a bundle.

    ``lean``: with nothing but the head's GGUF in cold storage. ``server``: all of it is in a bucket there too.
    """
    shutil.copytree(line, folder / "luna", symlinks=True, ignore=shutil.ignore_patterns("weights"))
    shutil.copytree(Path(cold.open_store(line).odb.path).parents[1], folder / "cold", symlinks=True)
    root = folder / "luna"
    must(root, "dvc", "remote", "modify", "--local", "cold", "url", str(folder / "cold"))
    git = Git(root)
    _unpack(git, folder)
    record.complete(git)
    store = cold.open_store(root)
    backup.to_store(store, git, "Luna")
    if lean:
        thin(root)
    must(root, "luna", "bundle", "HEAD", "--output", str(folder / "bundle.zip"))
    must(root, "git", "clone", "--quiet", "--mirror", str(root), str(folder / "second.git"))
    for remote in git.text("remote").splitlines():
        must(root, "git", "remote", "remove", remote)
    must(root, "git", "remote", "add", "second", str(folder / "second.git"))
    s3 = _in_s3(root, server) if server else None
    return Field(root, store, s3, thinned.everywhere(root, "Luna", [store]))


def _unpack(git: Git, folder: Path) -> None:
    """Every object of git as a file of its own, so that each can be damaged by itself."""
    for pack in sorted((git.root / ".git/objects/pack").glob("*.pack")):
        for path in pack.parent.glob(f"{pack.stem}.*"):
            path.rename(folder / path.name)
        git.run("unpack-objects", "-q", stdin=(folder / pack.name).read_bytes())


def _in_s3(root: Path, server: Server) -> Store:
    bucket = "flips"
    os.environ.update(server.environment())  # dvc-s3 takes credentials from the environment alone
    server.client().create_bucket(Bucket=bucket)
    server.serve(root, bucket)
    must(root, "luna", "archive", "--all", "--remote", "s3")
    return cold.open_store(root, "s3")


def targets(field: Field, kind: str) -> Sequence[Target | Stored]:
    root = field.root
    match kind:
        case "cache":
            paths = [path for path in _files(root / ".dvc/cache/files/md5") if _needed(field, path)]
        case "cold storage":
            paths = _files(Path(field.store.odb.path))
        case "S3 storage":
            return [Stored(field.s3, md5) for md5, size in sorted(field.s3.sizes().items()) if size]
        case "record in cold storage":
            paths = sorted(
                (Path(field.store.odb.path).parents[1] / record.COLD_FOLDER).glob("*.json")
            )
        case "git objects in cold storage":
            paths = _files(Path(field.store.odb.path).parents[1] / packs.FOLDER)
        case "tags and branches":
            paths = [
                path
                for path in _files(root / ".git/refs")
                if "quarantine" not in path.parts and "remotes" not in path.parts
            ]
        case "packed references":
            paths = [root / ".git/packed-refs"]
        case "git objects":
            named = object_names(
                take(field.git, field.prefix, set())
            )  # of history; other objects are the user's own
            paths = [
                path for object_id, path in gitstore.loose_objects(field.git) if object_id in named
            ]
        case "ledger":
            paths = [root / "lineage.csv"]
        case "bundle":
            paths = [field.bundle] * 3 + [
                Path(f"{field.bundle}.sha256")
            ]  # most of the faults where most of the bytes are
        case _:
            paths = [root / "dvc.lock"]
    return [Target(path) for path in paths if path.stat().st_size]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _needed(field: Field, path: Path) -> bool:
    """Objects in cold storage are those of sealed generations; the cache may hold others, which nobody promised anything about."""
    name = path.parent.name + path.name
    return name in field.thinned or Path(field.store.path(name)).exists()


def user(field: Field, target: Target | Stored) -> str:
    """A generation that needs the object."""
    if target.object not in field.users:
        picture = take(field.git, field.prefix, set())
        for seal in picture.seals.values():
            for item in check_generation(picture, seal, [Cache(field.root), Cold(field.store)])[0]:
                field.users.setdefault(item.md5, seal.name)
    return field.users[target.object]


def is_named(
    field: Field, kind: str, target: Target | Stored, before: bytes, findings: list[Finding]
) -> bool:
    """Whether a finding says what was damaged, and none says that another object was."""
    objects = {
        (str(finding.where), finding.object) for finding in findings if finding.kind is Kind.OBJECT
    }
    match kind:
        case "cache":
            return objects == {("cache", target.object)}
        case "cold storage" | "S3 storage":
            return objects == {(f"cold storage '{field.stores(kind)[0].name}'", target.object)}
        case "record in cold storage":
            return not objects and any(finding.kind is Kind.COLD_RECORD for finding in findings)
        case "git objects in cold storage":
            return not objects and any(
                finding.kind is Kind.COLD_GIT and finding.object.endswith(target.path.name)
                for finding in findings
            )
        case "tags and branches":
            reference = target.path.relative_to(field.root / ".git").as_posix()
            return not objects and any(
                finding.object in (reference, reference.removeprefix("refs/tags/"))
                for finding in findings
            )
        case "packed references":
            names = {
                line.split(" ")[-1].removeprefix("refs/tags/")
                for line in before.decode().splitlines()
            }
            return not objects and any(
                finding.object == "packed-refs"
                or finding.object in names
                or finding.object.startswith("refs/")
                for finding in findings
            )
        case "git objects":
            return not objects and any(finding.object == target.object for finding in findings)
    return not objects and any(
        finding.where == WORKSPACE and finding.object == target.name for finding in findings
    )


def bundle_is_named(field: Field, before: bytes, after: bytes, problems: list[str]) -> bool:
    """Whether each problem speaks of the member that was damaged, or of the file itself where it is its frame."""
    names = {field.bundle.name, f"{field.bundle.name}.sha256"}
    first = next(
        (at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new),
        len(after),
    )
    if before[:4] == b"PK\x03\x04":
        for member in check.members(io.BytesIO(before), len(before)):
            if member.offset <= first < member.data + member.size:
                names |= {member.name, member.name.split("/", 1)[1]}
    return bool(problems) and all(any(name in problem for name in names) for problem in problems)


def is_harmless(kind: str, target: Target | Stored, before: bytes) -> bool:
    """A bit that means nothing: the last bits of a zlib stream's last block are filling, and a bundle may have been given another name than its .sha256 says."""
    after = target.read()
    if kind == BUNDLE and target.name.endswith(".sha256"):
        return (
            after[:66] == before[:66]
            and re.fullmatch(rb"[0-9a-f]{64}  [^\n]+\n", after) is not None
        )
    return kind == GIT and gitstore.loose_content(target.path) is not None and after != before


def meaning(field: Field) -> tuple[str, bytes, bytes]:
    """What must be as before: the sealed references and no others beside them, the ledger and dvc.lock. (The head's tag and the record may be new objects of the same content.)"""
    rows = [
        row.split(" ")
        for row in field.git.text(
            "for-each-ref", "--format=%(refname) %(objectname) %(*objectname)"
        ).splitlines()
    ]
    content = {f"refs/tags/{head_tag(field.prefix)}": "^{commit}", record.REF: f":{record.FILE}"}
    kept = []
    for name, *objects in rows:
        if not name.startswith(("refs/quarantine/", "refs/remotes/")):
            objects = (
                [field.git.try_resolve(name + content[name]) or ""] if name in content else objects
            )
            kept.append(" ".join([name, *objects]))
    return (
        "\n".join(kept),
        (field.root / "lineage.csv").read_bytes(),
        (field.root / "dvc.lock").read_bytes(),
    )


def pack(field: Field, packed: bool) -> None:
    """References as files of their own, or all in one file."""
    if packed:
        # What earlier repairs put aside is no history, and git would keep it in the same file.
        for name in field.git.text(
            "for-each-ref", "--format=%(refname)", "refs/quarantine"
        ).split():
            field.git.run("update-ref", "-d", name, settings=("core.hooksPath=/dev/null",))
        field.git.run("pack-refs", "--all", "--prune")
        return
    rows, _ = gitstore.packed_refs(field.git)
    for name, (value, _) in rows.items():
        path = field.root / ".git" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value + "\n")
    (field.root / ".git/packed-refs").unlink(missing_ok=True)
