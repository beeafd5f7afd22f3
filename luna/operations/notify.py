"""Runs the user's own command (`notify.command`) for each event of a build."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

_SECONDS = 30.0


def tell(root: Path, command: str | None, event: dict[str, Any]) -> str | None:
    """Run the command with the event as JSON on its standard input.

    Returns a sentence when it failed, None when it went well or there is none: a notice that does not
    arrive is no reason to stop growing.
    """
    if not command:
        return None
    try:
        words = shlex.split(command)
        done = subprocess.run(
            words,
            cwd=root,
            input=json.dumps(event),
            encoding="utf-8",
            errors="replace",
            capture_output=True,
            timeout=_SECONDS,
        )
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        return f"notify.command did not run ({error}); the build continues"
    return (
        f"notify.command ended with {done.returncode}; the build continues"
        if done.returncode
        else None
    )
