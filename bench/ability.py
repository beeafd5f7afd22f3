"""Measures what a way of training keeps of the base: the shipped example by several settings.

    python -m bench.ability FOLDER [NAME ...] [--own NAME SECTION.KEY=VALUE ...]

Generation 0 is built once in FOLDER; each setting builds generation 1 from a copy of it, by 'luna evolve'. What is done
already in FOLDER is not done again; the table of docs/ability.md is printed for all that are done.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from bench import project
from bench.once import run, score
from luna import artifacts, files

EXAMPLE = project.SOURCE / "data/conversations"
#: Settings beside the shipped ones, by name.
SETTINGS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "no general replay": {"data.general_replay": 0.0},
    "before general replay": {"data.general_replay": 0.0, "train.learning_rate": 0.002},
    "gentler": {"train.learning_rate": 0.0005},
}
HEAD = """| settings | examples | of them general | steps | recall | generalisation | tone drift | ability | perplexity of prose | own answers, nats | verdict | training, seconds |
| --- | ---: | ---: | ---: | --- | --- | ---: | --- | ---: | ---: | --- | ---: |"""


def base_line(folder: Path) -> Path:
    """A repository with generation 0 alone."""
    repo = folder / "base" / "luna"
    if not (folder / "base" / "whole").exists():
        shutil.rmtree(folder / "base", ignore_errors=True)
        project.copy(repo, without=("tests/", "docs/"))
        for command in project.beginning(folder / "base" / "cold"):
            run(repo, *command)
        for command in (("luna", "new"), ("dvc", "repro"), ("luna", "seal")):
            run(repo, *command)
        (folder / "base" / "whole").touch()
    return repo


def build(folder: Path, name: str, settings: dict[str, Any]) -> None:
    """Generation 1 by these settings; its numbers go to FOLDER/NAME.json, and the rest is deleted."""
    base_line(folder)
    copy = folder / "work"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "base", copy, symlinks=True)
    repo = copy / "luna"
    run(repo, "dvc", "remote", "modify", "--local", "cold", "url", str(copy / "cold"))
    project.set_parameters(repo, settings)
    seconds = run(repo, "luna", "evolve", codes=(0, 1))
    parts = {
        path.stem: files.read_json(repo / path)
        for path in (artifacts.METRICS, artifacts.PREP_REPORT, artifacts.TRAIN_ARGS)
    }
    files.write_json(
        folder / f"{name}.json", {"settings": settings, "seconds": round(seconds), **parts}
    )
    for path in (artifacts.EVAL_REPORT, artifacts.ABILITY):
        shutil.copyfile(repo / path, folder / f"{name}-{path.name}")
    shutil.rmtree(copy)


def row(name: str, made: dict[str, Any]) -> str:
    """One row of the table."""
    scores, prep, train = made["metrics"]["evaluation"], made["prep"], made["train_args"]
    general = scores["general"]
    cells = [
        name,
        str(prep["total_training_examples"]),
        str(prep["general_replay"]),
        str(train["training_steps"]),
        score(made["metrics"], "recall", "recall"),
        score(made["metrics"], "generalize", "generalisation"),
        f"{scores['tone_drift']:.3f}",
        score(made["metrics"], "ability", "ability"),
        f"{general['prose']['perplexity']:.2f}",
        f"{general['own_answers']['change']:+.3f}",
        "promoted" if made["metrics"]["decision"]["promoted_to_head"] else "denied",
        f"{train['training_seconds']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Build what is asked for, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.ability")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--own", nargs="+", default=[], metavar="NAME SECTION.KEY=VALUE")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    plan = {name: SETTINGS[name] for name in given.names}
    if given.own:
        plan[given.own[0]] = project.settings(given.own[1:])
    if not plan:
        base_line(folder)
    for name, settings in plan.items():
        if not (folder / f"{name}.json").is_file():
            build(folder, name, settings)
    rows = [row(path.stem, files.read_json(path)) for path in sorted(folder.glob("*.json"))]
    print("\n".join([HEAD, *rows]))


if __name__ == "__main__":
    main()
