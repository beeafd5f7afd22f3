"""`luna new`: checks what could go wrong, then starts the next generation.

Name and parent go into params.yaml, all that is decided into models/build.json; results in the workspace that no seal
made are put back to the tip first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from luna import artifacts, params
from luna.conversations import batches, inbox, probes, questions, schema, taught
from luna.conversations.batches import Waiting
from luna.conversations.schema import Conversation
from luna.errors import InputError, StateError
from luna.history import build as builds
from luna.history import keyframes
from luna.history.build import Build, MergeRule
from luna.history.line import Line, read_line, sealed_params
from luna.history.tip import building, require_tip
from luna.model import base
from luna.names import BASE_PARENT, GenerationName
from luna.operations import foreseen, preflight, workspace
from luna.repo.supported import require_can_seal, require_supported

#: Where a user's own changes are welcome between two generations; elsewhere they must be committed first.
OWN_CHANGES = (
    "data/",
    "evals/probes/",
    "evals/ability/",
    "models/",
    "params.yaml",
    "dvc.lock",
    "lineage.csv",
)


@dataclass(frozen=True)
class Pending:
    """Conversations not seen by the head's line, and their karma; ``next`` of them, out of ``folder``, are the next generation's."""

    conversations: int
    karma: float
    next: int
    folder: str | None


def conversations(root: Path) -> list[Conversation]:
    """What is in data/conversations and in the inbox, learnt or not. Raises InputError for a malformed one, naming file and line."""
    return [
        *inbox.waiting(root),
        *batches.read(root / artifacts.CONVERSATIONS, params.load(root).data),
    ]


def waiting(root: Path, line: Line) -> Waiting:
    """What is to be learnt, the inbox included. Raises InputError for a malformed conversation, naming file and line."""
    seen: set[str] = set()
    if line.head_name:
        text = line.git.show(f"refs/tags/{line.head_name}", artifacts.TAUGHT)
        seen = {row.identity for row in taught.loads((text or b"").decode())}
    return batches.waiting(
        root / artifacts.CONVERSATIONS, params.load(root).data, seen, inbox.waiting(root)
    )


def pending(root: Path, line: Line) -> Pending:
    """As ``waiting``, in numbers."""
    return counted(waiting(root, line))


def counted(waiting: Waiting) -> Pending:
    """How much waits to be learnt."""
    both = [*waiting.next, *waiting.later]
    return Pending(
        len(both), math.fsum(item.karma for item in both), len(waiting.next), waiting.folder
    )


def start(
    root: Path,
    replace: bool = False,
    say: Callable[[str], None] = lambda text: None,
    exports: bool = True,
    trains: bool = True,
) -> GenerationName:
    """Check everything, then write models/build.json and params.yaml; nothing is changed when a check fails.

    ``exports`` False: another machine exports; ``trains`` False: another machine trains. Their needs are not checked here.

    Raises:
        StateError: a generation is being built already (``replace`` gives it up), the branch is not
            the line's tip or its ledger not the sealed one, params.yaml is another generation's, git cannot seal here
            (luna.repo.supported), files outside data and params.yaml have uncommitted changes, or disk or memory do not suffice.
        InputError: params or conversations are malformed, or there is nothing new to learn.
        BaseModelError: the base is missing or is no causal chat model.
        ColdStorageError: cold storage does not answer, or does not hold the parent.
    """
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    require_supported(line.git)
    require_can_seal(line.git)
    if (unfinished := building(settings, line)) and not replace:
        raise StateError(
            f"{unfinished} is still being built: finish it with 'dvc repro' and 'luna seal', or abandon it with 'luna new --replace'."
        )
    require_tip(line)
    foreign = [path for path in line.git.changed() if not path.startswith(OWN_CHANGES)]
    if foreign:
        raise StateError(
            f"{foreign[0]} has uncommitted changes: commit or stash them, so that the generation records the code that built it."
        )
    if not line.sealed:  # afterwards the line keeps its base itself, and its source may be gone
        base.check(settings.base)
        _look_into_base(root, settings, say)
    head, sealed_ledger = line.head_name, None
    if line.sealed:
        if head is None:
            raise StateError(
                "The head tag is missing or names no generation: run 'luna seal' to restore it."
            )
        if not unfinished:
            workspace.require_own_params(line, settings)
        sealed_ledger = workspace.require_true_ledger(line)
        _require_same_base(line, head, settings)
        if not pending(root, line).conversations:
            raise InputError(
                "There is nothing new to learn: add conversations to data/conversations, then run the command again."
            )
    batch = waiting(root, line)
    build = _decide(root, line, head or BASE_PARENT, sealed_ledger, batch)
    questions.load(root / artifacts.GENERAL_QUESTIONS)
    written = probes.curated(root / artifacts.CURATED_PROBES)
    for sentence in foreseen.sentences(root, line, settings, batch, written):
        say(sentence)
    say(preflight.require(root, settings, line, conversations(root), exports, trains).sentence)
    for sentence in workspace.changed_settings(line, settings):
        say(f"params.yaml: {sentence}")
    workspace.put_back(root, line, say)
    inbox.take_in(root)
    batches.remove_old_list(root)
    begin(root, line, build)
    return GenerationName.parse(build.name)


def _look_into_base(root: Path, settings: params.Params, say: Callable[[str], None]) -> None:
    """Whether a folder can become the base of all that waits to be taught. A hub's is looked into once it is there."""
    folder = base.local_folder(settings.base)
    if folder is None:
        return
    from luna.export import (
        base_check,
    )  # it loads transformers, which no later generation needs here

    looked = base_check.look(
        folder, root / artifacts.SCRATCH, conversations(root), settings.chat.system_prompt
    )
    for sentence in looked.sentences:
        say(sentence)


