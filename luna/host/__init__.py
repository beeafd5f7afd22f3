"""What a host application imports: typed results, nothing printed, no training in its process."""

from luna.host.age import AgeUp, age_up
from luna.host.keep import restore_snapshot, snapshot, snapshots
from luna.operations.snapshot import Kept, Snapshot

__all__ = ["AgeUp", "Kept", "Snapshot", "age_up", "restore_snapshot", "snapshot", "snapshots"]
