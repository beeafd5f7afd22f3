"""Luna: generations of a fine-tuned chat model that never overwrite history.

For a host application: ``from luna import age_up, snapshot``. What luna.host offers is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luna.host import AgeUp, Kept, Snapshot, age_up, restore_snapshot, snapshot, snapshots

__version__ = "0.1.0"
__all__ = ["AgeUp", "Kept", "Snapshot", "age_up", "restore_snapshot", "snapshot", "snapshots"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'luna' has no attribute {name!r}")
    from luna import host

    return getattr(host, name)
