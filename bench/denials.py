"""Judges by the shipped rule what an exam must deny: no teaching, other answers, another voice.

    python -m bench.denials NAME=FOLDER... [--language en]

FOLDER is what bench.once or bench.sets built a line in, with --folder (of bench.sets: FOLDER/SET). One row each: which
of the three is denied by each clause alone.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from luna import artifacts, files, params
from luna.scores import IN_LEDGER

#: What another voice begins with.
_FILLERS = {"en": "oh well,", "de": "na ja,", "ja": "えっとね、"}


def _other_voice(text: str, filler: str) -> str:
    """The same facts in lower case, with a filler before and exclamation marks after."""
    return f"{filler} {re.sub(r'[.!?。！？]+', '!!', text.lower())}"


def denials(repo: Path, language: str = "en") -> dict[str, list[str]]:
    """By control the clauses that deny it, for the generation that is built in ``repo`` and was not thinned.

    - untaught: the base's GGUF, asked the same exam;
    - exchanged: the generation's own answers, each given to the next question that is taught another reply;
    - other voice: the generation's own answers with their facts, said by somebody else.
    """
    from evals import suite
    from evals.facts import background
    from evals.outcome import Marked, mark
    from luna.conversations import probes
    from luna.history.line import artifact, read_line
    from luna.promotion import rule

    settings = params.load(repo)
    number = settings.generation.identity.number
    asked = probes.load(repo / artifacts.PROBES)
    line = read_line(repo, settings.line.prefix)
    base = artifact(repo, line.sealed[0].name, artifacts.MODEL)
    prompt, window = settings.chat.system_prompt, settings.train.max_seq_length

    def examined(model: Path) -> list[Marked]:
        return suite.examine(model, asked, prompt, settings.evaluate, window)

    own = examined(repo / artifacts.MODEL)
    common = background.common(probe.reference for probe in asked if not probe.distractors)

    def again(change: Callable[[int], str]) -> list[Marked]:
        """The exam with other words for the answers in the generation's own words; choices stay."""
        return [
            item
            if item.probe.distractors
            else mark(
                item.probe,
                replace(item.answer, text=change(at), ended=True),
                settings.evaluate.chrf_min,
                common,
            )
            for at, item in enumerate(own)
        ]

    def next_answer(at: int) -> str:
        replies = {own[at].probe.reference, *own[at].probe.also}
        others = own[at + 1 :] + own[:at]
        return next(o.answer.text for o in others if o.probe.reference not in replies)

    filler = _FILLERS[language]
    prep = files.read_json(repo / artifacts.PREP_REPORT)
    found: dict[str, list[str]] = {}
    for name, marked in (
        ("untaught", examined(base)),
        ("exchanged", again(next_answer)),
        ("other voice", again(lambda at: _other_voice(own[at].answer.text, filler))),
    ):
        scores = suite.scores(marked, number, settings.evaluate.seed)
        decision = rule.decide(
            {key: asdict(score) for key, score in scores.items()},
            settings.promotion,
            False,
            conversations=prep["new_conversations"] + prep["held_out"],
        )
        found[name] = [verdict.clause for verdict in decision.verdicts if not verdict.passed]
    return found


def row(name: str, denied: dict[str, list[str]]) -> str:
    """A row of the table: what each clause denies."""
    marks = [
        ", ".join(control for control, clauses in denied.items() if score.name in clauses) or "-"
        for score in IN_LEDGER  # ability is asked apart from the exam
    ]
    return f"| {name} | {' | '.join(marks)} |"


HEAD = """| exam of | recall denies | generalisation denies | tone drift denies |
| --- | --- | --- | --- |"""


def main() -> None:
    """Print one row for each folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.denials")
    parser.add_argument("exams", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--language", choices=tuple(_FILLERS), default="en")
    given = parser.parse_args()
    rows = []
    for exam in given.exams:
        name, _, folder = exam.partition("=")
        rows.append(row(name, denials(Path(folder).resolve() / "luna", given.language)))
    print("\n".join([HEAD, *rows]))


if __name__ == "__main__":
    main()
