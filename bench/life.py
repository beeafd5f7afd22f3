"""A long life: what is left of the old after so many generations that were taught new facts.

    python -m bench life FOLDER [--generations 20] [--facts 20] [--set SECTION.KEY=VALUE]

Killed and started again it goes on where it was. Each generation is judged by the shipped rule. After it every fact that
was ever taught is asked, so that FOLDER/life.jsonl holds a row a generation with the recall of each batch; the table is printed,
and FOLDER/life.md holds it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

from bench import invented, project
from bench.once import run
from luna import artifacts, files, params
from luna.conversations import schema
from luna.conversations.probes import RECALL, Probe

_SEED = 7
HEAD = """| generation | verdict | recall | generalisation | tone, parent | tone, first | ability | perplexity | batch by batch | seconds | GB |
| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |"""


def begin(folder: Path, settings: dict[str, Any]) -> Path:
    """A repository without conversations, in which generation 0 is sealed."""
    repo = folder / "luna"
    if (folder / "begun").exists():
        return repo
    shutil.rmtree(repo, ignore_errors=True)
    project.copy(repo, without=("tests/", "data/", "docs/"))
    _write(repo, 0, 0)
    project.set_parameters(repo, settings)
    for command in project.beginning(folder / "cold"):
        run(repo, *command)
    for command in (("luna", "new"), ("dvc", "repro"), ("luna", "seal")):
        run(repo, *command)
    (folder / "begun").touch()
    return repo


def _write(repo: Path, batches: int, facts: int) -> None:
    """The first so many batches, a file each."""
    target = repo / "data" / "conversations"
    target.mkdir(parents=True, exist_ok=True)
    for number in range(batches):
        files.write_jsonl(
            target / f"batch-{number + 1:03}.jsonl", invented.batch(number, facts, _SEED)
        )


def probes(batches: int, facts: int) -> list[Probe]:
    """Of every fact the question that was taught first; ``conversation`` is its id."""
    asked = []
    for number in range(batches):
        for row in invented.batch(number, facts, _SEED):
            if "paraphrases" in row:
                item = schema.parse(row)
                asked.append(
                    Probe(RECALL, item.question, item.expect, item.reply, row["id"], number + 1)
                )
    return asked


def examine(repo: Path, folder: Path, batches: int, facts: int) -> dict[str, Any]:
    """Recall of each batch, and the tone of the answers to the first one's questions against the first generation's own."""
    from evals import suite, tone

    settings = params.load(repo)
    marked = suite.examine(
        repo / artifacts.MODEL,
        probes(batches, facts),
        settings.chat.system_prompt,
        settings.evaluate,
        settings.train.max_seq_length,
    )
    by_batch = [
        sum(item.correct for item in marked if item.probe.generation == number + 1) / facts
        for number in range(batches)
    ]
    answers = {
        item.probe.conversation: item.answer.text for item in marked if item.probe.generation == 1
    }
    first = folder / "first.json"
    if batches == 1:
        files.write_json(first, answers)
    before = files.read_json(first)
    drift = tone.drift([answers[key] for key in before], list(before.values()), _SEED)[0]
    return {"by_batch": by_batch, "tone_against_first": drift}


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def grow(repo: Path, folder: Path, number: int, facts: int) -> dict[str, Any]:
    """Generation ``number`` (from 1), and its row."""
    _write(repo, number, facts)
    seconds = run(repo, "luna", "evolve", codes=(0, 1))
    metrics, scores = (
        files.read_json(repo / path) for path in (artifacts.METRICS, artifacts.SCORES)
    )
    general = metrics["evaluation"]["general"]
    return {
        "generation": number,
        "promoted": metrics["decision"]["promoted_to_head"],
        "recall": scores["recall"]["value"],
        "generalisation": scores["generalisation"]["value"],
        "tone": scores["tone_drift"]["value"],
        "ability": metrics["evaluation"]["ability"],
        "perplexity": general["prose"]["perplexity"],
        "steps": files.read_json(repo / artifacts.TRAIN_ARGS)["training_steps"],
        "seconds": round(seconds),
        "bytes": _bytes(folder / "cold"),
        **examine(repo, folder, number, facts),
    }


def cells(row: dict[str, Any]) -> str:
    """A line of the table."""

    def score(name: str, digits: int = 3) -> str:
        return "-" if row[name] is None else f"{row[name]:.{digits}f}"

    return (
        f"| {row['generation']} | {'promoted' if row['promoted'] else 'denied'} | {score('recall')} | {score('generalisation')} | "
        f"{score('tone')} | {score('tone_against_first')} | {score('ability')} | {score('perplexity', 2)} | "
        f"{' '.join(f'{share:.2f}' for share in row['by_batch'])} | {row['seconds']} | {row['bytes'] / 1e9:.2f} |"
    )


def live(folder: Path, generations: int, facts: int, settings: dict[str, Any]) -> str:
    """Build what is lacking, and give the whole table."""
    folder.mkdir(parents=True, exist_ok=True)
    repo, log = begin(folder, settings), folder / "life.jsonl"
    rows = files.read_jsonl(log) if log.exists() else []
    for number in range(len(rows) + 1, generations + 1):
        started = time.monotonic()
        rows.append(grow(repo, folder, number, facts))
        files.write_jsonl(log, rows)
        print(f"{cells(rows[-1])} {time.monotonic() - started:.0f} s in all", flush=True)
    table = "\n".join([HEAD, *map(cells, rows)])
    files.write_text(folder / "life.md", f"{table}\n")
    return table


def main(arguments: list[str] | None = None) -> None:
    """Live, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench life")
    parser.add_argument("folder", type=Path, help="where the line lives, and stays")
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--facts", type=int, default=20, help="new in each generation")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    given = parser.parse_args(arguments)
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    print(live(given.folder.resolve(), given.generations, given.facts, project.settings(given.set)))


if __name__ == "__main__":
    main()
