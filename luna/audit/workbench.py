"""What every repair of git needs: the repository, its record and the quarantine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from luna.audit.picture import Picture
from luna.repo.git import Git
from luna.storage.cold import Store


@dataclass
class Bench:
    """What a repair works with. ``sources``: bare copies of what git remotes and cold storage hold, fetched when first asked for."""

    root: Path
    git: Git
    picture: Picture
    stores: list[Store]
    building: str | None
    dry: bool
    scratch: Path
    sources: list[Path] | None = field(default=None)
