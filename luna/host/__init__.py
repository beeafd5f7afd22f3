"""What a host application calls: results are typed, nothing is printed, and the host's own process neither trains nor holds a lock for long."""

from luna.host.age import AgeUp, age_up
from luna.host.keep import restore_snapshot, snapshot, snapshots
from luna.operations.snapshot import Kept, Snapshot

__all__ = ["AgeUp", "Kept", "Snapshot", "age_up", "restore_snapshot", "snapshot", "snapshots"]
