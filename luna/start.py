"""What every process of Luna settles first: whose repository it is, and UTF-8."""

from __future__ import annotations

import locale
import os
import sys

#: What 'git rev-parse --local-env-vars' lists, without the two that carry configuration ('git -c', GIT_CONFIG_COUNT):
#: a container or a CI gives safe.directory or a proxy so, and git hands them on to other repositories as well.
#: And the folder of a push that is not accepted yet, which goes with GIT_OBJECT_DIRECTORY.
GIT_VARIABLES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)


def prepare() -> None:
    """For the command and for every stage, before anything else: what it starts and imports inherits both.

    Where the locale is no UTF-8 and Python's UTF-8 mode was turned off, names of files and output could not be
    written; the mode is chosen when Python starts, so Python is started again, once.
    """
    for name in GIT_VARIABLES:
        os.environ.pop(name, None)
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