def _decide(
    root: Path, line: Line, parent: str, sealed_ledger: str | None, batch: Waiting
) -> Build:
    """What is built on ``parent``; ``sealed_ledger`` is the git object of the ledger."""
    # Generation 0 learns nothing: it is asked all waiting conversations and leaves them waiting.
    chosen, left = (
        (batch.next, batch.later)
        if line.sealed
        else (schema.distinct([*batch.next, *batch.later]), [*batch.next, *batch.later])
    )
    ancestors = builds.ancestors(line, parent)
    every = params.load(root).line.keyframe_every
    return Build(
        name=str(next_name(line)),
        parent=parent,
        head_move=max(line.assignments, default=0),
        ancestors=ancestors,
        ledger=sealed_ledger,
        conversations=tuple(item.identity for item in chosen),
        probes=tuple(item.conversation for item in probes.curated(root / artifacts.CURATED_PROBES)),
        karma_left=math.fsum(item.karma for item in left),
        folder=batch.folder if line.sealed else None,
        merge_rule=MergeRule.ONCE,
        keyframe=keyframes.choose(line, ancestors, every),
    )


def begin(root: Path, line: Line, build: Build) -> None:
    """Record the build, then name it in params.yaml: killed in between, it has not begun."""
    builds.write(root, build)
    # Tracked from now on, so that it reaches the temporary clones in which DVC runs queued experiments. What is tracked
    # already is left out of the index, and so of a person's own next commit.
    if not line.git.text("ls-files", "--", artifacts.BUILD.as_posix()):
        line.git.run("add", "--force", "--", artifacts.BUILD.as_posix())
    params.write_generation(root, build.name, build.parent)


def _require_same_base(line: Line, head: str, settings: params.Params) -> None:
    was = sealed_params(line.git, head).base
    if was != settings.base:
        raise InputError(
            f"params.yaml: base.source is '{settings.base.source}', but this line descends from '{was.source}': set it back, or start a new line in a fresh clone."
        )


def next_name(line: Line) -> GenerationName:
    """The next free number and the time now; a second after the newest generation if the clock was set back, so that names stay in order."""
    now = datetime.now(UTC).replace(microsecond=0)
    if line.newest:
        newest = datetime.strptime(
            GenerationName.parse(line.newest).stamp, "%Y%m%d-%H%M%S"
        ).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(seconds=1))
    return GenerationName.born(line.next_number, line.prefix, now)
