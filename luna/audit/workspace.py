"""Checks the files of the generation that is checked out against what was sealed."""

from __future__ import annotations

from luna import artifacts, ledger
from luna.audit.finding import WORKSPACE, Finding
from luna.audit.picture import Picture
from luna.audit.problem import Problem
from luna.errors import InputError
from luna.repo import interrupted, settings

_LOCK = artifacts.LOCK.as_posix()


def check(picture: Picture, building: str | None) -> list[Finding]:
    """While a generation is being built its results differ, but the ledger's past rows never do."""
    git = picture.git
    if git.try_resolve("HEAD^{tree}") is None:
        return []
    findings = _scratch(picture) + _settings(picture) + _ledger(picture, building)
    if building and not interrupted.is_whole_lockfile(git.root / artifacts.LOCK):
        findings.append(Finding(Problem.HERE_LOCK_CUT, WORKSPACE, _LOCK))
    if building is None:
        listed = git.text(
            "ls-tree",
            "-r",
            "--full-tree",
            "HEAD",
            "--",
            artifacts.MODELS.as_posix(),
            _LOCK,
            check=False,
        )
        ids = {
            path: head.split(" ")[2]
            for head, _, path in (row.partition("\t") for row in listed.splitlines())
        }
        present = [
            path
            for path in ids
            if (git.root / path).is_file() and not (git.root / path).is_symlink()
        ]
        hashed = (
            git.text(
                "hash-object",
                "--stdin-paths",
                stdin="".join(f"{path}\n" for path in present).encode(),
                check=False,
            ).splitlines()
            if present
            else []
        )
        now = dict(zip(present, hashed, strict=False))
        for path, sealed in ids.items():
            if now.get(path) == sealed:
                continue
            if (git.root / path).is_dir():
                findings.append(Finding(Problem.HERE_FOLDER, WORKSPACE, path))
                continue
            if path not in now:
                problem = Problem.HERE_GONE
            else:
                problem = Problem.HERE_LOCK_OTHER if path == _LOCK else Problem.HERE_OTHER
            remedy = f"luna repair (or 'git restore {path}')"
            findings.append(Finding(problem, WORKSPACE, path, None, (), remedy))
    return findings


def _scratch(picture: Picture) -> list[Finding]:
    """Where Luna's lock lies: no command that changes anything can begin without that folder."""
    if not (picture.git.root / artifacts.SCRATCH).is_file():
        return []
    return [Finding(Problem.HERE_FILE, WORKSPACE, artifacts.SCRATCH.as_posix())]


def _settings(picture: Picture) -> list[Finding]:
    """A file that is gone is damage; one that a person is changing is worth a note."""
    now = settings.read(picture.git.root)
    if now.wrong is None or now.committed:
        return []
    name = artifacts.PARAMS.as_posix()
    if (picture.git.root / name).is_dir():
        return [Finding(Problem.HERE_FOLDER, WORKSPACE, name)]
    remedy = now.remedy or ""
    if now.gone:
        remedy = f"luna repair (or '{remedy}')"
        return [Finding(Problem.HERE_GONE, WORKSPACE, name, None, (), remedy)]
    return [Finding(Problem.HERE_SETTINGS, WORKSPACE, name, None, (now.wrong,), remedy)]


def _ledger(picture: Picture, building: str | None) -> list[Finding]:
    path = picture.git.root / artifacts.LEDGER
    [sealed] = picture.read([f"HEAD:{artifacts.LEDGER}"])
    if sealed is None:
        return []
    if path.is_dir():
        return [Finding(Problem.HERE_FOLDER, WORKSPACE, artifacts.LEDGER.as_posix())]
    expected = sealed.decode("utf-8", "replace")
    now = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    if now == expected or (building and now.startswith(expected) and _one_row_more(expected, now)):
        return []
    in_commit = (
        ["the ledger is gone"]
        if not path.is_file()
        else ledger.differences(expected, now)
        if not building
        else ledger.differences(expected, _first_lines(now, expected))
    )
    more = f"; and {len(in_commit) - 3} more" if len(in_commit) > 3 else ""
    what = ("; ".join(in_commit[:3]) + more,)
    ledger_path = artifacts.LEDGER.as_posix()
    return [Finding(Problem.LEDGER_HERE, WORKSPACE, ledger_path, None, what)] if in_commit else []


def _one_row_more(expected: str, now: str) -> bool:
    try:
        return len(ledger.loads(now)) - len(ledger.loads(expected)) in (0, 1)
    except InputError:
        return False


def _first_lines(now: str, expected: str) -> str:
    return "".join(now.splitlines(keepends=True)[: len(expected.splitlines())])
