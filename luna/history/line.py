"""The line of generations, read from tags and ledger, and the artifacts of another generation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, files, ledger, names, sealed_parameters, strict_yaml
from luna.errors import ColdStorageError, StateError, UnknownGeneration
from luna.history import past
from luna.names import BASE_PARENT, GenerationName
from luna.params import Base, Params
from luna.repo.git import Git, Tag
from luna.repo.tag import TagBody


@dataclass(frozen=True)
class Line:
    """A picture of the line at one moment: sealed generations by number, head, tip of the branch."""

    git: Git
    prefix: str
    sealed: dict[int, Tag]
    head: Tag | None
    assignments: dict[int, Tag]
    all_tags: dict[str, Tag]

    @property
    def names(self) -> list[str]:
        """Full names of the sealed generations, oldest first."""
        return [self.sealed[number].name for number in sorted(self.sealed)]

    @property
    def newest(self) -> str | None:
        """The name sealed last; None where nothing is sealed."""
        return self.sealed[max(self.sealed)].name if self.sealed else None

    @property
    def snapshots(self) -> list[str]:
        """Tags of the folders that are kept beside the generations, by name."""
        return sorted(
            name for name, tag in self.all_tags.items() if tag.annotated and names.is_snapshot(name)
        )

    @property
    def next_number(self) -> int:
        """The number that the next generation gets."""
        return max(self.sealed, default=-1) + 1

    @property
    def head_name(self) -> str | None:
        """The generation at which the head tag points."""
        if self.head is None:
            return None
        return next(
            (tag.name for tag in self.sealed.values() if tag.commit == self.head.commit), None
        )

    def resolve(self, reference: str) -> str:
        """``3``, ``G003``, the full name or ``HEAD`` to the full name. Raises InputError naming what there is."""
        if names.is_head(reference):
            if self.head_name is None:
                raise UnknownGeneration(
                    "There is no current best yet: run 'luna evolve' to build the first generation."
                )
            return self.head_name
        number = names.number_of(reference)
        tag = self.sealed.get(number) if number is not None else None
        if tag is None or (names.is_generation(reference) and tag.name != reference):
            there = (
                f"there are {self.names[0]} to {self.names[-1]}"
                if len(self.names) > 1
                else f"there is {self.names[0]}"
                if self.sealed
                else "none has been sealed yet"
            )
            raise UnknownGeneration(
                f"There is no generation '{reference}': {there} (see 'luna log')."
            )
        return tag.name

    def ledger(self) -> list[ledger.Row]:
        """The ledger as it was sealed, row by row. Raises InputError for a row that does not parse."""
        return ledger.loads(
            self.ledger_text(),
            self.ledger_label,
            "'luna log' shows the values of the tags instead; fetch the tag again from an intact clone",
        )

    def ledger_text(self) -> str:
        """lineage.csv as the newest seal has it."""
        return past.ledger_here(self.git, self.sealed)

    @property
    def ledger_label(self) -> str:
        """What errors call that file."""
        return f"{artifacts.LEDGER} of {self.newest}"

    @functools.cached_property
    def parents(self) -> dict[int, int | str]:
        """The parent of each generation as its seal names it; as the ledger does, for a seal that names none."""
        numbers = sorted(self.sealed)
        bodies = self.git.cat([self.sealed[number].object for number in numbers]) if numbers else []
        named = {
            number: parent_named(TagBody.of(body).fields, number)
            for number, body in zip(numbers, bodies, strict=True)
        }
        if None in named.values():
            rows, _ = ledger.scan(self.ledger_text(), self.ledger_label)
            in_ledger = {row.gen: row.parent for row in rows}
            named = {
                number: in_ledger.get(number) if parent is None else parent
                for number, parent in named.items()
            }
        return {number: parent for number, parent in named.items() if parent is not None}

    def ancestors(self, name: str) -> list[str]:
        """From generation 0 to ``name`` itself, along the parents that the seals name."""
        number = GenerationName.parse(name).number
        chain = ledger.descent(self.parents, number)
        origin: int | str = self.parents[chain[-1]] if chain else number
        if origin != BASE_PARENT:
            raise StateError(
                f"The line of {name} is broken at generation {origin}: fetch the missing tag ('git fetch --tags')."
            )
        return [self.sealed[gen].name for gen in reversed(chain)]


def read_line(root: Path, prefix: str) -> Line:
    """One git process, however long the line; ``root`` is the repository's top folder."""
    git = Git.at(root.absolute())
    tags = {tag.name: tag for tag in git.tags()}
    # A sealed tag is annotated; a light tag of the same form is somebody's slip, never a generation.
    sealed = {
        GenerationName.parse(name).number: tag
        for name, tag in tags.items()
        if tag.annotated and names.is_generation(name) and name.startswith(f"{prefix}-G")
    }
    assignments = {
        count: tag
        for name, tag in tags.items()
        if (count := names.assignment_number(name)) is not None
    }
    return Line(git, prefix, sealed, tags.get(names.head_tag(prefix)), assignments, tags)


def sealed_params(git: Git, name: str) -> Params:
    """The parameters that a generation was built by."""
    text = git.show(f"refs/tags/{name}", artifacts.PARAMS)
    return sealed_parameters.parse(text or b"", f"{artifacts.PARAMS} of {name}")


@dataclass(frozen=True)
class Out:
    """One output in a dvc.lock. ``md5`` ends in ``.dir`` for a folder; ``cached`` False: git keeps it, not DVC."""

    path: str
    md5: str
    size: int
    cached: bool


