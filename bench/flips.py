"""python -m bench.flips [LINE] --count 1000: random single-bit flips and truncations; each must be found, named and mended.

LINE is a Luna repository with sealed generations and a local cold storage; it is copied, never touched.
Without it the example line is built first, which takes minutes. Each fault goes into one file of one copy; then the real verify
must name it, the real repair must mend it, and the file's meaning must be what it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from luna.audit import finding as kinds
from luna.audit import gitstore
from luna.audit.picture import object_names, take
from luna.audit.places import Cache, Cold
from luna.audit.repair import repair
from luna.audit.verify import check_generation, verify
from luna.history import cold, record
from luna.history.cold import Store
from luna.history.git import Git

KINDS = ("cache", "cold storage", "record in cold storage", "tags and branches", "packed references", "git objects", "ledger", "dvc.lock")


@dataclass
class Tally:
    """Counts by kind of place; ``failures`` tell what went wrong, with the seed's number to repeat it."""

    tried: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.failures


@dataclass(frozen=True)
class Field:
    """The copy that is damaged. ``source``: a bare git repository beside it, the second copy of git's own objects."""

    root: Path
    store: Store
    prefix: str = "Luna"
    users: dict[str, str] = field(default_factory=dict)

    @property
    def git(self) -> Git:
        return Git(self.root)


def prepare(line: Path, folder: Path) -> Field:
    """A full copy with its own cold storage, its record complete, and a git remote that holds everything."""
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shutil.copytree(line, folder / "luna", symlinks=True, ignore=shutil.ignore_patterns("weights"))
    shutil.copytree(Path(cold.open_store(line).odb.path).parents[1], folder / "cold", symlinks=True)
    root = folder / "luna"

    def run(*command: str) -> None:
        subprocess.run(command, cwd=root, check=True, env=env, capture_output=True)

    run("dvc", "remote", "modify", "--local", "cold", "url", str(folder / "cold"))
    git = Git(root)
    record.complete(git)
    store = cold.open_store(root)
    record.to_cold(store, record.read(git))
    run("git", "clone", "--quiet", "--mirror", str(root), str(folder / "second.git"))
    for remote in git.text("remote").splitlines():
        run("git", "remote", "remove", remote)
    run("git", "remote", "add", "second", str(folder / "second.git"))
    return Field(root, store)


def targets(place: Field, kind: str) -> list[Path]:
    root = place.root
    match kind:
        case "cache":
            return [path for path in sorted((root / ".dvc/cache/files/md5").rglob("*")) if path.is_file() and _needed(place, path)]
        case "cold storage":
            return [path for path in sorted(Path(place.store.odb.path).rglob("*")) if path.is_file()]
        case "record in cold storage":
            return sorted((Path(place.store.odb.path).parents[1] / record.COLD_FOLDER).glob("*.json"))
        case "tags and branches":
            return [path for path in sorted((root / ".git/refs").rglob("*")) if path.is_file() and "quarantine" not in path.parts and "remotes" not in path.parts]
        case "packed references":
            return [root / ".git/packed-refs"]
        case "git objects":
            named = object_names(take(place.git, place.prefix, set()))  # of history; other objects are the user's own
            return [path for object_id, path in gitstore.loose_objects(place.git) if object_id in named]
        case "ledger":
            return [root / "lineage.csv"]
    return [root / "dvc.lock"]


def _needed(place: Field, path: Path) -> bool:
    """Objects in cold storage are those of sealed generations; the cache may hold others, which nobody promised anything about."""
    return Path(place.store.path(path.parent.name + path.name)).exists()


def damage(path: Path, chance: random.Random) -> str:
    content = bytearray(path.read_bytes())
    path.chmod(0o644)
    if chance.random() < 0.3:
        size = chance.randrange(len(content))
        # Not written through: a file in the workspace may be the same file as one in the cache, and one fault is one fault.
        _write(path, bytes(content[:size]))
        return f"cut to {size} of {len(content)} bytes"
    position, bit = chance.randrange(len(content)), chance.randrange(8)
    content[position] ^= 1 << bit
    _write(path, bytes(content))
    return f"bit {bit} of byte {position} flipped"


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def is_named(place: Field, kind: str, path: Path, before: bytes, findings: list[kinds.Finding]) -> bool:
    """Whether a finding says what was damaged, and none says that another object was."""
    objects = {(finding.where, finding.object) for finding in findings if finding.kind == kinds.OBJECT}
    name = path.parent.name + path.name
    match kind:
        case "cache":
            return objects == {("cache", name)}
        case "cold storage":
            return objects == {(f"cold storage '{place.store.name}'", name)}
        case "record in cold storage":
            return not objects and any(finding.kind == kinds.COLD_RECORD for finding in findings)
        case "tags and branches":
            reference = path.relative_to(place.root / ".git").as_posix()
            return not objects and any(finding.object in (reference, reference.removeprefix("refs/tags/")) for finding in findings)
        case "packed references":
            names = {line.split(" ")[-1].removeprefix("refs/tags/") for line in before.decode().splitlines()}
            return not objects and any(finding.object == "packed-refs" or finding.object in names or finding.object.startswith("refs/") for finding in findings)
        case "git objects":
            return not objects and any(finding.object == name for finding in findings)
    return not objects and any(finding.where == "workspace" and finding.object == path.name for finding in findings)


