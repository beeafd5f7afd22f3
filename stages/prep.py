"""The prep stage: new data, replay, the training set, and the probes to judge by."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from luna import artifacts, files, params, stage
from luna.conversations import batches, choose, general, probes, schema, taught
from luna.conversations.probes import Probe
from luna.conversations.rephrase import plan
from luna.conversations.rephrase.once import holds_code, worded_once
from luna.conversations.rephrase.training import MOST_EXAMPLES
from luna.conversations.schema import Conversation
from luna.conversations.similar import NEAR_DUPLICATE
from luna.errors import InputError
from luna.history import build as builds
from luna.history.build import Build
from luna.history.line import artifact
from luna.names import GenerationName
from luna.params import Data

if TYPE_CHECKING:
    from luna.answering.rewrite import Rewritten

ROOT = Path()


def of_ancestors(build: Build, path: Path) -> dict[int, list[Conversation]]:
    """What each ancestor was taught (its delta) or kept for the exam (its held-out part), by its number."""
    return {
        GenerationName.parse(one.name).number: [
            schema.parse(row)
            for row in files.read_jsonl(artifact(ROOT, one.name, path, one.commit))
        ]
        for one in build.ancestors
    }


def recorded(build: Build, data: Data) -> tuple[list[Conversation], list[Probe]]:
    """The conversations and the written probes that 'luna new' chose; later ones are not read.

    Raises InputError where one of them is not there any more.
    """
    here = {item.identity: item for item in batches.read(artifacts.CONVERSATIONS, data)}
    written = {item.conversation: item for item in probes.curated(artifacts.CURATED_PROBES)}
    for folder, wanted, have in (
        (artifacts.CONVERSATIONS, build.conversations, here),
        (artifacts.CURATED_PROBES, build.probes, written),
    ):
        if lacking := [identity for identity in wanted if identity not in have]:
            raise InputError(
                f"{len(lacking)} of the {len(wanted)} conversations that {build.name} is built of are not in {folder.as_posix()} any more "
                f"({lacking[0][:12]}): put them back, or start again without them by 'luna new --replace'."
            )
    return [here[identity] for identity in build.conversations], [
        written[identity] for identity in build.probes
    ]


def reworded(build: Build, delta: list[Conversation]) -> Rewritten:
    """What the parent itself says for the questions that were said once, by the conversation's identity."""
    from luna.answering.rewrite import rewrite  # llama.cpp, which few generations need here

    asked = {item.identity: item.question[-1][1] for item in worded_once(delta)}
    some = [key for key, question in asked.items() if not holds_code(question)][:MOST_EXAMPLES]
    model = artifact(ROOT, build.parent, artifacts.MODEL, build.ancestors[-1].commit)
    return rewrite(model, {key: asked[key] for key in some})


