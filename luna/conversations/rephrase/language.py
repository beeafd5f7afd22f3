"""Which language questions are in, judged by all of them together."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MOST = 20_000  # characters that are read; more would not change the verdict
_KANA = re.compile(r"[\u3041-\u30ff]")


def of_all(texts: Iterable[str]) -> str:
    """The language (ISO 639-1) of the texts as a whole: a single question is too short to tell."""
    import py3langid

    whole = "\n".join(texts)[:_MOST]
    if len(_KANA.findall(whole)) * 10 > len(whole):
        return "ja"  # kana are in no other language, whatever names stand between them
    language: str = py3langid.classify(whole)[0]
    return language
