"""prep: the delta that no ancestor has seen, the replay, the training set, and the probes to judge by."""

import hashlib
from pathlib import Path

from luna import artifacts, files, params, stage
from luna.conversations import batches, choose, probes, schema, taught
from luna.conversations.batches import Waiting
from luna.conversations.schema import Conversation
from luna.errors import InputError
from luna.history.line import artifact, read_line
from luna.names import BASE_PARENT, GenerationName

ROOT = Path()


def of_ancestors(names: list[str], path: Path) -> dict[int, list[Conversation]]:
    """What each ancestor was taught (its delta) or kept for the exam (its held-out part), by its number."""
    return {
        GenerationName.parse(name).number: [
            schema.parse(row) for row in files.read_jsonl(artifact(ROOT, name, path))
        ]
        for name in names
    }


def main() -> None:
    """Run the stage."""
    settings = params.load()
    generation, data = settings.generation, settings.data
    number = generation.identity.number
    written = probes.curated(artifacts.CURATED_PROBES)

    if generation.is_ancestor:
        # Taught nothing; asked what is waiting to be taught, which it must fail.
        waiting = Waiting([], batches.read(artifacts.CONVERSATIONS, data), None)
        rows, delta, held_out, replay = [], [], [], []
        asked, exam = {None: waiting.later}, {}
    else:
        line = read_line(ROOT, settings.line.prefix).ancestors(generation.parent)
        rows = taught.loads(
            artifact(ROOT, generation.parent, artifacts.TAUGHT).read_text(encoding="utf-8")
        )
        waiting = batches.waiting(
            artifacts.CONVERSATIONS, data, {row.identity for row in rows}, only=batches.listed(ROOT)
        )
        if not waiting.next:
            raise InputError(
                "There is nothing new to learn: add conversations to data/conversations, then run the same command again."
            )
        delta, held_out = probes.hold_out(waiting.next, data.hold_out, data.seed)
        old = of_ancestors(line, artifacts.DELTA)
        replay = choose.stratified(old, data.replay_samples, data.seed)
        asked, exam = (
            old | {number: delta},
            of_ancestors(line, artifacts.HELD_OUT) | {number: held_out},
        )
        rows += [
            taught.Taught(item.identity, number, item.karma)
            for item in sorted(delta + held_out, key=lambda item: item.identity)
        ]

    training = choose.training_order(delta + [item for _, item in replay], data.seed)
    chosen = (
        probes.build(asked, written, data.probes_per_kind, data.seed)
        + probes.choice_probes(exam, data.seed)[: data.probes_per_kind]
    )
    compared = probes.refuse_leaks(chosen, training)

    files.write_jsonl(artifacts.DELTA, (item.as_row() for item in delta))
    files.write_jsonl(artifacts.HELD_OUT, (item.as_row() for item in held_out))
    files.write_jsonl(artifacts.TRAINING_SET, (item.as_row() for item in training))
    files.write_jsonl(artifacts.PROBES, (probe.as_row() for probe in chosen))
    files.write_text(artifacts.TAUGHT, taught.dumps(rows))
    files.write_text(
        artifacts.DELTA_SHA256, files.sha256_line(artifacts.DELTA, artifacts.DELTA.as_posix())
    )
    files.write_text(artifacts.PARENT, f"{generation.parent or BASE_PARENT}\n")
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
            "total_training_examples": len(training),
            "karma": sum(item.karma for item in delta + held_out),
            "karma_left": sum(item.karma for item in waiting.later),
            "folder": waiting.folder,
            "data_delta_sha256": files.digest(artifacts.DELTA),
            "probes": {
                kind: sum(probe.kind == kind for probe in chosen)
                for kind in (probes.RECALL, probes.GENERALISATION, probes.CHOICE)
            },
            "probe_set_sha256": hashlib.sha256(
                "".join(sorted(probe.identity for probe in chosen)).encode()
            ).hexdigest(),
            "leak_check": {"pairs_compared": compared, "limit": probes.NEAR_DUPLICATE},
        },
    )
    print(f"prep: {len(delta)} new conversations, {len(replay)} replayed, {len(chosen)} probes")


if __name__ == "__main__":
    stage.run("prep", main)
