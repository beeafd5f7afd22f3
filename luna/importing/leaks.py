"""Likely secrets in conversations, by detect-secrets: reported, never dropped, and never printed.

Its rules for tokens of known services, private keys and passwords beside their name; not those that only measure
entropy, which take identifiers and hashes in ordinary chats for secrets. It looks at a line only where a cheap
pattern says that there may be something, since it needs a millisecond a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

_PLUGINS = (
    "ArtifactoryDetector",
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "BasicAuthDetector",
    "DiscordBotTokenDetector",
    "GitHubTokenDetector",
    "GitLabTokenDetector",
    "JwtTokenDetector",
    "KeywordDetector",
    "MailchimpDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PrivateKeyDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "SquareOAuthDetector",
    "StripeDetector",
    "TelegramBotTokenDetector",
    "TwilioKeyDetector",
)
_SETTINGS: dict[str, Any] = {
    "plugins_used": [{"name": name} for name in _PLUGINS],
    "filters_used": [
        {"path": f"detect_secrets.filters.heuristic.{name}"}
        for name in ("is_templated_secret", "is_sequential_string", "is_not_alphanumeric_string")
    ],
}
#: What names a password or a key: quickly looked for, and then more closely.
_STEMS = ("passw", "pwd", "secret", "contrase", "-----begin", "key", "_pass", "dbpass")
_NAMED = re.compile(r"(?:passw|pwd|secret|contrase|key|pass)\w*\W{0,4}[:=]|-----begin")
_DIGIT = re.compile(r"\d")
_LONG = 20  # characters of a word that may be a token
_SHORTEST = 6  # characters of a password, with a digit in it, that is told from other words
_BATCH = (
    500  # lines that are looked at together, since the library takes half a millisecond to begin
)
MOST_LINES = 50_000  # that are looked at
_LISTED = 20  # places


class Leaks:
    """Conversations as they come. After ``finish``: ``kinds`` counts conversations by the kind of secret, ``where`` lists the first.

    ``complete`` is False where there were too many lines to look at.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.where: list[str] = []
        self.complete = True
        self._waiting: list[tuple[str, list[str]]] = []
        self._lines = self._in_batch = 0

    def add(self, texts: Iterable[str], where: str) -> None:
        """The messages of one conversation, and where it stands."""
        lines = [
            line for text in texts if perhaps(text) for line in text.splitlines() if perhaps(line)
        ]
        if not lines or not self.complete:
            return
        self._waiting.append((where, lines))
        self._in_batch += len(lines)
        if self._in_batch >= _BATCH:
            self.finish()

    def finish(self) -> None:
        """Look at what is waiting."""
        from detect_secrets.settings import transient_settings

        waiting, self._waiting, self._in_batch = self._waiting, [], 0
        if not waiting:
            return
        with transient_settings(_SETTINGS):
            for where, lines in waiting:
                kinds = _kinds(lines)
                self.kinds.update(kinds)
                if kinds and len(self.where) < _LISTED:
                    self.where.append(where)
        self._lines += sum(len(lines) for _, lines in waiting)
        self.complete = self._lines <= MOST_LINES


def perhaps(text: str) -> bool:
    """Whether it is worth to look closely: quick, and true too often rather than too seldom."""
    lower = text.lower()
    return (
        (any(stem in lower for stem in _STEMS) and _NAMED.search(lower) is not None)
        or ("://" in text and "@" in text)
        or any(
            len(word) >= _LONG and not word.startswith(("http", "www.")) and _DIGIT.search(word)
            for word in text.split()
        )
    )


def _kinds(lines: list[str]) -> set[str]:
    from detect_secrets.core.scan import scan_line
    from detect_secrets.plugins.keyword import KeywordDetector

    lines = [line[:10_000] for line in lines]
    kinds = {secret.type for line in lines for secret in scan_line(line)}
    # In a chat nobody puts a password into quotes, which the library asks for but in files of settings.
    keyword = KeywordDetector()
    for line in lines:
        for secret in keyword.analyze_line(filename="chat.ini", line=line):
            value = (secret.secret_value or "").split()
            if value and len(value[0]) >= _SHORTEST and _DIGIT.search(value[0]):
                kinds.add(secret.type)
    return kinds
