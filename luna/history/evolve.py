"""luna evolve: the complete cycle, new -> repro -> seal, going on from wherever it was left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from luna import params, stage
from luna.errors import LunaError, Refused
from luna.history import new
from luna.history.line import read_line
from luna.history.seal import Sealed, seal


def reproduce(root: Path) -> None:
    """Run the pipeline. Raises the failing stage's own error; its sentence has been printed by the stage."""
    failure = root / stage.FAILURE
    failure.unlink(missing_ok=True)
    # 'python' in the stages' commands must be this one, also when the environment is not activated.
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=root, env=env)
    if done.returncode == 0:
        return
    if failure.exists():
        told = json.loads(failure.read_text(encoding="utf-8"))
        kind = Refused if told["exit_code"] == Refused.exit_code else LunaError
        raise kind(told["message"])
    raise LunaError("The pipeline stopped before its end (see above): mend the cause, then run 'luna evolve' again; it goes on from there.")


def one(root: Path, say: Callable[[str], None]) -> Sealed:
    """Build and seal one generation: the unfinished one where there is one, else the next."""
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    name = new.building(settings, line)
    if name is None:
        name = str(new.start(root))
        say(f"{name} is started")
    else:
        new.require_tip(line)
        say(f"{name} is gone on with")
    reproduce(root)
    say(f"{name}: sealing")
    return seal(root)


def evolve(root: Path, most: int, say: Callable[[str], None]) -> list[Sealed]:
    """Build up to ``most`` generations; generation 0, where there is none, comes beside them.

    Raises:
        InputError: there is nothing new to learn and nothing was built.
    """
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    built: list[Sealed] = []
    if not line.sealed:
        built.append(one(root, say))
    for _ in range(most):
        line = read_line(root, settings.line.prefix)
        current = params.load(root)
        if built and new.building(current, line) is None and not new.pending(root, line).conversations:
            break
        built.append(one(root, say))
        if not built[-1].promoted:
            break  # the next try needs other data or other settings; doing the same again would be mood
    return built
