"""Trains one generation on CUDA, in bf16 and in 4 bits, and compares it with the CPU.

    python -m bench.gpu_check [FOLDER]

The 135M base of the README is built in FOLDER (default: a temporary one), and generation 1 three times from the same
data: on the CPU, and both ways on the GPU. Compared with the CPU are every answer and the scores, which must lie in the
CPU's 95 % intervals; compared with transformers and peft alone are tokens a second, peak VRAM and seconds. Writes gpu-check.json, which
'make bench' takes into BENCHMARKS.md. Exit code 1 when a score lies outside, 2 without an NVIDIA GPU: then nothing is done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import generations, project
from luna import artifacts, files, params
from luna.operations.reproduce import compare_scores
from luna.training.environment import has_nvidia_gpu

OUT = project.SOURCE / "gpu-check.json"
CPU = "CPU"
WAYS: dict[str, dict[str, Any]] = {
    CPU: {"device": "cpu", "load_in_4bit": False},
    "CUDA, bf16 LoRA": {"device": "cuda", "load_in_4bit": False},
    "CUDA, 4-bit QLoRA": {"device": "cuda", "load_in_4bit": True},
}


@dataclass(frozen=True)
class Measured:
    """One way's generation as its own files tell it; ``plain`` is the same training by bench/plain.py, ``answers`` by probe."""

    way: str
    training: dict[str, Any]
    scores: dict[str, Any]
    answers: dict[str, str]
    plain: dict[str, Any] | None


@dataclass(frozen=True)
class Compared:
    """``same_answers`` is a fraction of the probes; ``scores`` as in luna.operations.reproduce; ratios are unsloth's to plain's, None on the CPU."""

    way: str
    device: str
    same_answers: float
    scores: dict[str, dict[str, Any]]
    tokens_per_second: float
    training_seconds: float
    peak_gpu_memory: int | None
    speed_ratio: float | None
    memory_ratio: float | None

    @property
    def holds(self) -> bool:
        return all(row["within"] for row in self.scores.values())


def read(repo: Path, way: str, plain: dict[str, Any] | None = None) -> Measured:
    answers = {row["probe"]: row["text"] for row in files.read_jsonl(repo / artifacts.ANSWERS)}
    return Measured(
        way,
        files.read_json(repo / artifacts.TRAIN_ARGS),
        files.read_json(repo / artifacts.SCORES),
        answers,
        plain,
    )


def compare(reference: Measured, other: Measured) -> Compared:
    common = reference.answers.keys() & other.answers.keys()
    same = sum(reference.answers[probe] == other.answers[probe] for probe in common) / len(common)
    training, plain = other.training, other.plain
    peak = training["peak_gpu_memory_bytes"]
    return Compared(
        other.way,
        training["device"],
        round(same, 4),
        compare_scores(reference.scores, other.scores),
        training["tokens_per_second"],
        training["training_seconds"],
        peak,
        round(training["tokens_per_second"] / plain["tokens_per_second"], 3) if plain else None,
        round(peak / plain["peak_gpu_memory"], 3) if plain and peak else None,
    )


def build(repo: Path, way: str) -> Measured:
    """Generation 1 by one way, from the state in which params.yaml names it; then the plain training, where the way is CUDA's."""
    params.write(repo, {"train": WAYS[way]})
    generations.timed(repo, "dvc", "repro", "evaluate")
    if way == CPU:
        return read(repo, way)
    done = subprocess.run(
        [sys.executable, "-m", "bench.plain", str(repo)],
        cwd=repo,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(project.SOURCE)},
    )
    return read(repo, way, json.loads(done.stdout.splitlines()[-1]))


def section(document: Mapping[str, Any]) -> list[str]:
    """The part of BENCHMARKS.md, from gpu-check.json."""
    lines = [
        "## Training on a GPU",
        "",
        f"Generation 1 of the 135M model by `make gpu-check`, {document['device']}; ratios are to transformers and peft alone.",
        "",
        "| way | tokens/s | ratio | seconds | peak VRAM (GB) | ratio | answers as on the CPU | scores in the CPU's intervals |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in document["ways"]:
        shown = {
            key: "-" if row[key] is None else f"{row[key]:.2f}"
            for key in ("speed_ratio", "memory_ratio")
        }
        peak = "-" if row["peak_gpu_memory"] is None else f"{row['peak_gpu_memory'] / 1e9:.2f}"
        outside = [name for name, score in row["scores"].items() if not score["within"]]
        lines.append(
            f"| {row['way']} | {row['tokens_per_second']:.0f} | {shown['speed_ratio']} | {row['training_seconds']:.1f} | {peak} | {shown['memory_ratio']} | "
            f"{row['same_answers']:.1%} | {'all' if not outside else 'not ' + ', '.join(outside)} |"
        )
    return [*lines, ""]


def main() -> None:
    if not has_nvidia_gpu():
        print(
            "gpu-check: no NVIDIA GPU answers here ('nvidia-smi -L' lists none), so nothing was done: run it on a machine that has one.",
            file=sys.stderr,
        )
        sys.exit(2)
    with tempfile.TemporaryDirectory() as temporary:
        repo = generations.make_repo(
            Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve()
        )
        for command in (("luna", "new"), ("dvc", "repro"), ("luna", "seal"), ("luna", "new")):
            generations.timed(repo, *command)
        measured = []
        for way in WAYS:
            measured.append(build(repo, way))
            print(
                f"gpu-check: {way}: {measured[-1].training['tokens_per_second']:.0f} tokens/s",
                flush=True,
            )
    compared = [compare(measured[0], other) for other in measured]
    document = {
        "device": compared[-1].device,
        "versions": measured[-1].training["versions"],
        "ways": [asdict(row) for row in compared],
        "plain": {other.way: other.plain for other in measured if other.plain},
    }
    files.write_json(OUT, document)
    print("\n".join(section(document)))
    if not all(row.holds for row in compared):
        sys.exit(1)


if __name__ == "__main__":
    main()
