"""Times restore and merge at generation 1,000: one keyframe and 32 adapters of the real size.

The line is written without training (bench/long_line.py). Its last 32 adapters are random, its keyframe's weights are the base's, and the last
generation's model.gguf is what these make: 'luna restore' must come to it bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from bench import long_line, untrained
from bench.generations import timed
from bench.long_line import Generation
from luna import artifacts, params
from luna.history.build import Ancestor, Build, Keyframe, MergeRule
from luna.params import Params

GENERATIONS = 1000
REPEATS = 3
_WHOLE = 64  # denied ones and rollbacks lie between the last 32 on the line


def _files(folder: Path, out: Path) -> dict[str, bytes]:
    return {f"{out.as_posix()}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


def _record(generation: Generation, keyframe: Generation) -> bytes:
    """models/build.json, as far as a rebuild reads it."""
    chain = tuple(Ancestor(str(one.name), "") for one in list(generation.line)[:0:-1])
    fixed = Keyframe(str(keyframe.name), "", MergeRule.ONCE, None, ())
    name, parent = str(generation.name), chain[-1].name
    build = Build(name, parent, 0, chain, None, (), (), 0.0, None, False, MergeRule.ONCE, fixed)
    return json.dumps(asdict(build)).encode()


def with_weights(base: Path, scratch: Path) -> Callable[[list[Generation], Params], None]:
    """Give the line's newest 32 generations the base, a keyframe and adapters, and the last one the GGUF that they make."""
    from luna.export import shipping
    from luna.model import adapter, weights
    from luna.model.merge import Recipe

    def finish(made: list[Generation], settings: Params) -> None:
        every = settings.line.keyframe_every
        chain = list(made[-1].line)
        keyframe, recent = chain[every], chain[every - 1 :: -1]
        fixed, tools = _files(base, artifacts.BASE), shipping.installed()
        fixed |= _files(base, artifacts.KEYFRAME)
        adapters = []
        for number, generation in enumerate(recent):
            out = scratch / f"adapter-{number}"
            untrained.train(base, None, None, settings.train, scratch, scratch / "loss", out)
            adapters.append(adapter.read_folder(out))
            del generation.objects[f"{artifacts.KEYFRAME.as_posix()}/base.txt"]
            generation.objects |= fixed | _files(out, artifacts.ADAPTER)
            generation.objects[artifacts.BUILD.as_posix()] = _record(generation, keyframe)
            report = {
                "converter": f"llama-cpp-python {tools.version}",
                "converter_sha256": tools.converter_sha256,
            }
            generation.objects[artifacts.EXPORT_REPORT.as_posix()] = json.dumps(report).encode()
        last = made[-1]
        parent = str(last.parent.name) if last.parent else None
        own = {"generation": {"name": str(last.name), "parent": parent}}
        identity = shipping.identity(
            params.with_settings(settings, own),
            weights.key(base),
            last.row.data_delta_sha256,
            tools,
        )
        merged = weights.rebuild(Recipe(base, (tuple(adapters),)), scratch / "weights")
        shipped = shipping.ship(
            merged, params.with_settings(settings, own), identity, scratch, tools
        )
        model = shipped.quantised.read_bytes()
        digest = hashlib.sha256(model).hexdigest()
        last.objects[artifacts.MODEL.as_posix()] = model
        last.objects[artifacts.WEIGHTS_SHA256.as_posix()] = (
            f"{digest}  {artifacts.MODEL.as_posix()}\n".encode()
        )
        last.row = replace(last.row, weights_sha256=digest)

    return finish


def merge(repo: Path, reference: str) -> None:
    """Only the 16-bit weights, as training asks for its parent's."""
    from luna.history.line import read_line
    from luna.operations import rebuild

    line = read_line(repo, params.load(repo).line.prefix)
    with rebuild.scratch_folder(repo) as scratch:
        rebuild.merge(rebuild.parts(repo, line, line.resolve(reference), scratch), scratch)


def measure(
    folder: Path, base: Path, generations: int = GENERATIONS
) -> tuple[Path, dict[str, list[float]], int]:
    """The repository, seconds of each command by its name (whole processes), and the largest peak of memory, bytes."""
    from luna.history.line import read_line, sealed_outs

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        finish = with_weights(base, Path(scratch))
        repo = long_line.make(folder, generations, whole=_WHOLE, finish=finish)
    line = read_line(repo, params.load(repo).line.prefix)
    last, parent = line.names[-1], line.ancestors(line.names[-1])[-2]
    md5 = sealed_outs(repo, last)[artifacts.MODEL.as_posix()].md5
    seconds: dict[str, list[float]] = {"restore": [], "merge": []}
    peak = 0
    for _ in range(REPEATS):
        for store in (repo / ".dvc" / "cache", folder / "cold"):
            (store / "files" / "md5" / md5[:2] / md5[2:]).unlink(missing_ok=True)
        runs = {
            "restore": timed(repo, "luna", "restore", last),
            "merge": timed(repo, sys.executable, "-m", "bench.keyframes", str(repo), parent),
        }
        for name, run in runs.items():
            seconds[name].append(run.seconds)
            peak = max(peak, run.peak)
    return repo, seconds, peak


def report(folder: Path, base: Path | None = None, generations: int = GENERATIONS) -> list[str]:
    from luna.model import base as bases

    folder = folder / "keyframes"
    if base is None:
        base = folder.with_name("keyframes-base")
        if not base.is_dir():
            bases.make(params.load(long_line.project.SOURCE).base, base)
    _, seconds, peak = measure(folder, base, generations)
    words = {"restore": "`luna restore`, GGUF and all", "merge": "the parent's 16-bit weights"}
    return [
        "## Keyframes",
        "",
        f"Generation {generations - 1} of a line written without training: one keyframe and 32 random adapters of the real size. Whole processes, "
        f"median of {REPEATS} runs (least to most), everything in the cache but the GGUF; at most {peak / 1e6:.0f} MB of memory.",
        "",
        "| what | s |",
        "| --- | ---: |",
        *(
            f"| {words[name]} | {statistics.median(runs):.1f} ({min(runs):.1f} to {max(runs):.1f}) |"
            for name, runs in seconds.items()
        ),
        "",
    ]


if __name__ == "__main__":
    merge(Path(sys.argv[1]), sys.argv[2])
