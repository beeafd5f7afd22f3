"""A finding of the audit: what is wrong, where, and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass

DAMAGE = "damage"  # a promise is broken: exit code 1
NOTE = "note"  # worth knowing, and no promise is broken

REPAIR = "luna repair"
FROM_REMOTE = "luna repair (from a git remote or another clone)"

# kinds: what a repair goes by
OBJECT = "object"  # bytes in the cache or in a cold storage; ``object`` is the MD5 that names them
TAG = "tag"
STRAY = "stray reference"
HEAD = "head"
BRANCH = "branch"
REFERENCES = "references"  # git's own file of references
SHALLOW = "shallow clone"  # nothing can be said of what lies behind the cut
GIT_OBJECT = "git object"
RECORD = "record"
COLD_RECORD = "record in cold storage"
COLD_STORE = (
    "cold storage"  # away, lost, or another line's: nothing is read from it or written to it
)
COLD_GIT = "git objects in cold storage"
LEDGER = "ledger"
ALTERED = "altered row"  # a past row of the ledger, in history: a correction puts it back
WORKSPACE = "workspace file"
CONTENT = "content"  # what a sealed file says; nothing can mend a sealed contradiction
SIGNATURE = "signature"


@dataclass(frozen=True)
class Finding:
    """``where``: git, workspace, cache, or the name of a cold storage. ``object``: the tag, path or hash concerned."""

    kind: str
    where: str
    object: str
    generation: str | None
    what: str
    mend: str = REPAIR
    severity: str = DAMAGE

    @property
    def sentence(self) -> str:
        """Where, what object, of which generation, and what is wrong with it."""
        return f"{self.where}: {self.object}{f' ({self.generation})' if self.generation and self.generation != self.object else ''}: {self.what}"
