"""What a process of Luna's settles first: whose repository it works in, and that text is UTF-8."""

from __future__ import annotations

import locale
import os
import sys

from luna.repo.git import forget_callers_repository


def prepare() -> None:
    """For the command and for every stage, before anything else: what it starts and imports inherits both.

    Where the locale is no UTF-8 and Python's UTF-8 mode was turned off, names of files and output could not be
    written; the mode is chosen when Python starts, so Python is started again, once.
    """
    forget_callers_repository()
    if os.name == "posix" and not _is_utf8() and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_utf8() -> bool:
    return sys.flags.utf8_mode == 1 or (
        sys.getfilesystemencoding().lower() == "utf-8"
        and locale.getpreferredencoding(False).lower() == "utf-8"
    )
