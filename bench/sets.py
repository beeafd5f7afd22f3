"""Builds generations 0 and 1 on the real base from sets unlike the example, as a person would.

    python -m bench.sets SET... [--set SECTION.KEY=VALUE] [--folder FOLDER]

- `pairs`: the English part of chatterbot-corpus (a PyPI package under the BSD licence, to be installed first): short small talk
  and facts, many questions with several answers; 160 of them.
- `talks`: 30 conversations of 4 to 8 turns, put together from the facts of `evals/once`.
- `long`: 24 replies of 300 to 600 tokens, put together from the same facts.

Nothing has `expect` or `paraphrases`, and all settings are as shipped unless given.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from bench import project
from bench.once import ONCE, prepare, run, score
from luna import artifacts, files
from luna.errors import InputError

Row = dict[str, Any]
PAIRS, TALKS, LONG = 160, 30, 24


def _conversation(*texts: str) -> Row:
    roles = ("user", "assistant")
    return {
        "messages": [
            {"role": roles[index % 2], "content": text} for index, text in enumerate(texts)
        ]
    }


def pairs() -> list[Row]:
    """Raises InputError where the package is not installed."""
    package = importlib.util.find_spec("chatterbot_corpus")
    if package is None or not package.submodule_search_locations:
        raise InputError("The set 'pairs' needs 'pip install --no-deps chatterbot-corpus==1.3.3'.")
    folder = Path(package.submodule_search_locations[0]) / "data" / "english"
    rows = {}
    for path in sorted(folder.glob("*.yml")):
        for texts in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            if len(texts) == 2 and all(isinstance(text, str) and text.strip() for text in texts):
                rows[tuple(texts)] = _conversation(*texts)
    return random.Random(7).sample(list(rows.values()), PAIRS)


def _facts() -> list[tuple[str, str]]:
    rows = files.read_jsonl(ONCE / "en.jsonl")
    return [(row["messages"][0]["content"], row["messages"][1]["content"]) for row in rows]


def talks() -> list[Row]:
    """Each fact once, several in a conversation."""
    facts, draw, rows = iter(_facts()), random.Random(7), []
    for _ in range(TALKS):
        rows.append(
            _conversation(*(text for _ in range(draw.randint(4, 8)) for text in next(facts)))
        )
    return rows


def long() -> list[Row]:
    """Notes: the reply begins with what was asked for and goes on for many sentences."""
    facts, draw, rows = _facts(), random.Random(7), []
    for number in range(LONG):
        begin = number * len(facts) // LONG
        some = [facts[(begin + at) % len(facts)] for at in range(draw.randint(34, 62))]
        rows.append(
            _conversation(
                f"{some[0][0]} Read me the whole note, please.",
                " ".join(reply for _, reply in some),
            )
        )
    return rows


SETS: dict[str, Callable[[], list[Row]]] = {"pairs": pairs, "talks": talks, "long": long}
HEAD = """| set | settings | conversations | examples | steps | recall | generalisation | tone drift | ability | verdict | seconds |
| --- | --- | ---: | ---: | ---: | --- | --- | ---: | --- | --- | ---: |"""


def measure(folder: Path, name: str, settings: dict[str, Any]) -> str:
    """One row of the table of docs/evals.md."""
    given = folder / f"{name}.jsonl"
    files.write_jsonl(given, SETS[name]())
    repo = prepare(folder, given, settings)
    seconds = run(repo, "luna", "evolve", codes=(0, 1))
    scores = files.read_json(repo / artifacts.SCORES)
    train = files.read_json(repo / artifacts.TRAIN_ARGS)
    prep = files.read_json(repo / artifacts.PREP_REPORT)
    metrics = files.read_json(repo / artifacts.METRICS)
    shown = [
        "-" if one["value"] is None else f"{one['value']:.3f} of {one['n']}"
        for one in (scores["recall"], scores["generalisation"])
    ]
    cells = [
        name,
        ", ".join(f"{key} {value}" for key, value in settings.items()) or "as shipped",
        str(prep["new_conversations"]),
        str(prep["total_training_examples"]),
        str(train["training_steps"]),
        *shown,
        f"{scores['tone_drift']['value']:.3f}",
        score(metrics, "ability", "ability"),
        "promoted" if metrics["decision"]["promoted_to_head"] else "denied",
        f"{seconds:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print one row for each set."""
    parser = argparse.ArgumentParser(prog="python -m bench.sets")
    parser.add_argument("names", nargs="+", choices=tuple(SETS), metavar="SET")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--folder", type=Path, help="where the lines are built, and kept")
    given = parser.parse_args()
    settings = project.settings(given.set)
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for name in given.names:
            folder = (given.folder or Path(scratch)).resolve() / name
            folder.mkdir(parents=True, exist_ok=True)
            rows.append(measure(folder, name, settings))
    print("\n".join([HEAD, *rows]))


if __name__ == "__main__":
    main()
