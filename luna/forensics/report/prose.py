"""Turns Markdown of cards into safe HTML: no raw HTML, no links, no pictures."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_MAX_CHARACTERS = 200_000


@functools.cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Text from a conversation may look like Markdown or HTML: whatever could load or link is left as text.
    return (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .disable(["image", "link", "autolink", "html_inline", "html_block", "reference"])
    )


def as_html(text: str) -> str:
    """HTML of headings, lists, tables and emphasis; headings begin at the third level, since they stand inside a section."""
    body = _FRONT_MATTER.sub("", text)[:_MAX_CHARACTERS]
    html = _parser().render(body)
    return re.sub(
        r"<(/?)h([1-6])>", lambda match: f"<{match[1]}h{min(6, int(match[2]) + 2)}>", html
    )
