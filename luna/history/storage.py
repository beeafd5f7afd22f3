"""luna status --storage: what each generation takes, what is shared, and what plain DVC would take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, params
from luna.history import cache, cold, thinned
from luna.history.line import Line, Out, outs_of, read_line

MODEL, BASE, ADAPTER = (path.as_posix() for path in (artifacts.MODEL, artifacts.BASE, artifacts.ADAPTER))


@dataclass(frozen=True)
class Use:
    """One generation, all in bytes: ``own`` came into being with it, ``shared`` was there before, ``stored`` is its own
    part that cold storage holds. ``lean`` is whether its GGUF is rebuilt on demand."""

    name: str
    own: int
    shared: int
    stored: int
    model: int
    adapter: int
    lean: bool


@dataclass(frozen=True)
class Storage:
    """``stored`` is what cold storage holds for the whole line; ``plain_dvc`` what it would hold with the merged 16-bit
    weights as an output beside adapter and GGUF, as pipelines usually keep them."""

    rule: str
    generations: list[Use]
    stored: int
    whole: int
    plain_dvc: int
    missing: list[str]


def storage(root: Path) -> Storage:
    """From the sealed dvc.lock files (one git process) and one question a generation to the store.

    Raises:
        ColdStorageError: the store does not answer.
    """
    root = root.resolve()
    settings = params.load(root)
    line = read_line(root, settings.line.prefix)
    store = cold.open_store(root)
    records = thinned.known(line, store)
    seen: set[str] = set()
    rows, missing, merged = [], [], 0
    for name, outs in _outs(line).items():
        held = {out.md5: out for out in outs.values() if out.cached}
        base_is_new = outs[BASE].md5 not in seen
        if base_is_new:  # the tokenizer is an output and a file of the base: one object
            seen |= set(cache.listing(root, outs[BASE].md5).values())
        own = sum(out.size for md5, out in held.items() if md5 not in seen)
        model = outs[MODEL]
        lean = not store.exists(model.md5)
        if lean and model.md5 not in records:
            missing.append(name)
        dropped = model.size if lean and model.md5 not in seen else 0
        # Merged weights have the base's size; generation 0 is the base, so it has none of its own.
        merged += 0 if base_is_new else outs[BASE].size
        rows.append(Use(name, own, sum(out.size for out in held.values()) - own, own - dropped, model.size, outs[ADAPTER].size, lean))
        seen |= held.keys()
    whole = sum(row.own for row in rows)
    return Storage(settings.cold.keep, rows, sum(row.stored for row in rows), whole, whole + merged, missing)


def _outs(line: Line) -> dict[str, dict[str, Out]]:
    texts = line.git.cat([f"refs/tags/{name}:{path}" for name in line.names for path in (artifacts.LOCK, artifacts.PIPELINE)])
    return {name: outs_of(lock or b"", pipeline or b"") for name, lock, pipeline in zip(line.names, texts[::2], texts[1::2], strict=True)}
