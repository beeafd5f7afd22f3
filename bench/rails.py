"""Measures what watching a training costs: steps per second with the watch and without.

    python -m bench.rails REPO

The rails are what luna/training/progress.py does at each step: the watch on the loss, the curve, the looks at memory and disk.
As two noisy rates differ by more than the rails cost, the time spent in them is also taken itself. Prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import generations, project

REPEATS = 3
STEPS = 10


def measure(repo: Path) -> dict:
    from luna import artifacts, params
    from luna.conversations import schema
    from luna.training import environment

    settings = params.load(repo)
    environment.prepare(settings.train.device)
    from luna.training import progress, trainer

    class Timed(progress.ShowProgress):
        spent = 0.0

        def on_log(self, *arguments, **options):
            started = time.perf_counter()
            super().on_log(*arguments, **options)
            Timed.spent += time.perf_counter() - started

    class Bare(progress.ShowProgress):
        def on_train_begin(self, *arguments, **options):
            pass

        on_log = on_train_end = on_train_begin

    short = settings.train.model_copy(update={"max_steps": STEPS, "save_steps": 10 * STEPS})
    conversations = schema.load_file(repo / artifacts.TRAINING_SET)
    rates: dict[str, list[float]] = {"with": [], "without": []}
    seconds = 0.0
    for _ in range(REPEATS):
        for name, kind in (("with", Timed), ("without", Bare)):
            trainer.ShowProgress = kind
            with tempfile.TemporaryDirectory() as scratch:
                done = trainer.train(
                    repo / artifacts.BASE,
                    conversations,
                    settings.chat,
                    short,
                    Path(scratch) / "checkpoints",
                    Path(scratch) / "loss",
                    Path(scratch) / "adapter",
                )
            rates[name].append(done.steps / done.training_seconds)
            seconds += done.training_seconds if kind is Timed else 0
    return {"rates": rates, "share": Timed.spent / seconds}


def report(folder: Path) -> list[str]:
    repo, _ = generations.line(folder)
    done = subprocess.run(
        [sys.executable, "-m", "bench.rails", str(repo)],
        cwd=project.SOURCE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    steps = {name: statistics.median(rates) for name, rates in result["rates"].items()}
    lines = [
        "## The rails of training",
        "",
        f"Steps a second on the 135M base, {STEPS} steps, {REPEATS} alternating runs, medians.",
        "",
        "| | steps a second | spread |",
        "| --- | ---: | --- |",
    ]
    lines += [
        f"| {name} rails | {steps[name]:.3f} | {min(rates):.3f} to {max(rates):.3f} |"
        for name, rates in result["rates"].items()
    ]
    return [
        *lines,
        "",
        f"Ratio {steps['with'] / steps['without']:.3f}; of the time of training, {result['share']:.2%} was spent in the rails.",
        "",
    ]


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]).resolve())))
