"""Checks disk, memory and cold storage before a generation is started.

Disk, in bytes, with B the base in 16 bits, A the adapter in float32 and Q the quantised file:

* the workspace: the weights of parent and child (2 B), the 16-bit GGUF (B), Q, and three checkpoints (3 A each: adapter and
  Adam's moments), the third being written before the first is deleted;
* the cache: Q + A; the first time, and where a keyframe is made, B as well (and B more in the workspace, until it is a link);
* cold storage on a local disk: the same.

Needs on one file system are added up. The estimate of memory is in luna/training/memory.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from luna import artifacts
from luna.conversations.schema import Conversation
from luna.errors import ColdStorageError, InputError, StateError
from luna.history import build as builds
from luna.history import keyframes
from luna.history.line import Line, sealed_outs
from luna.model import base
from luna.names import GenerationName
from luna.operations import fitting
from luna.params import Params, Train
from luna.storage import cache, cold, config, objects
from luna.storage.cold import Store
from luna.training import environment, memory

MARGIN = 1.2  # more than the estimate must be free
_BITS = {
    "BF16": 16,
    "F16": 16,
    "Q8_0": 8.5,
    "Q6_K": 6.6,
    "Q5_K_M": 5.8,
    "Q4_K_M": 5.0,
}  # of a weight, https://github.com/ggml-org/llama.cpp/tree/master/tools/quantize
_MARKS = 16  # tokens around a message, at most
_GB = 1e9


@dataclass(frozen=True)
class Space:
    """What must be free on the file system of ``folder``, and what is free, in bytes."""

    folder: Path
    need: int
    free: int


@dataclass(frozen=True)
class Preflight:
    """``memory`` and ``gpu`` pair what is needed with what is free, in bytes; None where nothing is trained or the sizes are not known."""

    disks: list[Space]
    memory: tuple[int, int] | None
    gpu: tuple[int, int | None] | None
    parent: str | None
    too_little: str | None

    @property
    def sentence(self) -> str:
        """What is needed and what is free, for a person."""
        parts = [
            f"disk {', '.join(f'{space.need / _GB:.1f} of {space.free / _GB:.1f} GB free at {space.folder}' for space in self.disks)}"
        ]
        if self.memory:
            parts.append(f"memory {self.memory[0] / _GB:.1f} of {self.memory[1] / _GB:.1f} GB free")
        if self.gpu:
            parts.append(
                f"GPU {self.gpu[0] / _GB:.1f} of {'?' if self.gpu[1] is None else format(self.gpu[1] / _GB, '.1f')} GB free"
            )
        if self.parent:
            parts.append(
                f"{self.parent} and everything its weights are made of are in cold storage, and its row is in the ledger"
            )
        return "preflight: " + "; ".join(parts)


def require(
    root: Path,
    settings: Params,
    line: Line,
    conversations: list[Conversation],
    exports: bool = True,
    trains: bool = True,
) -> Preflight:
    """What the generation needs, when everything fits. ``exports`` False: another machine exports; ``trains`` False: another machine trains.

    Raises:
        InputError: params.yaml does not fit the base, or this machine, which is to train.
        StateError: the disk or the memory does not suffice, with the numbers and what would; or the ledger lacks the parent.
        ColdStorageError: cold storage does not answer, cannot be written, is lost, is another line's, or lacks
            something that the parent's weights are made of.
    """
    fitting.require(root, settings, trains)
    needs = look(root, settings, line, conversations, exports)
    if needs.too_little:
        raise StateError(f"{needs.too_little}; nothing was started.")
    places = _require_stores(root, settings, line)
    if needs.parent:
        _require_parent(root, line, needs.parent, places)
    return needs


def look(
    root: Path,
    settings: Params,
    line: Line,
    conversations: list[Conversation],
    exports: bool = True,
) -> Preflight:
    """Cold storage is not checked here."""
    parent = line.head_name
    weights = (
        sealed_outs(root.resolve(), parent)[artifacts.BASE.as_posix()].size
        if parent
        else base.estimated_bytes(settings.base) or 0
    )
    shape = _shape(line, parent, weights) if parent else None
    taken, gpu, too_little = (
        _memory(shape, settings, conversations, exports) if shape else (None, None, None)
    )
    ancestors = builds.ancestors(line, parent) if parent else ()
    made = keyframes.choose(line, ancestors, settings.line.keyframe_every)
    own = keyframes.made_of(line, parent).keyframe if parent else None
    disks = _disks(root, settings, weights, shape, parent is None, made != own)
    for space in disks:
        if space.need > space.free:
            too_little = f"This generation would take about {space.need / _GB:.1f} GB of disk at {space.folder}, and {space.free / _GB:.1f} are free: free some ('luna gc --dry-run' shows what can go)"
    return Preflight(disks, taken, gpu, parent, too_little)


def _memory(
    shape: memory.Shape, settings: Params, conversations: list[Conversation], exports: bool
) -> tuple[tuple[int, int], tuple[int, int | None] | None, str | None]:
    """What is needed and free on the machine, the same on its GPU, and what is wrong where it does not suffice."""
    longest, cuda = (
        _longest(conversations, settings.chat.system_prompt),
        environment.uses_cuda(settings.train.device),
    )
    free, vram = environment.free_memory(), environment.free_gpu_memory() if cuda else None

    def fits(train: Train) -> bool:
        wanted = memory.need(shape, train, longest, cuda, exports)
        return wanted.machine <= free and (wanted.gpu is None or vram is None or wanted.gpu <= vram)

    need = memory.need(shape, settings.train, longest, cuda, exports)
    gpu = (need.gpu, vram) if need.gpu is not None else None
    if fits(settings.train):
        return (need.machine, free), gpu, None
    if need.gpu is not None and vram is not None and need.machine <= free:
        short = f"{need.gpu / _GB:.1f} GB on the GPU, and {vram / _GB:.1f} are free"
    else:
        short = f"{need.machine / _GB:.1f} GB of memory, and {free / _GB:.1f} are free"
    return (
        (need.machine, free),
        gpu,
        f"This generation would take about {short}: free some, or in params.yaml set {memory.advice(settings.train, cuda, fits)}",
    )


def _shape(line: Line, parent: str, weights: int) -> memory.Shape | None:
    config = line.git.show(f"refs/tags/{parent}", artifacts.CONFIG)
    return memory.Shape.of(json.loads(config or b"{}"), weights // 2)


def _longest(conversations: list[Conversation], system_prompt: str) -> int:
    """Tokens of the longest conversation, at most: no token is shorter than a byte."""
    return (
        max(
            (
                sum(len(content.encode()) + _MARKS for _, content in item.messages)
                for item in conversations
            ),
            default=0,
        )
        + len(system_prompt.encode())
        + _MARKS
    )


def _disks(
    root: Path,
    settings: Params,
    weights: int,
    shape: memory.Shape | None,
    first: bool,
    keyframe: bool,
) -> list[Space]:
    quantised = int(weights * _BITS[settings.export.quantization] / 16)
    adapter = 4 * shape.adapter(settings.train) if shape else 0
    kept = quantised + adapter + (weights if first or keyframe else 0)
    wanted = [
        (root, (1 if first else 3 + keyframe) * weights + quantised + 9 * adapter),
        (cache.home(root), kept),
        *((folder, kept) for folder in config.cold_folders(root, settings.cold.remotes)),
    ]
    spaces: dict[int, Space] = {}
    for folder, need in wanted:
        there = folder
        while not there.exists():
            there = there.parent
        device = there.stat().st_dev
        before = spaces.get(device)
        spaces[device] = Space(
            before.folder if before else there,
            (before.need if before else 0) + int(MARGIN * need),
            shutil.disk_usage(there).free,
        )
    return list(spaces.values())


def _require_stores(root: Path, settings: Params, line: Line) -> list[Store]:
    """Check each store's line and write a test file to it, so that no seal fails after the training. Returns the stores that work.

    Raises ColdStorageError where fewer than ``cold.copies`` do, or one is another line's.
    """
    from luna.history import stores
    from luna.operations import cold as own_cold

    good: list[Store] = []
    failures: list[str] = []
    own = own_cold.planned(root, line)
    places = (
        [cold.open_store(root, None, {"url": str(Path(own).expanduser())})]
        if own
        else cold.open_all(root, settings.cold.remotes)
    )
    for store in places:
        seen = None
        try:
            seen = stores.look(store, line.git)
            if sentence := stores.refusal(seen, line.git):
                raise ColdStorageError(sentence)
            if seen.newer:
                raise ColdStorageError(stores.overtaken(store, seen.newer))
            store.try_writing()
            good.append(store)
        except ColdStorageError as error:
            if seen and seen.holding is stores.Holding.OTHER:
                raise
            failures.append(str(error))
    if len(good) < settings.cold.copies:
        raise ColdStorageError(f"{failures[0]} Nothing was started.")
    if own:
        own_cold.settle(root, line, own)
    return good


def _require_parent(root: Path, line: Line, parent: str, places: list[Store]) -> None:
    """All that the parent is, and all that its weights are made of, is in a store. One store suffices to build on."""
    from luna.history import thinned

    if not any(row.gen == GenerationName.parse(parent).number for row in line.ledger()):
        raise StateError(
            f"The ledger has no row of the parent {parent}: run 'luna verify', then 'luna repair'; nothing was started."
        )
    failures: list[str] = []
    for store in places:
        try:
            dropped = thinned.known(line, store)
            missing = _missing(root, line, parent, partial(_lacks, store, dropped))
            if not missing:
                return
            failures.append(f"'{store.name}' lacks {', '.join(missing)}")
        except (ColdStorageError, InputError) as error:
            failures.append(str(error).rstrip("."))
    raise ColdStorageError(
        f"{failures[0]}: the parent {parent} needs it. Complete the store with 'luna archive --all' "
        "(or 'luna repair') first; nothing was started."
    )


def _lacks(store: Store, dropped: Container[str], md5: str) -> bool:
    return md5 not in dropped and not store.exists(md5)


def _missing(root: Path, line: Line, parent: str, lacks: Callable[[str], bool]) -> list[str]:
    """What is missing of the parent's outputs, and of what its weights are made of."""
    own = sealed_outs(root.resolve(), parent).values()
    wanted = [keyframes.Input(parent, out.path, out.md5) for out in own if out.cached]
    wanted += [item for item in keyframes.inputs(line, parent) if item not in wanted]
    missing = []
    for item in wanted:
        try:
            gone = any(lacks(md5) for md5 in objects.expanded(root, [item.md5]))
        except ColdStorageError:  # its listing is to be had nowhere
            gone = True
        if gone:
            missing.append(f"{item.path} of {item.name}")
    return missing
