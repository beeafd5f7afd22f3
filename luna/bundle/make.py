"""Writes one sealed generation as one zip, the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, files, hashes
from luna.bundle import check
from luna.errors import ColdStorageError, InputError, StateError
from luna.history.line import Line, sealed_outs
from luna.storage import objects

READ_ONLY = 0o444
#: From the generation's commit, beside its outputs. The base is not in it: each line has one, in cold storage.
_FROM_GIT = (artifacts.PARAMS, artifacts.PIPELINE, artifacts.LOCK)


@dataclass(frozen=True)
class Bundle:
    """``bytes`` and ``sha256`` are the file's; ``created`` is False when the same bundle lay there already."""

    name: str
    file: str
    bytes: int
    sha256: str
    created: bool


@dataclass(frozen=True)
class _Source:
    """Where a member comes from: a cached object with its md5, or bytes out of git."""

    content: bytes | Path
    md5: str | None = None

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            yield self.content
            return
        with self.content.open("rb") as file:
            while chunk := file.read(files.CHUNK_BYTES):
                yield chunk


def bundle(
    line: Line,
    name: str,
    target: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Bundle:
    """Write ``target`` and ``target``.sha256, both read-only. If it is killed anywhere, the same call resumes.

    ``progress`` gets the bytes written so far and the total.

    Raises:
        InputError: there is another file of that name, or its folder does not exist.
        ColdStorageError: an object is neither in the cache nor intact in cold storage.
    """
    target = target.absolute()
    if not target.parent.is_dir():
        raise InputError(
            f"There is no folder {target.parent}: create it, then run the same command again."
        )
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file:
            _write(file, name, _sources(line, name), progress)
            file.flush()
            os.fsync(file.fileno())
        digest = files.digest(part)
        created = not target.exists()
        if created:
            part.chmod(READ_ONLY)
            part.replace(target)
            files.sync_folder(target.parent)
        elif not target.is_file() or files.digest(target) != digest:
            raise InputError(
                f"{target} exists and is not this bundle: nothing is overwritten; give another name with --output."
            )
    finally:
        part.unlink(missing_ok=True)
    target.chmod(READ_ONLY)
    beside = target.with_name(f"{target.name}.sha256")
    if (
        not beside.exists()
        or beside.read_text(encoding="utf-8", errors="replace") != f"{digest}  {target.name}\n"
    ):
        files.write_text(beside, f"{digest}  {target.name}\n")
    beside.chmod(READ_ONLY)
    return Bundle(name, str(target), target.stat().st_size, digest, created)


def _sources(line: Line, name: str) -> dict[str, _Source]:
    """Every member by its name in the folder, sorted; objects that the cache lacks are fetched."""
    root = line.git.root
    sources: dict[str, _Source] = {}
    outs = {
        path: out
        for path, out in sealed_outs(root, name).items()
        if path not in (artifacts.BASE.as_posix(), artifacts.KEYFRAME.as_posix())
    }
    for path, out in outs.items():
        if not out.cached:
            for row in line.git.files(f"refs/tags/{name}", path):
                sources[row] = _Source(_git(line, name, row))
        elif out.md5.endswith(".dir"):
            for relative, md5 in objects.listing(root, out.md5).items():
                sources[f"{path}/{relative}"] = _cached(root, name, md5)
        else:
            sources[path] = _cached(root, name, out.md5)
    in_git = [path.as_posix() for path in _FROM_GIT]
    if artifacts.BUILD.as_posix() in hashes.loads(_git(line, name, artifacts.HASHES.as_posix())):
        in_git.append(artifacts.BUILD.as_posix())  # no output of a stage
    for path in in_git:
        sources[path] = _Source(_git(line, name, path))
    # The generation's own check where it has one, so that the bundle stays the same when Luna is newer.
    own = line.git.show(f"refs/tags/{name}", check.OWN_IN_GIT)
    kept = [path for path, source in sources.items() if source.md5 is None]
    sources |= _proof(line, name, [*kept, *([check.OWN_IN_GIT] if own else [])])
    sources[check.OWN] = _Source(own or Path(check.__file__).read_bytes())
    return dict(sorted(sources.items()))


def _proof(line: Line, name: str, kept: list[str]) -> dict[str, _Source]:
    """git's own objects on the way from the tag to each file that git keeps: tag, commit, trees."""
    folders = {parent.as_posix() for path in kept for parent in Path(path).parents} - {"."}
    tag, commit, *trees = line.git.cat(
        [
            f"refs/tags/{name}",
            f"refs/tags/{name}^{{commit}}",
            f"refs/tags/{name}^{{tree}}",
            *(f"refs/tags/{name}:{folder}" for folder in sorted(folders)),
        ]
    )
    if tag is None or commit is None or None in trees:
        raise StateError(f"git does not hold all of {name}: see 'luna verify'.")
    return {check.TAG: _Source(tag), check.COMMIT: _Source(commit)} | {
        check.TREES + check.object_id("tree", tree): _Source(tree) for tree in trees if tree
    }


def _cached(root: Path, name: str, md5: str) -> _Source:
    try:
        return _Source(objects.fetch(root, md5), md5)
    except ColdStorageError as error:
        raise ColdStorageError(
            f"{error} 'luna restore {name}' also rebuilds files that were thinned."
        ) from None


def _git(line: Line, name: str, path: str) -> bytes:
    content = line.git.show(f"refs/tags/{name}", path)
    if content is None:
        raise StateError(f"{name} has no {path} in git: fetch its tag again ('git fetch').")
    return content


def _write(
    file, name: str, sources: dict[str, _Source], progress: Callable[[int, int], None]
) -> None:
    """SHA256SUMS comes last, since it is known last; each object is hashed as it goes in."""
    total = sum(source.size for source in sources.values())
    written: list[check.Member] = []
    sums, done = "", 0
    for path, source in sources.items():
        offset, size, crc, md5, sha256 = (
            file.tell(),
            0,
            0,
            hashlib.md5(usedforsecurity=False),
            hashlib.sha256(),
        )
        file.seek(len(check.local_header(f"{name}/{path}", 0, 0)), os.SEEK_CUR)
        for chunk in source.chunks():
            file.write(chunk)
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
            sha256.update(chunk)
            md5.update(chunk)
            done += len(chunk)
            progress(done, total)
        if source.md5 and md5.hexdigest() != source.md5:
            raise ColdStorageError(
                f"{path} of {name} is damaged in the cache: run 'luna restore {name}', then the same command again."
            )
        written.append(_headed(file, check.Member(f"{name}/{path}", size, crc, offset)))
        sums += f"{sha256.hexdigest()}  {path}\n"
    offset, content = file.tell(), sums.encode()
    file.seek(len(check.local_header(f"{name}/{check.SUMS}", 0, 0)), os.SEEK_CUR)
    file.write(content)
    written.append(
        _headed(
            file, check.Member(f"{name}/{check.SUMS}", len(content), zlib.crc32(content), offset)
        )
    )
    start = file.tell()
    directory = b"".join(check.central_header(member) for member in written)
    file.write(directory + check.end_records(len(written), start, len(directory)))


def _headed(file, member: check.Member) -> check.Member:
    """Write a member's header before it, now that its CRC is known."""
    end = file.tell()
    file.seek(member.offset)
    file.write(check.local_header(member.name, member.size, member.crc))
    file.seek(end)
    return member