@functools.lru_cache(maxsize=64)
def declared_outs(pipeline: bytes) -> Mapping[str, bool]:
    """Every output that a dvc.yaml names, and whether DVC keeps it (False: git does). Most generations have the same one."""
    entries = [
        entry if isinstance(entry, dict) else {entry: {}}
        for stage in (strict_yaml.load_1_1(pipeline) or {}).get("stages", {}).values()
        for entry in [*stage.get("outs", []), *stage.get("metrics", [])]
    ]
    return {
        path: flags.get("cache") is not False for entry in entries for path, flags in entry.items()
    }


def outs_of(lock: bytes, pipeline: bytes) -> dict[str, Out]:
    """Outputs by path, from the texts of a dvc.lock and of the dvc.yaml beside it."""
    declared = declared_outs(pipeline)
    return {
        out["path"]: Out(
            out["path"], out["md5"], out.get("size", 0), declared.get(out["path"], True)
        )
        for stage in (strict_yaml.load_1_1(lock) or {}).get("stages", {}).values()
        for out in stage.get("outs", [])
    }


def dvc_file_outs(text: bytes) -> dict[str, Out]:
    """Outputs by path, from the text of a .dvc file."""
    return {
        out["path"]: Out(out["path"], out["md5"], out.get("size", 0), True)
        for out in strict_yaml.load_1_1(text)["outs"]
    }


def kept(outs: dict[str, Out]) -> list[str]:
    """Hashes of the outputs that DVC keeps; those that git keeps need no cold storage."""
    return [out.md5 for out in outs.values() if out.cached]


@functools.lru_cache(maxsize=4096)
def sealed_outs(root: Path, name: str) -> dict[str, Out]:
    """Outputs of a sealed generation, or a snapshot's one folder, read from its tag. Raises StateError when it is not sealed here."""
    if names.is_snapshot(name):
        text = Git(root).show(f"refs/tags/{name}", artifacts.SNAPSHOT_DVC)
        if text is None:
            raise StateError(
                f"There is no snapshot {name} here, or its commit is damaged: see 'luna verify'."
            )
        return dvc_file_outs(text)
    return outs_at(root, name, f"refs/tags/{name}")


@functools.lru_cache(maxsize=4096)
def outs_at(root: Path, name: str, revision: str) -> dict[str, Out]:
    """Outputs of the generation ``name`` by the commit that seals it. Raises StateError when that is not here."""
    lock, pipeline = Git(root).cat(
        [f"{revision}:{artifacts.LOCK}", f"{revision}:{artifacts.PIPELINE}"]
    )
    if lock is None or pipeline is None:
        raise StateError(f"{name} is not sealed here: fetch its tag ('git fetch').")
    return outs_of(lock, pipeline)


def committed_base(root: Path, settings: Base) -> str | None:
    """The object (a folder's) of the base that this line stands on; None where none was sealed, or from another source.

    By what is committed, without tags: DVC's temporary clones have none.
    """
    lock, pipeline, rows = Git(root).cat(
        [
            f"HEAD:{path.as_posix()}"
            for path in (artifacts.LOCK, artifacts.PIPELINE, artifacts.LEDGER)
        ]
    )
    if lock is None or pipeline is None or not (rows or b"").strip():
        return None
    out = outs_of(lock, pipeline).get(artifacts.BASE.as_posix())
    used = (strict_yaml.load_1_1(lock) or {}).get("stages", {}).get("base", {}).get("params")
    made_from = ((used or {}).get(artifacts.PARAMS.as_posix()) or {}).get("base") or {}
    # A key that came later is not in an older record.
    same = made_from and made_from.items() <= settings.model_dump().items()
    return out.md5 if out and same else None


def artifact(root: Path, name: str, path: Path, commit: str | None = None) -> Path:
    """The path of a file of another, sealed generation: the one way for stages to read another generation.

    ``commit``: its sealed commit, for a stage, which may run where there are no tags; None: what its tag names.

    What git keeps is written to scratch, what DVC keeps is the cache's own object (never to be written
    to); an object missing from the cache is fetched from cold storage and checked. For a file inside
    a folder output give its whole path.

    Raises:
        StateError: the generation is not sealed here, or has no such artifact.
        ColdStorageError: the object is neither in the cache nor intact in cold storage.
    """
    from luna.storage import cache, objects

    root = root.resolve()
    wanted = path.as_posix()
    revision = commit or f"refs/tags/{name}"
    outs = outs_at(root, name, revision)
    out = outs.get(wanted)
    if out and out.cached:
        try:
            return cache.find(root, out.md5) or objects.fetch(root, out.md5)
        except ColdStorageError as error:
            if path != artifacts.MODEL:
                raise
            raise ColdStorageError(
                f"{error} 'luna restore {name}' makes it again from base and adapters."
            ) from None
    if out or any(
        not folder.cached and wanted.startswith(folder.path + "/") for folder in outs.values()
    ):
        text = Git(root).show(revision, wanted)
        target = root / artifacts.SCRATCH / "read" / name / wanted
        with files.replacing(target) as temporary:
            temporary.write_bytes(text or b"")
        return target
    for folder in outs.values():
        if folder.md5.endswith(".dir") and wanted.startswith(folder.path + "/"):
            for relative, md5 in objects.listing(root, folder.md5).items():
                if f"{folder.path}/{relative}" == wanted:
                    return cache.find(root, md5) or objects.fetch(root, md5)
    raise StateError(f"{name} has no {wanted}.")


def parent_named(fields: Mapping[str, str], number: int) -> int | str | None:
    """The parent that a seal's message names: an older generation's number, or ``base``; None for anything else."""
    parent = fields.get("Parent", "")
    if parent == BASE_PARENT:
        return parent
    return int(parent) if parent.isascii() and parent.isdigit() and int(parent) < number else None
