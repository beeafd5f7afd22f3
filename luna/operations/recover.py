"""`luna recover`: makes a whole clone from cold storage alone.

The clone is made in a folder inside the target and moved up when it is complete, git's own folder last.
Until then the target is not a git repository. If it is killed anywhere, the same command resumes: what
was fetched is kept, a half-made git folder is made again, an interrupted move is finished.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luna import artifacts, files, names, params
from luna.errors import ColdStorageError, ExportError, InputError, StateError
from luna.history import record, stores
from luna.history.line import Line, dvc_file_outs, kept, outs_of, read_line
from luna.operations import init, restore
from luna.repo.git import ZERO, Git, Update
from luna.storage import cold, config, objects, packs
from luna.storage.cold import Store

_WORK = ".luna-recover"  # inside the target, until the clone is whole
_CLONE, _SOURCE, _MOVING = "clone", "source", "moving"
_TAGS, _HEADS = "refs/tags/", "refs/heads/"
_LINE_FOLDERS = (packs.FOLDER, record.COLD_FOLDER, "files")


@dataclass(frozen=True)
class Candidate:
    """One of several lines inside a cold storage: where it is, and its newest generation, None where it has none."""

    location: str
    newest: str | None
    generations: int


class SeveralLines(InputError):
    """The cold storage holds more than one line."""

    def __init__(self, source: str, candidates: Sequence[Candidate]) -> None:
        listed = "; ".join(
            f"{item.location} ({item.generations} generations, the newest {item.newest or 'none'})"
            for item in candidates
        )
        super().__init__(f"{source} holds {len(candidates)} lines, name one of them: {listed}.")
        self.candidates = tuple(candidates)


@dataclass(frozen=True)
class Recovered:
    """``missing``: what the store could not bring back, a sentence each. ``remote``: the DVC remote that was set up."""

    folder: str
    source: str
    branch: str
    newest: str | None
    head: str | None
    generations: int
    snapshots: int
    remote: str
    fetched: int
    missing: list[str] = field(default_factory=list)


def recover(
    source: str,
    folder: Path,
    endpoint: str | None = None,
    tick: Callable[[str], None] = lambda step: None,
) -> Recovered:
    """Make a clone in ``folder`` from the cold storage ``source``, a path or a URL. ``endpoint``: of an S3 server other than Amazon's.

    Raises:
        SeveralLines: there is more than one line in it.
        InputError: ``folder`` is there and not empty, or ``source`` holds no line.
        StateError: it holds a line without its git objects.
        ColdStorageError: it does not answer.
    """
    folder = folder.absolute()
    work = folder / _WORK
    url = _address(source)
    _require_free(folder, url)
    existed = folder.exists()
    with _alone(folder):
        if (work / _MOVING).exists():
            return _finish(folder, url, 0, [])
        fetched, missing = _make(work / _CLONE, folder, url, endpoint, existed, tick)
        return _finish(folder, url, fetched, missing)


def _make(
    clone: Path,
    folder: Path,
    url: str,
    endpoint: str | None,
    existed: bool,
    tick: Callable[[str], None],
) -> tuple[int, list[str]]:
    """The whole clone, beside where it belongs. Returns how many objects were fetched, and what could not be had."""
    with _scratch(folder, url, existed):
        settings = {"url": url} | ({"endpointurl": endpoint} if endpoint else {})
        settings, store = _line_of(clone, settings)
        url = store.address
        tick(f"reading git's objects from {url}")
        git, missing = _repository(clone, store)
        built = params.load(clone)
        remote = _remote_name(clone, built)
        # Complete, so that DVC knows it at every tag, whatever the tag's own configuration says.
        config.set_remote(clone, remote, settings, default=True)
        init.initialise(clone, built.line.prefix)
        line = read_line(clone, built.line.prefix)
        stores.remember(store, git)
        tick("fetching the models that are checked out")
        fetched, lacking = _workspace(line, store, tick)
        missing += lacking + _other_remotes(clone, built, remote)
        git.run("update-index", "--refresh", "-q", check=False)
        (folder / _WORK / _MOVING).touch()
    return fetched, missing


# -- the target


def _require_free(folder: Path, url: str) -> None:
    if not folder.exists():
        return
    work = folder / _WORK
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: give a new folder.")
    if not work.is_dir():
        if any(folder.iterdir()):
            raise InputError(f"{folder} is there and not empty: give a new folder.")
        return
    before = work / _SOURCE
    begun = before.read_text(encoding="utf-8") if before.exists() else url
    if begun != url:
        raise InputError(
            f"{folder} holds an unfinished recovery from {begun}: finish it with 'luna recover {begun} {folder}', or give a new folder."
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Allow one recovery per folder at a time. Raises StateError for another one."""
    work = folder / _WORK
    work.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock, Timeout

    lock = FileLock(work / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StateError(
            f"Another 'luna recover' runs in {folder}: wait for it, or give a new folder."
        ) from None
    with lock:
        yield


@contextlib.contextmanager
def _scratch(folder: Path, url: str, existed: bool) -> Iterator[None]:
    """The folder in which the clone is made. What an earlier run fetched into its cache is kept; the rest is made again."""
    work = folder / _WORK
    clone = work / _CLONE
    if clone.is_dir():
        for path in [*clone.iterdir(), *(clone / ".dvc").glob("*")]:
            if path.name not in (".dvc", "cache"):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    clone.mkdir(parents=True, exist_ok=True)
    files.write_text(work / _SOURCE, url)
    try:
        yield
    except Exception:
        if not (clone / ".dvc" / "cache").exists():  # nothing worth keeping was fetched
            shutil.rmtree(work)
            if not existed:
                folder.rmdir()
        raise


def _finish(folder: Path, url: str, fetched: int, missing: list[str]) -> Recovered:
    """Move the complete clone into the target folder, git's folder last."""
    work = folder / _WORK
    clone = work / _CLONE
    if clone.is_dir():
        for path in sorted(clone.iterdir(), key=lambda path: path.name == ".git"):
            path.replace(folder / path.name)
    settings = params.load(folder)
    line = read_line(folder, settings.line.prefix)
    line.git.run("update-index", "--refresh", "-q", check=False)
    branch = line.git.branch() or ""
    done = Recovered(
        str(folder),
        url,
        branch.removeprefix(_HEADS),
        line.newest,
        line.head_name,
        len(line.sealed),
        len(line.snapshots),
        config.default_remote(folder) or config.DEFAULT_REMOTE,
        fetched,
        missing,
    )
    shutil.rmtree(work)
    return done


# -- the store


def _address(source: str) -> str:
    """A URL as it is, a path as an absolute one. Raises InputError where there is no such folder."""
    if "://" in source:
        cold.require_supported(source)
        return source.rstrip("/")
    path = Path(source).expanduser().absolute()
    if not path.is_dir():
        raise InputError(
            f"There is no folder {path}: give the cold storage's folder or its s3:// URL, or a bundle."
        )
    return str(path)


def _remote_name(clone: Path, built: params.Params) -> str:
    """What the line's own configuration calls its cold storage."""
    default, wanted = config.default_remote(clone) or config.DEFAULT_REMOTE, built.cold.remotes
    return default if default in wanted or not wanted else wanted[0]


def _other_remotes(clone: Path, built: params.Params, remote: str) -> list[str]:
    known = config.remotes(clone)
    return [
        f"the other cold storage '{name}' (cold.remotes) is not set up here: 'luna cold PATH --name {name}'"
        for name in built.cold.remotes
        if name != remote and name not in known
    ]


def _line_of(clone: Path, settings: dict[str, str]) -> tuple[dict[str, str], Store]:
    """The store of the one line at the url of ``settings``: there itself, or in a folder below it.

    Raises SeveralLines, or InputError where there is none.
    """
    store = cold.open_store(clone, config.DEFAULT_REMOTE, settings)
    with store.explained():
        if _is_line(store, store.root):
            return settings, store
        below = [path for path in _folders(store, store.root) if _is_line(store, path)]
    lines = []
    for path in below:
        inner = settings | {"url": f"{settings['url']}/{store.odb.fs.name(path)}"}
        lines.append((inner, cold.open_store(clone, config.DEFAULT_REMOTE, inner)))
    if not lines:
        raise InputError(
            f"{settings['url']} holds no line of Luna: give the folder that has the folder 'files' in it."
        )
    if len(lines) > 1:
        raise SeveralLines(settings["url"], [_candidate(other) for _, other in lines])
    return lines[0]


def _is_line(store: Store, folder: str) -> bool:
    return any(store.odb.fs.exists(store.odb.fs.join(folder, name)) for name in _LINE_FOLDERS)


def _folders(store: Store, folder: str) -> list[str]:
    fs = store.odb.fs
    if not fs.exists(folder):
        return []
    return sorted(path.rstrip("/") for path in fs.ls(folder, detail=False) if fs.isdir(path))


def _candidate(store: Store) -> Candidate:
    try:
        entries = record.in_cold(store)
    except InputError:
        entries = []
    generations = [entry.tag for entry in entries if names.is_generation(entry.tag)]
    newest = max(generations, key=lambda tag: names.number_of(tag) or 0, default=None)
    return Candidate(store.address, newest, len(generations))


# -- git


def _repository(clone: Path, store: Store) -> tuple[Git, list[str]]:
    """git's objects, references and files of the line. Returns also what could not be brought back."""
    missing: list[str] = []
    try:
        entries = record.in_cold(store)
    except InputError as error:
        entries = []
        missing.append(f"the record in cold storage is damaged ({error}); git's own copy was taken")
    if not packs.names(store):
        tags = [entry.tag for entry in entries if names.is_generation(entry.tag)]
        raise StateError(
            f"The cold storage '{store.address}' holds no git objects: it was written before Luna kept them there. It can give back every file by its hash"
            f"{f' and the texts of the tags of {len(tags)} generations' if tags else ''}, but no commit, no dvc.lock and no conversation, so it is not enough for a clone. "
            "In a clone that still has git run 'luna archive --all', or use a bundle; nothing was written."
        )
    git = _new(clone)
    unpacked = packs.unpack(store, git)
    for what, listed in (
        ("damaged", unpacked.damaged),
        ("of no use without others", unpacked.stranded),
    ):
        missing += [f"{packs.FOLDER}/{name} in cold storage is {what}" for name in listed]
    present = git.existing({oid for _, oid in unpacked.tips})
    tips = [(ref, oid) for ref, oid in unpacked.tips if oid in present]
    entries = _longest(git, tips, entries)
    lost = (
        [entry.tag for entry in entries if not packs.is_whole(git, [entry.commit])]
        if (not packs.is_whole(git, [entry.commit for entry in entries]))
        else []
    )
    missing += [f"{tag}: its git objects are not all in cold storage" for tag in lost]
    entries = [entry for entry in entries if entry.tag not in lost]
    branch, references = _references(git, tips, entries)
    if branch is None:
        raise StateError(
            f"The cold storage '{store.address}' holds no complete branch: {'; '.join(missing) or 'nothing was ever sealed there'}; nothing was written."
        )
    git.run("symbolic-ref", "HEAD", branch)
    git.update(
        [Update(ref, oid, ZERO) for ref, oid in references.items()], f"luna recover {store.name}"
    )
    _adopt(git, entries)
    git.run("reset", "--quiet", "--hard", branch)
    git.run("repack", "-a", "-d", "-q")
    return git, missing


def _new(clone: Path) -> Git:
    git = Git.at(clone)
    git.run("init", "--quiet", "--object-format=sha1")
    return git


def _longest(
    git: Git, tips: list[tuple[str, str]], cold_entries: list[record.Entry]
) -> list[record.Entry]:
    """The longest whole record: that of the store, or one that came with git's objects."""
    best = cold_entries
    for oid in dict.fromkeys(oid for ref, oid in tips if ref == record.REF):
        text = git.show(oid, record.FILE)
        with contextlib.suppress(InputError):
            entries = record.loads((text or b"").decode("utf-8", "replace"))
            if len(entries) > len(best):
                best = entries
    return best


def _references(
    git: Git, tips: list[tuple[str, str]], entries: list[record.Entry]
) -> tuple[str | None, dict[str, str]]:
    """The line's branch, and the newest value of every reference: tags by the record, branches and record where no other commit follows."""
    references: dict[str, str] = {}
    recorded = {_TAGS + entry.tag for entry in entries}
    present = git.existing([entry.object for entry in entries])
    for entry in entries:
        if entry.object not in present:
            record.write_object(git, entry)
        references[_TAGS + entry.tag] = entry.object
    for ref, oid in tips:  # tags of somebody's own: the latest word
        name = ref.removeprefix(_TAGS)
        ours = ref in recorded or record.is_recorded(name) or names.is_head(name)
        if ref.startswith(_TAGS) and not ours:
            references[ref] = oid
    references |= _heads(git, tips, entries)
    if commit := _record_commit(git, tips, entries):
        references[record.REF] = commit
    generations = [entry for entry in entries if names.is_generation(entry.tag)]
    newest = max(generations, key=lambda entry: names.number_of(entry.tag) or 0, default=None)
    branches: dict[str, str] = {}
    for name in dict.fromkeys(ref for ref, _ in tips if ref.startswith(_HEADS)):
        values = _ends(git, [oid for ref, oid in tips if ref == name])
        if newest:
            holding = [oid for oid in values if git.is_ancestor(newest.commit, oid)]
            values = holding + [oid for oid in values if oid not in holding]
        for number, oid in enumerate(oid for oid in values if packs.is_whole(git, [oid])):
            branches[name if not number else f"{name}.recovered-{number}"] = oid
    order = [ref for ref in _last_written(tips) if ref in branches]
    if (
        newest
        and order
        and not any(git.is_ancestor(newest.commit, oid) for oid in branches.values())
    ):
        # A seal that cold storage took, and a kill kept from its branch.
        behind = [ref for ref in order if git.is_ancestor(branches[ref], newest.commit)]
        branches |= dict.fromkeys(behind[:1], newest.commit)
    if newest:
        order = [ref for ref in order if git.is_ancestor(newest.commit, branches[ref])]
    return (order[0] if order else None), references | branches


def _last_written(tips: list[tuple[str, str]]) -> list[str]:
    """Branches, the one that was checked out when something was last written first."""
    return list(dict.fromkeys(ref for ref, _ in reversed(tips) if ref.startswith(_HEADS)))


def _ends(git: Git, commits: Sequence[str]) -> list[str]:
    """Those of the commits that no other follows, the latest first."""
    listed = list(dict.fromkeys(reversed(commits)))
    if len(listed) < 2:
        return listed
    ends = set(git.text("merge-base", "--independent", *listed).splitlines())
    return [oid for oid in listed if oid in ends]


def _heads(git: Git, tips: list[tuple[str, str]], entries: list[record.Entry]) -> dict[str, str]:
    """The movable tag of the current best: the object that was made with the last move of the head."""
    moves = {
        count: entry
        for entry in entries
        if (count := names.assignment_number(entry.tag)) is not None
    }
    if not moves:
        return {}
    last = moves[max(moves)]
    heads = {}
    for ref, oid in tips:
        if ref.startswith(_TAGS) and ref.endswith("-GHEAD"):
            head = git.tag_body(oid)
            if (head.object, head.text) == (last.commit, last.parsed.text):
                heads[ref] = oid
    return heads


def _record_commit(
    git: Git, tips: list[tuple[str, str]], entries: list[record.Entry]
) -> str | None:
    """The commit of the longest record that is the beginning of ``entries``."""
    whole = record.dumps(entries)
    best: tuple[int, str] | None = None
    for oid in dict.fromkeys(oid for ref, oid in tips if ref == record.REF):
        text = git.show(oid, record.FILE)
        message = (text or b"").decode("utf-8", "replace")
        if message and whole.startswith(message) and (best is None or len(message) > best[0]):
            best = (len(message), oid)
    return best[1] if best else None


def _adopt(git: Git, entries: list[record.Entry]) -> None:
    """Entries that reached cold storage before the commit of the record did: the record here takes them in."""
    own = record.read(git)
    if len(own) == len(entries):
        return
    nobody = {"user.name": "luna recover", "user.email": "luna@localhost"}
    wanted = {} if git.config("user.email") else nobody  # a new machine may have no user.name yet
    for key, value in wanted.items():
        git.run("config", key, value)
    try:
        update = record.written(git, entries, git.try_resolve(record.REF), len(own))
        git.update([update], "luna recover: the record")
    finally:
        for key in wanted:
            git.run("config", "--unset", key)


# -- the workspace


def _workspace(line: Line, store: Store, tick: Callable[[str], None]) -> tuple[int, list[str]]:
    """Every file that DVC keeps at the branch's end, where it belongs. Returns how many objects came, and what did not."""
    root = line.git.root.resolve()
    lock, pipeline = line.git.cat(
        [f"HEAD:{artifacts.LOCK.as_posix()}", f"HEAD:{artifacts.PIPELINE.as_posix()}"]
    )
    outs = outs_of(lock, pipeline) if lock and pipeline else {}
    for path in line.git.files("HEAD", "."):
        if path.endswith(".dvc"):
            text = line.git.show("HEAD", path)
            folder = Path(path).parent
            for name, out in dvc_file_outs(text or b"").items():
                outs[(folder / name).as_posix()] = out
    fetched, missing, there = 0, [], []
    for path, out in outs.items():
        if not out.cached:
            continue
        try:
            if out.md5.endswith(".dir"):
                fetched += objects.whole(root, out.md5, [store])[1]
            for md5 in objects.expanded(root, kept({path: out})):
                fetched += objects.whole(root, md5, [store])[1]
            there.append(path)
        except ColdStorageError as error:
            if path == artifacts.MODEL.as_posix() and line.newest and _made_again(line, tick):
                there.append(path)
            else:
                missing.append(f"{path}: {error}")
    if there:
        _check_out(root, there)
    return fetched, missing


def _made_again(line: Line, tick: Callable[[str], None]) -> bool:
    """Whether cold storage keeps only base and adapters of the GGUF ('luna thin')."""
    if line.newest is None:
        return False
    try:
        return restore.bring_back(line.git.root, line.newest, tick)
    except (ColdStorageError, ExportError, StateError):
        return False


def _check_out(root: Path, paths: Sequence[str]) -> None:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        Repo(str(root)).checkout(targets=[str(root / path) for path in paths], force=True)
    except DvcException as error:
        raise StateError(f"DVC could not put {', '.join(paths)} in place: {error}") from None
