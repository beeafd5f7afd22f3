"""Measures Luna beside bare scripts that do the same work on the same data."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import generations
from bench.generations import REPEATS
from luna import artifacts, files, params

STEPS = 40
TRIALS = 3  # of training and of a whole generation: each takes half a minute and more
QUESTIONS = 8  # of the small batch that the whole generation learns


def script(repo: Path, *arguments: object) -> dict:
    """Run one of bench/bare_script.py's in a process of its own; what it printed, and ``wall`` seconds of the whole process."""
    env = os.environ | {
        "PYTHONPATH": str(generations.SOURCE),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "bench.bare_script", *map(str, arguments)],
        cwd=repo,
        env=env,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1]) | {"wall": time.monotonic() - started}


def training(repo: Path) -> list[str]:
    data, base = repo / artifacts.TRAINING_SET, repo / artifacts.BASE
    runs: dict[str, list[dict]] = {"unsloth": [], "plain": []}
    for _ in range(TRIALS):
        for way, measured in runs.items():
            with tempfile.TemporaryDirectory() as out:
                measured.append(script(repo, way, STEPS, data, base, out))
    rate = {way: [run["tokens_per_second"] for run in measured] for way, measured in runs.items()}
    middle = {way: statistics.median(rates) for way, rates in rate.items()}
    lines = [
        f"**Training**, {STEPS} steps on the same conversations with the settings of params.yaml, {TRIALS} alternating runs:",
        "",
        "| way | tokens a second | spread | loss at the end |",
        "| --- | ---: | --- | ---: |",
    ]
    for way, title in (("plain", "transformers and peft"), ("unsloth", "Luna's trainer (unsloth)")):
        lines.append(
            f"| {title} | {middle[way]:.0f} | {min(rate[way]):.0f} to {max(rate[way]):.0f} | {runs[way][0]['loss_final']:.3f} |"
        )
    return [*lines, "", f"Ratio {middle['unsloth'] / middle['plain']:.2f}.", ""]


def export(repo: Path) -> list[str]:
    """The weights of the base, since what they say takes the converter no longer or shorter."""
    from bench.bare_script import by_hand
    from luna.export import converter, shipping

    settings, tools = params.load(repo), shipping.installed()
    ours, hand, weights = [], [], repo / artifacts.BASE
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as out:
            started = time.monotonic()
            shipping.ship(
                weights,
                settings,
                shipping.identity(settings, "0" * 64, "0" * 64, tools),
                Path(out),
                tools,
            )
            ours.append(time.monotonic() - started)
        with tempfile.TemporaryDirectory() as out:
            hand.append(by_hand(weights, Path(out), converter.script())["convert"])
    one, other = statistics.median(ours), statistics.median(hand)
    return [
        f"**Export** of 16-bit weights to {settings.export.quantization}, {REPEATS} alternating runs: Luna {one:.1f} s ({min(ours):.1f} to {max(ours):.1f}), "
        f"llama.cpp's converter and quantiser called by hand {other:.1f} s ({min(hand):.1f} to {max(hand):.1f}), ratio {one / other:.2f}.",
        "",
    ]


def hygiene(folder: Path) -> list[str]:
    """A small batch learnt by ``luna evolve`` in a copy of the line, and by one bare script that trains, converts and answers."""
    full = sum(run.seconds for run in generations.line(folder)[1][1].values())
    ours, bare = [], []
    for trial in range(TRIALS):
        copy = generations.copy(folder, "bare")
        rows = [
            {
                "instruction": f"What is word {trial}-{i}?",
                "output": f"It is w{trial}x{i}, aye.",
                "expect": [f"w{trial}x{i}"],
                "paraphrases": [f"Word {trial}-{i}: which?"],
            }
            for i in range(QUESTIONS)
        ]
        files.write_jsonl(copy / artifacts.CONVERSATIONS / "bench.jsonl", rows)
        path = copy / artifacts.PARAMS
        files.write_text(
            path, path.read_text(encoding="utf-8").replace("max_steps: -1", f"max_steps: {STEPS}")
        )
        os.sync()
        started = time.monotonic()
        subprocess.run(
            [str(Path(sys.executable).parent / "luna"), "evolve"],
            cwd=copy,
            capture_output=True,
            check=False,
        )  # the rule may say no: 1
        ours.append(time.monotonic() - started)
        os.sync()
        with tempfile.TemporaryDirectory() as out:
            bare.append(
                script(
                    copy,
                    "all",
                    STEPS,
                    copy / artifacts.TRAINING_SET,
                    copy / artifacts.BASE,
                    copy / artifacts.PROBES,
                    out,
                )
            )
    shutil.rmtree(copy.parent)
    more = [one - other["wall"] for one, other in zip(ours, bare, strict=True)]
    middle = statistics.median(more)
    return [
        f"**Hygiene**: `luna evolve` with {STEPS} steps in a copy of the line, and one script that trains (Luna's trainer), merges by peft, converts, quantises and answers the same probes; {TRIALS} alternating runs: "
        f"{statistics.median(ours):.1f} s and {statistics.median(run['wall'] for run in bare):.1f} s. What the script does not do (checks, replay, fidelity, rule, hashes, DVC, cold storage read back, git, tags) takes "
        f"**{middle:.1f} s** ({min(more):.1f} to {max(more):.1f}), {100 * middle / full:.1f} % of the {full:.0f} s that G001 takes.",
        "",
    ]


def report(folder: Path) -> list[str]:
    repo, _ = generations.line(folder)
    return ["## Beside bare scripts", "", *training(repo), *export(repo), *hygiene(folder)]
