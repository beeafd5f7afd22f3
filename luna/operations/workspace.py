"""Compares the workspace with the tip of the line before a generation is started.

An experiment ('dvc exp run', 'dvc repro' with other params), a checkout of another generation's files or an edit leaves
results in the workspace that no seal made. They are put back to the tip; what was there is kept in git under
refs/quarantine/workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luna import artifacts, ledger, sealed_parameters
from luna.errors import InputError, StateError
from luna.history import past
from luna.history.line import Line
from luna.params import Params
from luna.repo.git import ZERO, Git, Update

#: What the pipeline writes: nobody's own work, and made again by the next run.
RESULTS = (artifacts.MODELS, artifacts.LOCK, artifacts.LEDGER)
_KEPT = "refs/quarantine/workspace"
_SHOWN = 3
_REPAIR = "run 'luna repair', which corrects it in a commit of its own"


def require_true_ledger(line: Line) -> str:
    """The git object of the sealed ledger, with which the tip's begins. Raises StateError naming row and column where it does not."""
    git, sealed = line.git, past.ledger_of_seals(line.git, line.sealed)
    newest = f"{line.sealed[max(line.sealed)].commit}:{artifacts.LEDGER}"
    at_seal, at_tip = (
        (text or b"").decode("utf-8", "replace")
        for text in git.cat([newest, f"HEAD:{artifacts.LEDGER}"])
    )
    if wrong := ledger.altered_rows(sealed, at_tip):
        raise StateError(
            f"{artifacts.LEDGER} at the tip of the branch is not the sealed one ({_listed(wrong)}): {_REPAIR}; nothing was changed."
        )
    if at_seal == sealed:
        return git.resolve(newest)
    # A seal has altered a past row, and a correction has put it back.
    return git.text("hash-object", "-w", "--stdin", stdin=sealed.encode())


def require_own_params(line: Line, settings: Params) -> None:
    """Raises StateError where params.yaml came from another generation than the tip's."""
    at_tip, now = _at_tip(line.git), settings.generation.name
    if at_tip and line.sealed and now != at_tip.generation.name:
        raise StateError(
            f"{artifacts.PARAMS} names {now or 'no generation'}, and at the tip of the branch {at_tip.generation.name}: the file is another generation's. "
            f"Put it back ('git restore --staged --worktree {artifacts.PARAMS}'), make your own changes in it again, then run the same command; nothing was changed."
        )


def of_another(line: Line, settings: Params) -> str | None:
    """What differs where another generation's files were brought here ('git checkout TAG -- .'); None where params.yaml is the tip's own."""
    at_tip = _at_tip(line.git)
    now = settings.generation.name
    if at_tip is None or now == at_tip.generation.name:
        return None
    changed = line.git.changed()
    return f"these files are of {now or 'another commit'} and not of {at_tip.generation.name}, which is checked out: {_listed(changed)}"


def changed_settings(line: Line, settings: Params) -> list[str]:
    """Each setting that differs from the tip's, in words; the next generation is built by it."""
    at_tip = _at_tip(line.git)
    if at_tip is None:
        return []
    was, now = (dict(_flat(item.model_dump(mode="json"))) for item in (at_tip, settings))
    return [
        f"{key} is {now.get(key)} ({was.get(key)} at the tip)"
        for key in dict.fromkeys([*was, *now])
        if was.get(key) != now.get(key) and not key.startswith("generation.")
    ]


def put_back(root: Path, line: Line, say: Callable[[str], None]) -> list[str]:
    """Results that are not the tip's become the tip's, and are named. Returns their paths."""
    git = line.git
    wrong = _differing(git)
    if not wrong:
        return []
    number = 0
    while git.try_resolve(f"{_KEPT}/{number}"):
        number += 1
    present = [path for path in wrong if (root / path).exists()]
    kept = git.commit_tree(
        git.tree_with(wrong), git.resolve("HEAD"), "Results that were put back to the tip\n"
    )
    git.update([Update(f"{_KEPT}/{number}", kept, ZERO)], "luna new: put back")
    known = [path for path in wrong if git.try_resolve(f"HEAD:{path}")]
    for path in present:
        if path not in known:
            (root / path).unlink()
    git.write_files("HEAD", known)
    git.run("reset", "--quiet", "HEAD", "--", *wrong)
    for sentence in _ledger_words(git, kept):
        say(f"{artifacts.LEDGER}: {sentence}; the sealed row is kept")
    say(
        f"put back to the tip, because no seal made them: {_listed(wrong)} (see what was there: git diff HEAD {_KEPT}/{number})"
    )
    return wrong


def _differing(git: Git) -> list[str]:
    """Tracked results that differ from HEAD's, those gone or staged included."""
    listed = git.run(
        "diff", "--no-renames", "--name-only", "-z", "HEAD", "--", *map(str, RESULTS)
    ).decode("utf-8", "surrogateescape")
    return [path for path in listed.split("\0") if path]


def _ledger_words(git: Git, kept: str) -> list[str]:
    was, now = git.cat([f"HEAD:{artifacts.LEDGER}", f"{kept}:{artifacts.LEDGER}"])
    if was is None:
        return []
    if now is None:
        return ["it was gone"]
    return ledger.differences(was.decode("utf-8", "replace"), now.decode("utf-8", "replace"))[
        :_SHOWN
    ]


def _at_tip(git: Git) -> Params | None:
    """None where it cannot be read."""
    text = git.show("HEAD", artifacts.PARAMS)
    try:
        return None if text is None else sealed_parameters.parse(text, "params.yaml")
    except InputError:
        return None


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else name)
    else:
        yield key, value


def _listed(items: list[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
