"""The states from which faults.kills starts its commands: clones that are prepared once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.faults.clones import copy, edit, keep, must, thin
from tests.faults.kept import objects

_READY = "ready-"


class States:
    """Prepared below ``folder`` when first asked for, from the state that each builds on; what is there whole is taken as it is."""

    def __init__(self, line: Path, folder: Path, thinned: bool) -> None:
        self.line, self.folder, self.thinned = line, folder, thinned

    def get(self, name: str) -> Path:
        """The clone's path."""
        before, make = _STATES[name]
        target = self.folder / f"state-{name}{'-thinned' if self.thinned else ''}"
        repo = target / self.line.name
        if not (target / f"{_READY}{name}").exists():
            source = self.get(before) if before else self.line
            shutil.rmtree(target, ignore_errors=True)
            copy(source, target)
            (target / f"{_READY}{before}").unlink(missing_ok=True)
            make(self, repo)
            (target / f"{_READY}{name}").touch()
        return repo


def _feed(repo: Path, subject: str) -> None:
    rows = [
        {"instruction": f"What is {subject} number {i}?", "output": f"It is {subject}{i}."}
        for i in range(6)
    ]
    (repo / f"data/conversations/{subject}.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )


def _line(states: States, repo: Path) -> None:
    must(repo, "luna", "seal")  # completes a line that was made by an older Luna
    if states.thinned:
        thin(repo)


def _fed(states: States, repo: Path) -> None:
    _feed(repo, "kill")


def _built(states: States, repo: Path) -> None:
    must(repo, "luna", "new")
    must(repo, "dvc", "repro")


def _changed(states: States, repo: Path) -> None:
    edit(repo, r"min_probes: (\w+)", lambda match: f"min_probes: {6 if match[1] == '5' else 5}")


def _overtaken(states: States, repo: Path) -> None:
    """Another clone with the same cold storage has sealed the number, on the git remote that both share."""
    origin, other = repo.parent / "origin.git", repo.parent / "other"
    line = states.get("line")
    must(line, "git", "clone", "--quiet", "--mirror", str(line), str(origin))
    clone = copy(line, other)
    _feed(clone, "rival")
    must(clone, "luna", "new")
    must(clone, "dvc", "repro")
    for repository in (repo, clone):
        must(repository, "git", "remote", "add", "origin", str(origin))
        must(repository, "git", "config", "luna.pushRemote", "origin")
        must(repository, "luna", "init")
        must(
            repository,
            "dvc",
            "remote",
            "modify",
            "--local",
            "cold",
            "url",
            str(repo.parent / "cold"),
        )
    must(clone, "luna", "seal")
    shutil.rmtree(other)


def _ruled(states: States, repo: Path) -> None:
    keep(repo, "all" if states.thinned else "head")


def _bare(states: States, repo: Path) -> None:
    shutil.rmtree(repo / ".dvc/cache")


def _damaged(states: States, repo: Path) -> None:
    """Something for each kind of mending: objects in cold storage and in the cache, tags, the ledger, the record in cold storage."""
    names = sorted(objects(repo.parent / "cold").keys() & objects(repo / ".dvc/cache").keys())
    flipped, lost, cut = (names[len(names) * part // 4] for part in (1, 2, 3))
    stored, cached = repo.parent / "cold/files/md5", repo / ".dvc/cache/files/md5"
    content = bytearray(_of(stored, flipped).read_bytes())
    content[len(content) // 2] ^= 1
    _replace(_of(stored, flipped), bytes(content))
    _of(stored, lost).unlink()
    _replace(_of(cached, cut), _of(cached, cut).read_bytes()[:-1])
    generation = next(tag for tag in must(repo, "git", "tag").splitlines() if "-G002-" in tag)
    must(repo, "git", "-c", "core.hooksPath=/dev/null", "tag", "-d", generation)
    must(
        repo,
        "git",
        "-c",
        "core.hooksPath=/dev/null",
        "tag",
        "-f",
        "-a",
        "-m",
        "moved",
        "luna@v1.0.0",
        "main",
    )
    ledger = (repo / "lineage.csv").read_bytes()
    _replace(repo / "lineage.csv", ledger.replace(b"\n", b"\r\n"))
    entry = sorted((repo.parent / "cold/luna-record").glob("*.json"))[1]
    _replace(entry, entry.read_bytes()[:-2])


def _of(folder: Path, name: str) -> Path:
    return folder / name[:2] / name[2:]


def _replace(path: Path, content: bytes) -> None:
    """As a new file: it may be a hard link to another copy, which stays whole."""
    path.unlink()
    path.write_bytes(content)


_STATES = {
    "line": ("", _line),
    "fed": ("line", _fed),
    "built": ("fed", _built),
    "changed": ("built", _changed),
    "overtaken": ("built", _overtaken),
    "ruled": ("line", _ruled),
    "bare": ("line", _bare),
    "damaged": ("line", _damaged),
}
