"""The train stage: a low-rank adapter on the parent's exact 16-bit weights."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from luna import artifacts, files, params, stage
from luna.conversations import general, schema
from luna.history import build as builds
from luna.history.adapters import WEIGHTS_SCRATCH, of_parent
from luna.model import adapter, weights
from luna.model import folder as model_folder
from luna.params import Params
from luna.training import environment, parallel
from luna.training.outcome import CEILING, Outcome, versions


def checkpoint_key(settings: Params) -> str:
    """A checkpoint is resumed only by the same run: same parent, data and parameters."""
    text = f"{settings.generation}{settings.train}{settings.chat}{files.digest(artifacts.TRAINING_SET)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(settings: Params, prep: dict, outcome: dict) -> dict:
    """What models/train_args.json says of the training."""
    return {
        "generation": settings.generation.name,
        "parent_generation": settings.generation.parent,
        "training_steps": 0,
        "new_conversations": prep["new_conversations"],
        "replay_samples": prep["replay_samples"],
        "max_seq_length": settings.train.max_seq_length,
        "batch_size": settings.train.batch_size,
        "gradient_accumulation": settings.train.gradient_accumulation,
        "learning_rate": settings.train.learning_rate,
        "walltime_minutes": 0.0,
        "loss_start": None,
        "loss_final": None,
        "target_modules": [],
        "stopped": None,
        "ended": None,
        "known": None,
        "known_at": None,
        "scale": 1.0,
        "settings": settings.train.model_dump(),
    } | outcome


def train(parent: Path, settings: Params, checkpoints: Path, loss: Path, out: Path) -> Outcome:
    """In this process, or in several."""
    new = {item.identity for item in schema.load_file(artifacts.DELTA)}
    replies = general.as_conversations(files.read_jsonl(artifacts.GENERAL_REPLIES))
    # What the base said itself shows nothing of what was learnt.
    known = {item.identity for item in replies} - new
    if settings.train.processes > 1:
        return parallel.train(
            parent, settings.chat, settings.train, checkpoints, loss, out, new, known
        )
    environment.prepare(settings.train.device)
    from luna.training import trainer  # imports torch and unsloth, whose environment is set above

    return trainer.train(
        parent,
        schema.load_file(artifacts.TRAINING_SET),
        settings.chat,
        settings.train,
        checkpoints,
        loss,
        out,
        new,
        known,
    )


def teach_nothing(settings: Params, prep: dict) -> None:
    """Generation 0 is the base itself."""
    with made() as (loss, out):
        adapter.save_identity(out)
        for name, curve in {"loss": artifacts.LOSS_CURVE, **artifacts.RESOURCES}.items():
            files.write_text(loss / curve.relative_to(artifacts.LOSS), f"step\t{name}\n")
    files.write_json(artifacts.TRAIN_ARGS, describe(settings, prep, {"learning_rate": 0.0}))
    print("train: generation 0 is the base itself, nothing to train")


@contextlib.contextmanager
def made() -> Iterator[tuple[Path, Path]]:
    """New folders for the loss curve and the adapter; they take their places together, at the end."""
    with (
        files.replacing_folder(artifacts.LOSS, artifacts.SCRATCH) as loss,
        files.replacing_folder(artifacts.ADAPTER, artifacts.SCRATCH) as out,
    ):
        yield loss, out


def _short(outcome: Outcome) -> str:
    """That the most passes were made before enough was known."""
    if outcome.ended != CEILING:
        return ""
    return (
        "; the most steps were made before enough was known (train.epochs, train.stop_when_known)"
    )


def main() -> None:
    """Run the stage."""
    settings = params.sections("train", "chat", "generation")
    build = builds.of_stage(Path(), settings)
    prep = files.read_json(artifacts.PREP_REPORT)
    if settings.generation.is_ancestor:
        teach_nothing(settings, prep)
        return

    parent = weights.rebuild(of_parent(Path(), build), WEIGHTS_SCRATCH)
    checkpoints = artifacts.CHECKPOINTS / checkpoint_key(settings)
    checkpoints.mkdir(parents=True, exist_ok=True)
    for stale in artifacts.CHECKPOINTS.iterdir():
        if stale != checkpoints:
            shutil.rmtree(stale)
    with made() as (loss, out):
        outcome = train(parent, settings, checkpoints, loss, out)
        if outcome.stopped and outcome.stopped.failed:
            # The result of such a run is useless; with the parent's own weights the generation can be examined and sealed like any other.
            adapter.save_identity(
                out, f"training failed, so its result is discarded: {outcome.stopped.why}"
            )
        else:
            adapter.tidy(out)
    files.write_json(
        artifacts.TRAIN_ARGS,
        describe(
            settings,
            prep,
            {
                "training_steps": outcome.steps,
                "target_modules": model_folder.targets(parent, settings.train.target_modules),
                "walltime_minutes": round(outcome.seconds / 60, 2),
                "loss_start": outcome.loss_start,
                "loss_final": outcome.loss_final,
                "stopped": asdict(outcome.stopped) | {"failed": outcome.stopped.failed}
                if outcome.stopped
                else None,
                "ended": outcome.ended,
                "known": outcome.known,
                "known_at": outcome.known_at,
                "scale": outcome.scale,
                "tokens": outcome.tokens,
                "training_seconds": round(outcome.training_seconds, 2),
                "tokens_per_second": outcome.tokens_per_second,
                "device": outcome.device,
                "peak_memory_bytes": outcome.peak_memory,
                "peak_gpu_memory_bytes": outcome.peak_gpu_memory,
                "versions": versions(),
            },
        ),
    )
    shutil.rmtree(artifacts.CHECKPOINTS)
    losses = (
        f"loss {outcome.loss_start:.2f} -> {outcome.loss_final:.2f}"
        if outcome.losses
        else "no finite loss"
    )
    known = "" if outcome.known is None else f", known {outcome.known:.0%}"
    early = f"; stopped early: {outcome.stopped.why}" if outcome.stopped else _short(outcome)
    print(
        f"train: {outcome.steps} steps, {losses}{known}, {outcome.seconds:.0f} s on {outcome.device}{early}"
    )


if __name__ == "__main__":
    stage.run("train", main)
