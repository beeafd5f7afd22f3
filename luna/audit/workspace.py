"""Checks the files of the generation that is checked out against what was sealed."""

from __future__ import annotations

from luna import artifacts, ledger
from luna.audit.finding import LEDGER, NOTE, WORKSPACE, Finding
from luna.audit.picture import Picture
from luna.errors import InputError
from luna.repo import interrupted, settings


def check(picture: Picture, building: str | None) -> list[Finding]:
    """While a generation is being built its results differ, but the ledger's past rows never do."""
    git = picture.git
    if git.resolve("HEAD^{tree}") is None:
        return []
    findings = _settings(picture) + _ledger(picture, building)
    if building and not interrupted.is_whole_lockfile(git.root / artifacts.LOCK):
        findings.append(
            Finding(
                WORKSPACE,
                "workspace",
                artifacts.LOCK.as_posix(),
                None,
                "it was cut short",
                "luna repair, or luna evolve, which goes on from what it was before",
            )
        )
    if building is None:
        paths = {
            artifacts.LOCK.as_posix(): "it is not as it was sealed; DVC would take other files for this generation's"
        }
        listed = git.text(
            "ls-tree",
            "-r",
            "--full-tree",
            "HEAD",
            "--",
            artifacts.MODELS.as_posix(),
            artifacts.LOCK.as_posix(),
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
            if now.get(path) != sealed:
                state = (
                    "is gone" if path not in now else paths.get(path, "it is not as it was sealed")
                )
                findings.append(
                    Finding(
                        WORKSPACE,
                        "workspace",
                        path,
                        None,
                        state,
                        f"luna repair (or 'git restore {path}')",
                    )
                )
    return findings


def _settings(picture: Picture) -> list[Finding]:
    """A file that is gone is damage; one that a person is changing is worth a note."""
    now = settings.read(picture.git.root)
    if now.wrong is None or now.committed:
        return []
    name = artifacts.PARAMS.as_posix()
    remedy = now.remedy or ""
    if now.gone:
        return [
            Finding(
                WORKSPACE, "workspace", name, None, "it is gone", f"luna repair (or '{remedy}')"
            )
        ]
    return [Finding(WORKSPACE, "workspace", name, None, now.wrong, remedy, NOTE)]


def _ledger(picture: Picture, building: str | None) -> list[Finding]:
    path = picture.git.root / artifacts.LEDGER
    [sealed] = picture.read([f"HEAD:{artifacts.LEDGER}"])
    if sealed is None:
        return []
    expected = sealed.decode("utf-8", "replace")
    found = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
    if found == expected or (
        building and found.startswith(expected) and _one_row_more(expected, found)
    ):
        return []
    said = (
        ["the ledger is gone"]
        if not path.is_file()
        else ledger.differences(expected, found)
        if not building
        else ledger.differences(expected, _first_lines(found, expected))
    )
    more = f"; and {len(said) - 3} more" if len(said) > 3 else ""
    return (
        [
            Finding(
                LEDGER,
                "workspace",
                artifacts.LEDGER.as_posix(),
                None,
                "; ".join(said[:3]) + more,
                "luna repair (or 'git restore lineage.csv')",
            )
        ]
        if said
        else []
    )


def _one_row_more(expected: str, found: str) -> bool:
    try:
        return len(ledger.loads(found)) - len(ledger.loads(expected)) in (0, 1)
    except InputError:
        return False


def _first_lines(found: str, expected: str) -> str:
    return "".join(found.splitlines(keepends=True)[: len(expected.splitlines())])