def main() -> None:
    """Run the stage."""
    settings = params.sections("generation", "data")
    generation, data = settings.generation, settings.data
    number = generation.identity.number
    build = builds.of_stage(ROOT, settings)
    chosen_by_new, written = recorded(build, data)

    if generation.is_ancestor:
        # It learnt nothing; it is asked the waiting conversations, those that will be held out too, and must fail them.
        rows: list[taught.Taught] = []
        delta: list[Conversation] = []
        held_out: list[Conversation] = []
        old: dict[int, list[Conversation]] = {}
        replay: list[tuple[int, Conversation]] = []
        asked: dict[int | None, list[Conversation]] = {None: chosen_by_new}
        exam: dict[int | None, list[Conversation]] = {
            None: probes.hold_out(chosen_by_new, data.hold_out, data.seed)[1]
        }
    else:
        rows = taught.loads(
            artifact(ROOT, build.parent, artifacts.TAUGHT, build.ancestors[-1].commit).read_text(
                encoding="utf-8"
            )
        )
        delta, held_out = probes.hold_out(chosen_by_new, data.hold_out, data.seed)
        old = of_ancestors(build, artifacts.DELTA)
        replay = choose.stratified(old, data.replay_samples, data.seed)
        asked = dict[int | None, list[Conversation]](old.items())
        asked[number] = delta
        exam = dict[int | None, list[Conversation]](of_ancestors(build, artifacts.HELD_OUT).items())
        exam[number] = held_out
        rows += [
            taught.Taught(item.identity, number, item.karma)
            for item in sorted(delta + held_out, key=lambda item: item.identity)
        ]

    lesson, by_rule, by_model = plan.Lesson(delta, replay, asked), None, None
    if data.augment == "model" and delta:
        by_model = reworded(build, delta)
    if data.augment != "none":
        kept = [item for items in exam.values() for item in items]
        lesson, by_rule = plan.with_rules(
            lesson,
            old,
            kept,
            written,
            data.replay_samples,
            data.probes_per_kind,
            (data.seed, number),
            by_model.texts if by_model else {},
        )
    replay = lesson.replay
    chosen = (
        probes.build(lesson.asked, written, data.probes_per_kind, data.seed)
        + probes.choice_probes(exam, data.seed)[: data.probes_per_kind]
    )
    replies = general.as_conversations(files.read_jsonl(artifacts.GENERAL_REPLIES))
    kept_general = general.replay(
        replies,
        lesson.examples,
        (probe.messages[-1][1] for probe in chosen),
        0.0 if generation.is_ancestor else data.general_replay,
        data.seed,
    )
    training = choose.training_order(lesson.examples + kept_general, data.seed)
    compared = probes.refuse_leaks(chosen, training)

    files.write_jsonl(artifacts.DELTA, (item.as_row() for item in delta))
    files.write_jsonl(artifacts.HELD_OUT, (item.as_row() for item in held_out))
    files.write_jsonl(artifacts.TRAINING_SET, (item.as_row() for item in training))
    files.write_jsonl(artifacts.PROBES, (probe.as_row() for probe in chosen))
    files.write_text(artifacts.TAUGHT, taught.dumps(rows))
    files.write_text(
        artifacts.DELTA_SHA256, files.sha256_line(artifacts.DELTA, artifacts.DELTA.as_posix())
    )
    files.write_text(artifacts.PARENT, f"{generation.origin}\n")
    keyframe = asdict(build.keyframe) if build.keyframe else None
    files.write_json(artifacts.KEYFRAME_RECIPE, {"keyframe": keyframe})
    replayed = {
        str(key): sum(1 for group, _ in replay if group == key)
        for key in sorted({key for key, _ in replay})
    }
    files.write_json(
        artifacts.PREP_REPORT,
        {
            "new_conversations": len(delta),
            "held_out": len(held_out),
            "replay_samples": len(replay),
            "replay_by_generation": replayed,
            "replay_available": sum(map(len, old.values())),
            "general_replay": len(kept_general),
            "general_available": len(replies),
            "total_training_examples": len(training),
            "made_by_rule": asdict(by_rule) if by_rule else None,
            **({"written_by_model": by_model.counts} if by_model else {}),
            "karma": sum(item.karma for item in delta + held_out),
            "karma_left": build.karma_left,
            "folder": build.folder,
            "data_delta_sha256": files.digest(artifacts.DELTA),
            "probes": {
                kind: sum(probe.kind == kind for probe in chosen)
                for kind in (probes.RECALL, probes.GENERALISATION, probes.CHOICE)
            },
            "probe_set_sha256": hashlib.sha256(
                "".join(sorted(probe.identity for probe in chosen)).encode()
            ).hexdigest(),
            "leak_check": {"pairs_compared": compared, "limit": NEAR_DUPLICATE},
        },
    )
    print(f"prep: {len(delta)} new conversations, {len(replay)} replayed, {len(chosen)} probes")


if __name__ == "__main__":
    stage.run("prep", main)
