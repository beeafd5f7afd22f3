"""The content of an annotated tag's object, as git writes it: made and read here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

_SIGNATURE = "-----BEGIN "


def body(name: str, commit: str, tagger: str, message: str) -> str:
    """A tag object on a commit, without a signature; ``tagger`` with time and zone, as git names a committer."""
    return f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message.rstrip()}\n"


def fields(message: str) -> dict[str, str]:
    """``Key: value`` lines of a message."""
    return dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", message, re.MULTILINE))


@dataclass(frozen=True)
class TagBody:
    """``object``: what the tag names; ``name``: for which tag the object was made; ``tagger``: the header's own words."""

    object: str
    name: str
    tagger: str
    message: str

    @classmethod
    def of(cls, content: str | bytes | None) -> TagBody:
        """From a tag object's content; what is missing in it is empty."""
        if not isinstance(content, str):
            content = (content or b"").decode("utf-8", "replace")
        head, _, message = content.partition("\n\n")
        rows = dict(row.partition(" ")[::2] for row in reversed(head.split("\n")))
        return cls(rows.get("object", ""), rows.get("tag", ""), rows.get("tagger", ""), message)

    @property
    def text(self) -> str:
        """The message without its signature, which differs from tag to tag."""
        return self.message.partition(_SIGNATURE)[0]

    @cached_property
    def fields(self) -> dict[str, str]:
        """``Key: value`` lines of the message."""
        return fields(self.message)

    @property
    def who(self) -> str:
        """Name and address of whoever made it."""
        who, _, _ = self.tagger.rpartition("> ")
        return who + ">" if who else "unknown"

    @property
    def when(self) -> str | None:
        """UTC, ISO 8601; None where it does not say."""
        try:
            seconds = int(self.tagger.rpartition("> ")[2].split(" ")[0])
            return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        except (ValueError, OverflowError, OSError):
            return None
