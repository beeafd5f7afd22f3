"""What is known of a build while it runs, whoever started it: stage, step, loss, memory, time left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from luna.repo.running import running


def build(root: Path) -> dict[str, Any] | None:
    """As 'luna status' has it; None where no build runs in this folder."""
    now = running(root)
    return asdict(now) | {"sentence": now.sentence} if now else None