def is_harmless(kind: str, path: Path, before: bytes) -> bool:
    """A bit that means nothing: the last bits of a zlib stream's last block are filling."""
    return kind == "git objects" and gitstore.loose_content(path) is not None and path.read_bytes() != before


def run(place: Field, count: int, seed: int, say=lambda text: None, which: tuple[str, ...] = KINDS) -> Tally:
    chance = random.Random(seed)
    tally = Tally()
    expected = _meaning(place)
    if not verify(place.root, place.prefix, None, stores=[place.store]).clean:
        raise SystemExit("The line was not whole before the first fault: run 'luna verify --all --remote' in it.")
    while sum(tally.tried.values()) < count:
        kind = which[sum(tally.tried.values()) % len(which)]
        if kind in ("tags and branches", "packed references"):
            _pack(place, kind == "packed references")
        path = chance.choice([path for path in targets(place, kind) if path.stat().st_size])
        before = path.read_bytes()
        what = f"{kind}: {path.name}: {damage(path, chance)}"
        if is_harmless(kind, path, before):
            _write(path, before)
            continue
        tally.tried[kind] += 1
        # Bytes are read in full where bytes were damaged, in a generation that uses them; the rest is always looked at in full.
        quick = kind not in ("cache", "cold storage")
        chosen = [] if quick else [_user(place, path)]
        try:
            report = verify(place.root, place.prefix, None, chosen, [place.store], quick)
            tally.found[kind] += not report.clean
            named = is_named(place, kind, path, before, report.findings)
            tally.named[kind] += named
            repair(place.root, place.prefix, None, [place.store], chosen=chosen, quick=quick)
            after = verify(place.root, place.prefix, None, chosen, [place.store], quick)
            whole = after.clean and _meaning(place) == expected
        except Exception as error:
            tally.failures.append(f"{what}: {type(error).__name__}: {error}")
            _put_back(place, path, before)
            continue
        tally.mended[kind] += whole
        if report.clean or not named or not whole:
            left = [finding.sentence for finding in after.findings][:2]
            tally.failures.append(f"{what}: {'NOT FOUND' if report.clean else 'not named' if not named else 'not mended'}: {[finding.sentence for finding in report.findings][:2]} -> {left}")
            _put_back(place, path, before)
        say(f"{sum(tally.tried.values())}/{count} {what}")
    left = verify(place.root, place.prefix, None, stores=[place.store])  # and at the end every byte of everything
    tally.failures += [f"left at the end: {finding.sentence}" for finding in left.findings]
    return tally


def _user(place: Field, path: Path) -> str:
    """A generation that needs the object."""
    name = path.parent.name + path.name
    if name not in place.users:
        picture = take(place.git, place.prefix, set())
        for seal in picture.seals.values():
            for item in check_generation(picture, seal, [Cache(place.root), Cold(place.store)])[0]:
                place.users.setdefault(item.md5, seal.name)
    return place.users[name]


def _meaning(place: Field) -> tuple[str, bytes, bytes]:
    """What must be as before: the sealed references, the ledger and dvc.lock. (The head's tag may be a new object on the same commit.)"""
    rows = place.git.text("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", "refs/heads", "refs/tags").splitlines()
    kept = [row if "GHEAD" not in row else row.split(" ")[0] + row.split(" ")[2] for row in rows]
    return "\n".join(kept), (place.root / "lineage.csv").read_bytes(), (place.root / "dvc.lock").read_bytes()


def _pack(place: Field, packed: bool) -> None:
    """References as files of their own, or all in one file."""
    if packed:
        place.git.run("pack-refs", "--all", "--prune")
        return
    rows, _ = gitstore.packed_refs(place.git)
    for name, (value, _) in rows.items():
        target = place.root / ".git" / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(value + "\n")
    (place.root / ".git/packed-refs").unlink(missing_ok=True)


def _put_back(place: Field, path: Path, before: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, before)


def report(tally: Tally, seconds: float) -> str:
    rows = [f"| {kind} | {tally.tried[kind]} | {tally.found[kind]} | {tally.named[kind]} | {tally.mended[kind]} |" for kind in KINDS if tally.tried[kind]]
    total = [sum(counter.values()) for counter in (tally.tried, tally.found, tally.named, tally.mended)]
    return "\n".join(["| damaged | faults | found | named | mended |", "| --- | --- | --- | --- | --- |", *rows, f"| all | {' | '.join(map(str, total))} |", "", f"{seconds:.0f} s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("line", nargs="?", type=Path, help="a Luna repository with sealed generations; without it one is built")
    parser.add_argument("--count", type=int, default=1000, help="faults to inject (default: 1000)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the faults (default: 7)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        line = arguments.line.resolve() if arguments.line else _build(Path(folder))
        place = prepare(line, Path(folder) / "copy")
        started = time.monotonic()
        tally = run(place, arguments.count, arguments.seed, lambda text: print(text, file=sys.stderr, flush=True))
        seconds = time.monotonic() - started
    if arguments.json:
        print(json.dumps({"tried": tally.tried, "found": tally.found, "named": tally.named, "mended": tally.mended, "failures": tally.failures, "seconds": round(seconds, 1)}, indent=2))
    else:
        print(report(tally, seconds))
        for failure in tally.failures:
            print(failure)
    sys.exit(0 if tally.clean else 1)


def _build(folder: Path) -> Path:
    from bench import generations

    repo = generations.make_repo(folder / "built")
    generations.build(repo)
    return repo


if __name__ == "__main__":
    main()
