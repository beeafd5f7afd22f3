"""Times `luna diff` of two 1 GB files that differ only at the end, beside `cmp`.

Both files are in the system's cache for both programs, and the runs alternate; whole processes are timed, Python's start included.
"""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from bench.generations import Run, timed

_TENSORS, _ROWS, _COLUMNS = (
    120,
    1536,
    2880,
)  # of 16 bits: 1.06 GB, a shape on which every quantisation works
_WORDS = 49152  # of a vocabulary, which a reader of GGUF has to step over
REPEATS = 7


def make_safetensors(folder: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    chance = np.random.default_rng(7)
    tensors = {
        f"model.layers.{i}.mlp.up_proj.weight": chance.standard_normal(
            (_ROWS, _COLUMNS), np.float32
        ).astype(np.float16)
        for i in range(_TENSORS)
    }
    save_file(tensors, folder / "a.safetensors")


def make_gguf(folder: Path) -> None:
    import gguf
    import numpy as np

    chance = np.random.default_rng(7)
    writer = gguf.GGUFWriter(folder / "a.gguf", "llama")
    words = [f"word{i}" for i in range(_WORDS)]
    writer.add_token_list(words)
    writer.add_token_merges(words)
    rows = chance.standard_normal((_ROWS, _COLUMNS), np.float32)
    for i in range(2 * _TENSORS):
        writer.add_tensor(
            f"blk.{i}.ffn_up.weight",
            gguf.quants.quantize(np.roll(rows, i, 0), gguf.GGMLQuantizationType.Q8_0),
            raw_dtype=gguf.GGMLQuantizationType.Q8_0,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _twin(path: Path) -> Path:
    """The same file but for its last byte."""
    twin = path.with_name("b" + path.suffix)
    shutil.copyfile(path, twin)
    with twin.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    return twin


def measure(path: Path) -> tuple[list[Run], list[Run]]:
    """Alternating runs of (cmp, luna diff) on a file and its twin."""
    twin = _twin(path)
    runs: tuple[list[Run], list[Run]] = [], []
    for _ in range(REPEATS):
        runs[0].append(timed(path.parent, "cmp", "--", str(path), str(twin), code=1))
        runs[1].append(timed(path.parent, "luna", "diff", str(path), str(twin)))
    twin.unlink()
    return runs


def report(folder: Path) -> list[str]:
    folder = folder / "weights"
    folder.mkdir(exist_ok=True)
    lines = [
        "## Comparing weights",
        "",
        f"Two files that differ only in their last byte, whole processes, medians of {REPEATS} alternating runs.",
        "",
        "| format | size | `cmp` | `luna diff` | ratio | spread of `luna diff` | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for title, make, name in (
        ("safetensors, F16", make_safetensors, "a.safetensors"),
        ("GGUF, Q8_0", make_gguf, "a.gguf"),
    ):
        make(folder)
        plain, ours = measure(folder / name)
        seconds = [run.seconds for run in ours]
        cmp, luna = statistics.median(run.seconds for run in plain), statistics.median(seconds)
        lines.append(
            f"| {title} | {(folder / name).stat().st_size / 1e9:.2f} GB | {cmp:.2f} s | {luna:.2f} s | {luna / cmp:.2f} | {min(seconds):.2f} to {max(seconds):.2f} s | {max(run.peak for run in ours) / 1e6:.0f} MB |"
        )
        (folder / name).unlink()
    return [*lines, ""]
