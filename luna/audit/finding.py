"""A finding of the audit: a problem, where it is, and the details."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from luna.audit.problem import Kind, Problem, Severity


class Site(Enum):
    """What kind of place a copy lies in."""

    GIT = "git"
    WORKSPACE = "workspace"
    CACHE = "cache"
    COLD = "cold storage"


@dataclass(frozen=True)
class Where:
    """A place: git, the workspace, the cache, or the cold storage that is named ``store``."""

    site: Site
    store: str | None = None

    def __str__(self) -> str:
        return f"{self.site.value} '{self.store}'" if self.store else self.site.value


GIT, WORKSPACE, CACHE = Where(Site.GIT), Where(Site.WORKSPACE), Where(Site.CACHE)


def cold(store: str) -> Where:
    """The cold storage of this name."""
    return Where(Site.COLD, store)


@dataclass(frozen=True)
class Finding:
    """``object``: the tag, path or hash concerned. ``details`` are what the problem's words name; ``remedy`` goes before its own."""

    problem: Problem
    where: Where
    object: str
    generation: str | None = None
    details: tuple[Any, ...] = ()
    remedy: str | None = None

    @property
    def kind(self) -> Kind:
        """What is concerned."""
        return self.problem.kind

    @property
    def severity(self) -> Severity:
        """Whether a promise is broken."""
        return self.problem.severity

    @property
    def what(self) -> str:
        """What is wrong."""
        return self.problem.words.format(*self.details)

    @property
    def mend(self) -> str:
        """The command that mends it, or why none does."""
        return self.problem.mend if self.remedy is None else self.remedy

    @property
    def sentence(self) -> str:
        """Where, what object, of which generation, and what is wrong with it."""
        of = f" ({self.generation})" if self.generation not in (None, self.object) else ""
        return f"{self.where}: {self.object}{of}: {self.what}"

    def as_json(self) -> dict[str, str | None]:
        """As ``--json`` gives it."""
        return {
            "kind": self.kind,
            "where": str(self.where),
            "object": self.object,
            "generation": self.generation,
            "what": self.what,
            "mend": self.mend,
            "severity": self.severity,
        }
