"""`luna status --storage`: bytes by generation, shared bytes, and what plain DVC would take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, params
from luna.history import stores, thinned
from luna.history.line import Line, Out, outs_of, read_line
from luna.storage import cold, objects

MODEL, BASE, ADAPTER, KEYFRAME = (
    path.as_posix()
    for path in (artifacts.MODEL, artifacts.BASE, artifacts.ADAPTER, artifacts.KEYFRAME)
)


@dataclass(frozen=True)
class Use:
    """The storage of one generation, in bytes.

    ``own``: what no earlier generation has; ``shared``: what an earlier one has; ``stored``: the part of ``own`` that
    cold storage holds; ``keyframe``: the part of ``own`` that is the weights of a keyframe. ``lean``: its GGUF is
    rebuilt on demand. ``missing``: objects without a note of thinning.
    """

    name: str
    own: int
    shared: int
    stored: int
    model: int
    adapter: int
    keyframe: int
    lean: bool
    missing: int


@dataclass(frozen=True)
class Storage:
    """The storage of the line, in bytes.

    ``stored``: what cold storage holds; ``whole``: what it would hold with every GGUF; ``plain_dvc``: with the merged
    16-bit weights of each taught generation too, which pipelines usually keep beside adapter and GGUF.
    """

    rule: str
    generations: list[Use]
    stored: int
    whole: int
    plain_dvc: int


def storage(root: Path) -> Storage:
    """From the sealed dvc.lock files (one git process) and one listing of the store.

    Raises:
        ColdStorageError: the store does not answer, or lacks the listing of a folder.
    """
    root = root.resolve()
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    store = cold.open_all(root)[0]
    if line.sealed:
        stores.require(store, line.git)
    records, there = thinned.known(line, store), store.sizes()
    seen: set[str] = set()
    rows, merged = [], 0
    for name, outs in _outs(line).items():
        # An object that the store lacks is a GGUF of known size, or it is missing and counted as nothing.
        sizes = {
            md5: there.get(md5, 0)
            for md5 in objects.expanded(root, [out.md5 for out in outs.values() if out.cached])
        }
        absent = [md5 for md5 in sizes if md5 not in there]
        sizes |= {md5: records[md5].bytes for md5 in absent if md5 in records}
        new = sizes.keys() - seen
        own = sum(sizes[md5] for md5 in new)
        rows.append(
            Use(
                name,
                own,
                sum(sizes.values()) - own,
                sum(there.get(md5, 0) for md5 in new),
                outs[MODEL].size,
                outs[ADAPTER].size,
                sum(sizes[md5] for md5 in _keyframe(root, outs) & new),
                outs[MODEL].md5 in records and outs[MODEL].md5 not in there,
                sum(md5 not in records for md5 in absent),
            )
        )
        # Merged weights have the base's size; generation 0 is the base, so it has none of its own.
        merged += outs[BASE].size if outs[BASE].md5 in seen else 0
        seen |= sizes.keys()
    whole = sum(row.own for row in rows)
    # A keyframe's weights are merged weights, which plain DVC would keep of every generation.
    plain = whole + merged - sum(row.keyframe for row in rows)
    return Storage(settings.cold.keep, rows, sum(row.stored for row in rows), whole, plain)


def _keyframe(root: Path, outs: dict[str, Out]) -> set[str]:
    """The weights in the generation's keyframe; none where the base is it."""
    listed = objects.listing(root, outs[KEYFRAME].md5) if KEYFRAME in outs else {}
    return {md5 for name, md5 in listed.items() if name.endswith(".safetensors")}


def _outs(line: Line) -> dict[str, dict[str, Out]]:
    texts = line.git.cat(
        [
            f"refs/tags/{name}:{path}"
            for name in line.names
            for path in (artifacts.LOCK, artifacts.PIPELINE)
        ]
    )
    return {
        name: outs_of(lock or b"", pipeline or b"")
        for name, lock, pipeline in zip(line.names, texts[::2], texts[1::2], strict=True)
    }
