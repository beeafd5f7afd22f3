"""data/conversations/later.txt: what the generation being built leaves for a later one.

Written where a generation must be taught what it was taught before, although more conversations have come
meanwhile (see luna/history/renumber.py). It is sealed with the generation, so that the pipeline does the same
again at its tag, and the next 'luna new' takes it away: then all of them count.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from luna import artifacts, files


def read(root: Path) -> set[str]:
    """Identities (SHA-256 of the normalised content) that are not to be taught now."""
    path = root / artifacts.LATER
    return set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()


def write(root: Path, identities: Iterable[str]) -> None:
    """None of them: no file."""
    if rows := sorted(identities):
        files.write_text(root / artifacts.LATER, "".join(f"{row}\n" for row in rows))
    else:
        (root / artifacts.LATER).unlink(missing_ok=True)
