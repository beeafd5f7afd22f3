"""The evaluate stage: recall, generalisation, tone drift and ability of the exported file."""

import time
from collections.abc import Iterable
from dataclasses import asdict

from evals import general, kept, suite
from luna import artifacts, files, params, stage
from luna.conversations import probes
from luna.scores import ABILITY


def _replies(some: Iterable[probes.Probe]) -> set[tuple[str, str]]:
    return {(probe.conversation, probe.reference) for probe in some}


def main() -> None:
    """Run the stage."""
    settings = params.sections("evaluate", "chat", "generation", "train")
    asked = probes.load(artifacts.PROBES)
    started = time.monotonic()
    marked = suite.examine(
        artifacts.MODEL,
        asked,
        settings.chat.system_prompt,
        settings.evaluate,
        settings.train.max_seq_length,
    )
    seconds = time.monotonic() - started
    now, of_base = kept.examine(
        artifacts.MODEL,
        general.rows(artifacts.GENERAL),
        general.Texts.loads(files.read_json(artifacts.GENERAL_TEXTS)),
        artifacts.GENERAL_QUESTIONS,
        settings.chat.system_prompt,
        settings.evaluate,
    )
    scores = suite.scores(marked, settings.generation.identity.number, settings.evaluate.seed)
    scores[ABILITY.name] = of_base
    files.write_jsonl(artifacts.ANSWERS, suite.as_rows(marked))
    files.write_jsonl(artifacts.ABILITY, (item.as_row() for item in now))
    files.write_json(artifacts.SCORES, {name: asdict(score) for name, score in scores.items()})
    # Apart from the scores: the same model evaluated twice gives the same scores, not the same seconds.
    files.write_json(
        artifacts.EVAL_ARGS,
        {
            "method": suite.METHOD,
            "eval_time_minutes": round(seconds / 60, 3),
            "ability_seconds": round(time.monotonic() - started - seconds, 1),
            "probes": len(marked),
            # Replies that are longer than train.max_seq_length.
            "left_out": len(_replies(asked) - _replies(item.probe for item in marked)),
            # The most tokens that an answer was given; each row of the answers has its own limit.
            "max_tokens": max((item.answer.limit or 0 for item in marked), default=0),
            "not_ended": sum(not item.answer.ended for item in marked),
            "probes_per_second": round(len(marked) / seconds, 2),
        },
    )
    shown = ", ".join(
        f"{name.replace('_', ' ')} {'-' if score.value is None else format(score.value, '.3f')}"
        for name, score in scores.items()
    )
    print(f"evaluate: {shown} ({len(marked)} probes, {seconds:.0f} s)")


if __name__ == "__main__":
    stage.run("evaluate", main)
