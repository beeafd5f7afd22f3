"""Fetches a model from a Hugging Face hub at one commit, in a process of its own.

huggingface_hub reads once, when it is imported, whether it may ask the network, and all else of Luna imports it offline.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from luna import ending
from luna.errors import BaseModelError

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def fetch(source: str, revision: str, patterns: Sequence[str]) -> Path:
    """The folder of the files whose names fit ``patterns``. A file that is cut goes on where it ended, and what has come whole is not asked for again.

    Raises BaseModelError where the hub has no such commit, or does not give all of it.
    """
    env = {name: value for name, value in os.environ.items() if name not in _OFFLINE}
    env["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(__file__).resolve().parents[2]), env.get("PYTHONPATH")])
    )
    command = [sys.executable, "-m", __name__, source, revision, *patterns]
    with ending.child(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        lines = process.stdout.read().splitlines() if process.stdout else []
    answer = json.loads(lines[-1]) if lines else {"failed": "it was ended"}
    if "folder" in answer:
        return Path(answer["folder"])
    if "lacks" in answer:
        raise BaseModelError(
            f"The hub has no {source} at revision {revision}: check base.source and base.revision in params.yaml."
        )
    raise BaseModelError(
        f"The hub did not give {source} ({answer['failed']}): check the network and run the same command again, which keeps the files that "
        "came whole; or set base.source to a local folder."
    )


def _main(source: str, revision: str, *patterns: str) -> None:
    """Print one line of JSON: the folder, or what went wrong."""
    import logging

    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    logging.disable(logging.WARNING)  # each try again would be a line
    try:
        answer = {
            "folder": snapshot_download(source, revision=revision, allow_patterns=list(patterns))
        }
    except (RepositoryNotFoundError, RevisionNotFoundError):
        answer = {"lacks": revision}
    except Exception as error:  # its network library has many kinds, which it does not all name
        answer = {"failed": type(error).__name__}
    print(json.dumps(answer))


if __name__ == "__main__":
    _main(*sys.argv[1:])
