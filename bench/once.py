"""Measures facts that were said once: a line on the real base, and an exam that training never sees.

    python -m bench.once [--language en] [--augment none|rules|model] [--facts N] [--epochs N] [--folder FOLDER]

`evals/once/LANGUAGE.jsonl` is what a person has: one question and one reply for each fact, without accepted answers and
without paraphrases. `evals/once/LANGUAGE-asked.jsonl` holds other questions for the same facts, written by hand, and the
words that mark an answer. Generations 0 and 1 are built by the pipeline as shipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import project
from luna import artifacts, files, params
from luna.conversations import schema
from luna.conversations.probes import GENERALISATION, RECALL, Probe

ONCE = project.SOURCE / "evals" / "once"


def private_probes(language: str, facts: int | None = None) -> list[Probe]:
    """The questions as they were taught, and the hand-written ones, marked by accepted words."""
    asked = {row["id"]: row for row in files.read_jsonl(ONCE / f"{language}-asked.jsonl")}
    probes = []
    for item in schema.load_file(ONCE / f"{language}.jsonl")[:facts]:
        row = asked[item.id]
        for kind, text in [(RECALL, item.question[-1][1])] + [
            (GENERALISATION, text) for text in row["asked"]
        ]:
            probes.append(
                Probe(kind, (("user", text),), tuple(row["expect"]), item.reply, item.identity, 1)
            )
    return probes


def run(repo: Path, *command: str, codes: tuple[int, ...] = (0,)) -> float:
    """Seconds of a whole command."""
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(repo),
        "DVC_NO_ANALYTICS": "1",
    }
    started = time.monotonic()
    done = subprocess.run(command, cwd=repo, env=env, stdout=sys.stderr)
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(command)} ended with exit code {done.returncode} in {repo}.")
    return time.monotonic() - started


def prepare(folder: Path, conversations: Path, settings: dict[str, Any]) -> Path:
    """The project as it is now, in a repository of its own, with these conversations alone."""
    repo = folder / "luna"
    project.copy(repo, without=("tests/", "data/", "docs/"))
    (repo / "data" / "conversations").mkdir(parents=True)
    shutil.copyfile(conversations, repo / "data" / "conversations" / conversations.name)
    project.set_parameters(repo, settings)
    for command in project.beginning(folder / "cold"):
        run(repo, *command)
    return repo


def examine(repo: Path, language: str, facts: int | None) -> dict[str, float]:
    """The fraction of right answers to the taught questions and to the hand-written ones."""
    from evals import suite

    settings = params.load(repo)
    probes = private_probes(language, facts)
    marked = suite.examine(
        repo / artifacts.MODEL,
        probes,
        settings.chat.system_prompt,
        settings.evaluate,
        settings.train.max_seq_length,
    )
    files.write_jsonl(repo.parent / "private.jsonl", suite.as_rows(marked))
    return {
        kind: sum(one.correct for one in marked if one.probe.kind == kind)
        / sum(probe.kind == kind for probe in probes)
        for kind in (RECALL, GENERALISATION)
    }


def score(metrics: dict[str, Any], key: str, interval: str) -> str:
    """A score of metrics.json, and of how many questions; ``interval`` is what its interval is called there."""
    evaluation = metrics["evaluation"]
    value = evaluation[key]
    return "-" if value is None else f"{value:.3f} of {evaluation['intervals'][interval]['n']}"


def measure(folder: Path, language: str, facts: int | None, settings: dict[str, Any]) -> str:
    """One row of the table of docs/evals.md."""
    taught = folder / f"{language}.jsonl"
    rows = (ONCE / taught.name).read_text(encoding="utf-8").splitlines(keepends=True)
    files.write_text(taught, "".join(rows[:facts]))
    repo = prepare(folder, taught, settings)
    seconds = run(repo, "luna", "evolve", codes=(0, 1))
    scores = files.read_json(repo / artifacts.SCORES)
    train = files.read_json(repo / artifacts.TRAIN_ARGS)
    prep = files.read_json(repo / artifacts.PREP_REPORT)
    metrics = files.read_json(repo / artifacts.METRICS)
    private = examine(repo, language, facts)
    cells = [
        language,
        ", ".join(f"{key.split('.')[1]} {value}" for key, value in settings.items())
        or "as shipped",
        str(prep["new_conversations"]),
        str(prep["total_training_examples"]),
        str(train["training_steps"]),
        *(
            f"{scores[name]['value']:.3f} of {scores[name]['n']}"
            if scores[name]["value"] is not None
            else "-"
            for name in ("recall", "generalisation")
        ),
        f"{scores['tone_drift']['value']:.3f}",
        score(metrics, "ability", "ability"),
        "promoted" if metrics["decision"]["promoted_to_head"] else "denied",
        f"{private[RECALL]:.3f}",
        f"{private[GENERALISATION]:.3f}",
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


HEAD = """| language | settings | facts | examples | steps | recall | generalisation | tone drift | ability | verdict | hand: taught questions | hand: paraphrases | seconds |
| --- | --- | ---: | ---: | ---: | --- | --- | ---: | --- | --- | ---: | ---: | ---: |"""


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(prog="python -m bench.once")
    parser.add_argument("--language", choices=("en", "de", "ja"), default="en")
    parser.add_argument("--augment", choices=("none", "rules", "model"))
    parser.add_argument("--facts", type=int, help="the first so many alone")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--folder", type=Path, help="where the line is built, and kept")
    given = parser.parse_args()
    settings = {
        key: value
        for key, value in (("data.augment", given.augment), ("train.epochs", given.epochs))
        if value is not None
    }
    settings |= project.settings(given.set)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        row = measure(folder, given.language, given.facts, settings)
    print(f"{HEAD}\n{row}")


if __name__ == "__main__":
    main()
