"""Models that must fail the rule, and two that must pass, made from the real base.

    python -m bench.controls FOLDER [NAME ...]

Each is taught by the library's own trainer with the shipped settings, exported as it would ship, and
judged by the shipped suite and rule. What is done already in FOLDER is not done again, so that the
controls may be made one by one; the table of all that are done is printed.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from luna import files, params
from luna.conversations import choose, probes, schema
from luna.conversations.schema import Conversation

SOURCE = Path(__file__).resolve().parents[1]
FACTS, SECOND_FACTS = (
    20,
    8,
)  # of the examples' 40 and 16: enough to tell the models apart, in half the time
SAVE_STEPS = 25
# Where a control must be bad, less or more training than the shipped epochs is enough to make it so.
LITERAL_EPOCHS, VOICE_EPOCHS, SHUFFLED_EPOCHS = 10, 1, 2
PIRATE = "Arr! {} it be, ye scurvy dog! Yo ho ho!"


def facts(path: Path, count: int) -> dict[str, list[Conversation]]:
    """The first ``count`` facts of a file, each with all its phrasings."""
    groups: dict[str, list[Conversation]] = {}
    for item in schema.load_file(path):
        groups.setdefault((item.id or "").rsplit("-", 1)[0], []).append(item)
    return dict(list(groups.items())[:count])


def sentence(item: Conversation, reply: str) -> Conversation:
    return replace(item, messages=(*item.question, ("assistant", reply)))


def flat(groups: dict[str, list[Conversation]]) -> list[Conversation]:
    return [item for items in groups.values() for item in items]


class Controls:
    """What each control is taught, on what, and what it is asked: (start, training set, epochs, taught by generation)."""

    def __init__(self, replay: int) -> None:
        first, second = (
            facts(SOURCE / "data/conversations/01-merrow-point.jsonl", FACTS),
            facts(SOURCE / "data/examples/02-the-winter-ferry.jsonl", SECOND_FACTS),
        )
        old, new = flat(first), flat(second)
        literal = [item for item in old if item.paraphrases]
        keys = list(first)
        others = {key: first[keys[(i + 1) % len(keys)]] for i, key in enumerate(keys)}
        shuffled = [
            sentence(item, others[key][i % len(others[key])].reply)
            for key in keys
            for i, item in enumerate(first[key])
        ]
        again = [item for _, item in choose.stratified({1: old}, replay, 7)]
        both = {1: old, 2: new}
        self.plan: dict[
            str,
            tuple[str, str | None, list[Conversation], float | None, dict[int, list[Conversation]]],
        ] = {
            "untaught": ("recall", None, [], None, {1: old}),
            "taught": ("none", None, old, None, {1: old}),
            "literal": ("generalisation", None, literal, LITERAL_EPOCHS, {1: literal}),
            "other voice": (
                "tone drift",
                "taught",
                [sentence(item, PIRATE.format(item.expect[0])) for item in old],
                VOICE_EPOCHS,
                {1: old},
            ),
            "shuffled answers": (
                "recall, generalisation, tone drift",
                None,
                shuffled,
                SHUFFLED_EPOCHS,
                {1: old},
            ),
            "no replay": ("recall", "taught", new, None, both),
            "with replay": ("none", "taught", new + again, None, both),
        }


def build(
    name: str, folder: Path, settings: params.Params, controls: Controls, say: Callable[[str], None]
) -> None:
    from luna.training import environment

    environment.prepare("cpu")
    from evals import suite
    from luna.export import converter, gguf
    from luna.model import adapter, base, merge
    from luna.promotion.rule import decide
    from luna.training import trainer

    must_fail, start, training, epochs, taught = controls.plan[name]
    target, weights = folder / name.replace(" ", "-"), folder / "base"
    started = time.monotonic()
    if not weights.is_dir():
        base.make(settings.base, folder / "base.partial")
        (folder / "base.partial").rename(weights)
    target.mkdir(parents=True, exist_ok=True)
    if start:
        weights = folder / start / "merged"
    trained = {"steps": 0, "train_seconds": 0.0}
    if training:
        if not (
            target / "trained.json"
        ).is_file():  # a run cut off goes on from its last checkpoint
            train = settings.train.model_copy(
                update={"save_steps": SAVE_STEPS}
                | ({"epochs": epochs, "stop_when_known": 0.0} if epochs else {})
            )
            outcome = trainer.train(
                weights,
                choose.training_order(training, settings.data.seed),
                settings.chat,
                train,
                target / "checkpoints",
                target / "loss",
                target / "adapter",
            )
            adapter.tidy(target / "adapter")
            own = adapter.read_folder(target / "adapter")
            merge.merge(merge.Recipe(weights, ((own,),)), target / "merged")
            files.write_json(
                target / "trained.json", {"steps": outcome.steps, "train_seconds": outcome.seconds}
            )
            shutil.rmtree(target / "checkpoints")
        weights, trained = target / "merged", files.read_json(target / "trained.json")
    files.write_json(target / "metadata.json", {"general.name": name})
    converter.convert(weights, target / "16.gguf", target / "metadata.json")
    gguf.quantise(target / "16.gguf", target / "model.gguf", settings.export.quantization, {})
    (target / "16.gguf").unlink()
    asked = probes.build(taught, [], settings.data.probes_per_kind, settings.data.seed)
    probes.refuse_leaks(asked, training)
    marked = suite.examine(
        target / "model.gguf",
        asked,
        settings.chat.system_prompt,
        settings.evaluate,
        settings.train.max_seq_length,
    )
    scores = {
        key: asdict(score)
        for key, score in suite.scores(marked, max(taught), settings.evaluate.seed).items()
    }
    decision = decide(scores, settings.promotion, is_ancestor=False)
    files.write_jsonl(target / "answers.jsonl", suite.as_rows(marked))
    files.write_json(
        target / "result.json",
        {
            "name": name,
            "must_fail": must_fail,
            "conversations": len(training),
            "scores": scores,
            **trained,
            "promoted": decision.promoted,
            "failed": [verdict.clause for verdict in decision.verdicts if not verdict.passed],
        },
    )
    say(f"{name}: {decision.notes} ({time.monotonic() - started:.0f} s)")


def table(folder: Path, names: list[str]) -> str:
    lines = [
        "| control | must fail | taught | steps | recall (old, new) | generalisation | tone drift | fails |",
        "| --- | --- | ---: | ---: | --- | --- | --- | --- |",
    ]
    for name in names:
        path = folder / name.replace(" ", "-") / "result.json"
        if path.is_file():
            row = files.read_json(path)
            recall, general, tone = (
                row["scores"][key] for key in ("recall", "generalisation", "tone_drift")
            )
            parts = (
                ""
                if recall["details"]["old"] is None
                else f" ({recall['details']['old']:.3f}, {recall['details']['new']:.3f})"
            )
            lines.append(
                f"| {name} | {row['must_fail']} | {row['conversations']} | {row['steps']} | {recall['value']:.3f} of {recall['n']}{parts} | {general['value']:.3f} of {general['n']} "
                f"| {tone['value']:.3f} | {', '.join(row['failed']).replace('_', ' ') or 'nothing: promoted'} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(
            "Give a folder for the models, and the names of some controls if not all are wanted: python -m bench.controls FOLDER [NAME ...]"
        )
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = params.load(SOURCE)
    controls = Controls(replay=FACTS * 7)
    for name in sys.argv[2:] or controls.plan:
        if name not in controls.plan:
            raise SystemExit(f"There is no control '{name}': there are {', '.join(controls.plan)}.")
        if not (folder / name.replace(" ", "-") / "result.json").is_file():
            build(name, folder, settings, controls, lambda text: print(text, flush=True))
    print(table(folder, list(controls.plan)))


if __name__ == "__main__":
    main()
