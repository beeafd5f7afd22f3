"""train: a low-rank adapter on the parent's exact 16-bit weights."""

import hashlib
import shutil
from pathlib import Path

from luna import artifacts, files, params, stage
from luna.conversations import schema
from luna.model import adapter, weights
from luna.params import Params
from luna.parentage import WEIGHTS_SCRATCH, line_adapters
from luna.training import environment

CHECKPOINTS = artifacts.SCRATCH / "checkpoints"


def checkpoint_key(settings: Params) -> str:
    """A checkpoint is gone on from only by the very run that wrote it: same parent, data, parameters."""
    text = f"{settings.generation.parent}{settings.train}{settings.chat}{files.digest(artifacts.TRAINING_SET)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(settings: Params, outcome: dict) -> dict:
    new, all_of_them = (len(files.read_jsonl(path)) for path in (artifacts.DELTA, artifacts.TRAINING_SET))
    return {
        "parent_generation": settings.generation.parent,
        "training_steps": 0, "new_conversations": new, "replay_samples": all_of_them - new,
        "max_seq_length": settings.train.max_seq_length, "batch_size": settings.train.batch_size,
        "gradient_accumulation": settings.train.gradient_accumulation, "learning_rate": settings.train.learning_rate,
        "walltime_minutes": 0.0, "loss_start": None, "loss_final": None,
        "settings": settings.train.model_dump(),
    } | outcome


def main() -> None:
    settings = params.load()
    if settings.generation.is_ancestor:
        adapter.save_identity(artifacts.ADAPTER)
        files.write_text(artifacts.LOSS_CURVE, "step\tloss\n")
        files.write_json(artifacts.TRAIN_ARGS, describe(settings, {"learning_rate": 0.0}))
        print("train: generation 0 is the base itself, nothing to train")
        return

    parent = weights.rebuild(artifacts.BASE, line_adapters(Path(), settings), WEIGHTS_SCRATCH)
    environment.prepare(settings.train.device)
    from luna.training import trainer  # imports torch and unsloth, whose environment is set above

    place = CHECKPOINTS / checkpoint_key(settings)
    place.mkdir(parents=True, exist_ok=True)
    for stale in CHECKPOINTS.iterdir():
        if stale != place:
            shutil.rmtree(stale)
    conversations = schema.load_file(artifacts.TRAINING_SET)
    outcome = trainer.train(parent, conversations, settings.chat, settings.train, place, artifacts.LOSS, artifacts.ADAPTER)
    adapter.tidy(artifacts.ADAPTER)
    files.write_json(artifacts.TRAIN_ARGS, describe(settings, {
        "training_steps": outcome.steps, "walltime_minutes": round(outcome.seconds / 60, 2),
        "loss_start": outcome.loss_start, "loss_final": round(outcome.loss_final, 4),
        "tokens": outcome.tokens, "device": outcome.device,
        "peak_memory_bytes": outcome.peak_memory, "peak_gpu_memory_bytes": outcome.peak_gpu_memory,
        "versions": trainer.versions(),
    }))
    shutil.rmtree(CHECKPOINTS)
    print(f"train: {outcome.steps} steps, loss {outcome.loss_start:.2f} -> {outcome.loss_final:.2f}, {outcome.seconds:.0f} s on {outcome.device}")


if __name__ == "__main__":
    stage.run("train", main)
