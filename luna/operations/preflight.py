"""Before a generation is started: will it fit, and is what it stands on safe? So that nothing stops after hours of training.

Disk, in bytes, with B the base in 16 bits, A the adapter in float32 and Q the quantised file:

* the workspace: the weights of parent and child (2 B), the 16-bit GGUF (B), Q, and three checkpoints (3 A each: adapter and
  Adam's moments), the third being written before the first is deleted;
* the cache: Q + A; the first time B as well;
* cold storage on a local disk: the same.

What lies on one file system is added up. The estimate of memory is in luna/training/memory.py.
"""

from __future__ import annotations

import configparser
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, names
from luna.conversations.schema import Conversation
from luna.errors import ColdStorageError, InputError, StateError
from luna.history.line import Line, sealed_outs
from luna.model import base
from luna.names import GenerationName
from luna.params import Params, Train
from luna.storage import cache, objects
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
    """What must be free on the file system of ``place``, and what is, in bytes."""

    place: Path
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
            f"disk {', '.join(f'{space.need / _GB:.1f} of {space.free / _GB:.1f} GB free at {space.place}' for space in self.disks)}"
        ]
        if self.memory:
            parts.append(f"memory {self.memory[0] / _GB:.1f} of {self.memory[1] / _GB:.1f} GB free")
        if self.gpu:
            parts.append(
                f"GPU {self.gpu[0] / _GB:.1f} of {'?' if self.gpu[1] is None else format(self.gpu[1] / _GB, '.1f')} GB free"
            )
        if self.parent:
            parts.append(f"{self.parent} is in cold storage and in the ledger")
        return "preflight: " + "; ".join(parts)


def require(
    root: Path,
    settings: Params,
    line: Line,
    conversations: list[Conversation],
    exports: bool = True,
) -> Preflight:
    """What was found, where all fits. ``exports`` False: another machine goes on after the training.

    Raises:
        StateError: the disk or the memory does not suffice, with the numbers and what would; or the ledger lacks the parent.
            Or this would be a first generation, and cold storage holds another line's.
        ColdStorageError: cold storage does not answer, or lacks the parent.
    """
    found = look(root, settings, line, conversations, exports)
    if found.too_little:
        raise StateError(f"{found.too_little}; nothing was started.")
    if found.parent:
        _require_parent(root, line, found.parent)
    if not line.sealed:
        _require_no_other_line(root, settings)
    return found


def look(
    root: Path,
    settings: Params,
    line: Line,
    conversations: list[Conversation],
    exports: bool = True,
) -> Preflight:
    """Nothing is asked of cold storage here."""
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
    disks = _disks(root, settings, weights, shape, first=parent is None)
    for space in disks:
        if space.need > space.free:
            too_little = f"This generation would take about {space.need / _GB:.1f} GB of disk at {space.place}, and {space.free / _GB:.1f} are free: free some ('luna gc --dry-run' shows what can go)"
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
    short = (
        f"{need.machine / _GB:.1f} GB of memory, and {free / _GB:.1f} are free"
        if need.machine > free
        else f"{need.gpu / _GB:.1f} GB on the GPU, and {vram / _GB:.1f} are free"
    )
    return (
        (need.machine, free),
        gpu,
        f"This generation would take about {short}: free some, or in params.yaml set {memory.advice(settings.train, cuda, fits)}",
    )


def _shape(line: Line, parent: str, weights: int) -> memory.Shape | None:
    [config] = line.git.cat([f"refs/tags/{parent}:{artifacts.CONFIG.as_posix()}"])
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
    root: Path, settings: Params, weights: int, shape: memory.Shape | None, first: bool
) -> list[Space]:
    quantised = int(weights * _BITS[settings.export.quantization] / 16)
    adapter = 4 * shape.adapter(settings.train) if shape else 0
    kept = quantised + adapter + (weights if first else 0)
    wanted = [
        (root, (1 if first else 3) * weights + quantised + 9 * adapter),
        (cache.home(root), kept),
        *((place, kept) for place in _cold_folders(root, settings)),
    ]
    found: dict[int, Space] = {}
    for place, need in wanted:
        there = place
        while not there.exists():
            there = there.parent
        device = there.stat().st_dev
        before = found.get(device)
        found[device] = Space(
            before.place if before else there,
            (before.need if before else 0) + int(MARGIN * need),
            shutil.disk_usage(there).free,
        )
    return list(found.values())


def _cold_folders(root: Path, settings: Params) -> list[Path]:
    """The stores that are folders, by DVC's configuration; DVC itself takes a second to start."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read([root / ".dvc" / "config", root / ".dvc" / "config.local"])
    names = settings.cold.remotes or [parser.get("core", "remote", fallback="")]
    urls = [parser.get(f"'remote \"{name}\"'", "url", fallback="") for name in names]
    return [(root / ".dvc" / Path(url).expanduser()) for url in urls if url and "://" not in url]


def _require_no_other_line(root: Path, settings: Params) -> None:
    """Two lines in one store would have one record, and neither could be proven by it. Stores that are folders are looked at, without DVC, which a first 'luna new' would start for nothing else."""
    from luna.history import record

    for place in _cold_folders(root, settings):
        lines = "".join(
            path.read_text(encoding="utf-8", errors="replace")
            for path in sorted((place / record.COLD_FOLDER).glob("*.json"))
        )
        if other := next(
            (entry.tag for entry in record.loads(lines) if names.is_generation(entry.tag)), None
        ):
            raise StateError(
                f"The cold storage {place} holds a line already ({other}), and this clone has no generation of it: bring them with 'git fetch --tags', "
                "or give this line a folder of its own ('dvc remote add --local --force --default cold FOLDER'); nothing was started."
            )


def _require_parent(root: Path, line: Line, parent: str) -> None:
    from luna.history import thinned
    from luna.history.line import kept
    from luna.storage import cold

    if not any(row.gen == GenerationName.parse(parent).number for row in line.ledger()):
        raise StateError(
            f"The ledger has no row of {parent}, which would be the parent: run 'luna verify', then 'luna repair'; nothing was started."
        )
    wanted = objects.behind(root, kept(sealed_outs(root.resolve(), parent)))
    failures: list[str] = []
    stores = cold.open_all(root)
    for store in stores:
        try:
            dropped = thinned.known(line, store)
            if missing := [md5 for md5 in wanted if md5 not in dropped and not store.exists(md5)]:
                failures.append(
                    f"'{store.name}' lacks {len(missing)} objects of {parent}, which would be the parent"
                )
        except (ColdStorageError, InputError) as error:
            failures.append(str(error).rstrip("."))
    if len(failures) == len(
        stores
    ):  # one copy suffices to build on; how many a seal needs, the seal asks
        raise ColdStorageError(
            f"{failures[0]}: make it whole with 'luna archive --all' first; nothing was started."
        )
