"""Times questions about a line of 1,000 generations, asked of Luna and of other tools."""

from __future__ import annotations

import statistics
import subprocess
import venv
from pathlib import Path

from bench import long_line
from bench.generations import REPEATS, timed

#: MLflow's registry with as many versions and scores, filled and asked as its documentation says.
_FILL = """
import csv, sys, mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric
mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()
client.create_registered_model("luna")
experiment = client.create_experiment("luna")
with open(sys.argv[2], newline="") as file:
    for row in csv.DictReader(file):
        run = client.create_run(experiment, run_name=row["gen"])
        client.log_batch(run.info.run_id, [Metric(key, float(row[key] or 0), 0, 0) for key in ("eval_recall", "eval_generalize", "eval_tone")])
        client.create_model_version("luna", "file:///none", run.info.run_id)
"""
_ASK = """
import sys, mlflow
from mlflow import MlflowClient
mlflow.set_tracking_uri(sys.argv[1])
client = MlflowClient()
versions, token = [], None
while True:
    page = client.search_model_versions("name='luna'", page_token=token)
    versions += page
    token = page.token
    if not token:
        break
runs, token = {}, None
while True:
    page = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()], page_token=token)
    runs.update((run.info.run_id, run.data.metrics) for run in page)
    token = page.token
    if not token:
        break
for version in versions:
    print(version.version, runs[version.run_id])
"""


def _mlflow(folder: Path, ledger: Path) -> tuple[str, list[str]] | None:
    """Its version, and the command that lists all versions with their scores; None where it cannot be installed."""
    target = folder / "mlflow"
    python = target / "venv/bin/python"
    if not (target / "filled").exists():
        venv.create(target / "venv", with_pip=True, clear=True)
        if subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "mlflow"], capture_output=True
        ).returncode:
            return None
        (target / "ask.py").write_text(_ASK, encoding="utf-8")
        subprocess.run(
            [python, "-c", _FILL, f"sqlite:///{target}/registry.db", str(ledger)],
            check=True,
            capture_output=True,
        )
        (target / "filled").touch()
    done = subprocess.run(
        [python, "-c", "import importlib.metadata; print(importlib.metadata.version('mlflow'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), [
        str(python),
        str(target / "ask.py"),
        f"sqlite:///{target}/registry.db",
    ]


def report(folder: Path) -> list[str]:
    repo = long_line.line(folder)
    asked = [
        (
            "every generation with its scores",
            ("luna", "log", "--json"),
            (
                "`dvc metrics show --all-tags`",
                ("dvc", "metrics", "show", "--all-tags", "--json"),
                1,
            ),
        ),
        (
            "every version and stage of the model",
            ("luna", "log", "--head", "--json"),
            ("`gto history`", ("gto", "history", "--json", "luna"), REPEATS),
        ),
        (
            "which is the current best",
            ("luna", "status", "--json"),
            ("`gto show`", ("gto", "show", "luna"), REPEATS),
        ),
    ]
    if seconds := _mlflow(folder, repo / "lineage.csv"):
        asked.append(
            (
                "every generation with its scores",
                ("luna", "log", "--json"),
                (
                    f"MLflow {seconds[0]}, a registry in SQLite with as many versions",
                    tuple(seconds[1]),
                    REPEATS,
                ),
            )
        )
    lines = [
        "## Asking a line of 1,000 generations",
        "",
        f"Medians of whole processes ({REPEATS} runs; `dvc metrics show` one).",
        "",
        "| question | Luna | seconds | another tool | seconds | times |",
        "| --- | --- | ---: | --- | ---: | ---: |",
    ]
    for question, own, (title, other, count) in asked:
        ours = statistics.median(timed(repo, *own).seconds for _ in range(REPEATS))
        theirs = statistics.median(timed(repo, *other).seconds for _ in range(count))
        lines.append(
            f"| {question} | `{' '.join(own[:-1])}` | {ours:.2f} | {title} | {theirs:.2f} | {theirs / ours:.0f} |"
        )
        print(lines[-1], flush=True)
    return [*lines, "", *([] if seconds else ["MLflow could not be installed here.", ""])]
