"""Training on several GPUs: one process each, data parallel, as torchrun starts them.

Unsloth places each process's model on the GPU of its LOCAL_RANK and leaves the rest to transformers and accelerate
(unsloth/models/loader.py, prepare_device_map). A step then learns from as many batches as there are processes.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from luna import artifacts, ending, files
from luna.errors import InputError, StateError
from luna.params import Chat, Train
from luna.training import environment
from luna.training.outcome import Outcome
from luna.training.watch import Stop

SPEC, RESULT = artifacts.SCRATCH / "parallel.json", artifacts.SCRATCH / "parallel-result.json"


def train(
    weights: Path,
    chat: Chat,
    settings: Train,
    checkpoints: Path,
    loss_dir: Path,
    out: Path,
    new: Collection[str],
    known: Collection[str] = (),
) -> Outcome:
    """As luna.training.trainer.train on models/training_set.jsonl, in ``settings.processes`` processes.

    Raises:
        InputError: a process ran out of memory, or a conversation is too long.
        StateError: a process ended for another reason.
    """
    RESULT.unlink(missing_ok=True)
    files.write_json(
        SPEC,
        {
            "weights": str(weights),
            "chat": chat.model_dump(),
            "settings": settings.model_dump(),
            "checkpoints": str(checkpoints),
            "loss": str(loss_dir),
            "out": str(out),
            "new": sorted(new),
            "known": sorted(known),
        },
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={settings.processes}",
        "-m",
        __name__,
    ]
    try:
        with ending.child(command) as process:
            code = process.wait()
        result = files.read_json(RESULT) if RESULT.exists() else {}
        if "refused" in result:
            raise InputError(result["refused"])
        if code or not result:
            raise StateError(
                f"Training in {settings.processes} processes ended with exit code {code} (see above): correct the cause, or set train.processes: 1, then run the same command again."
            )
        stopped = Stop(**result["stopped"]) if result["stopped"] else None
        return Outcome(
            **result
            | {
                "losses": {int(step): loss for step, loss in result["losses"].items()},
                "stopped": stopped,
            }
        )
    finally:
        SPEC.unlink(missing_ok=True)
        RESULT.unlink(missing_ok=True)


def main() -> None:
    """One of the processes; torchrun has set RANK, LOCAL_RANK and WORLD_SIZE."""
    spec = files.read_json(SPEC)
    settings = Train.model_validate(spec["settings"])
    ending.on_sigterm("train")
    environment.prepare(settings.device)
    from luna.conversations import schema
    from luna.training import trainer

    try:
        conversations = schema.load_file(artifacts.TRAINING_SET)
        outcome = trainer.train(
            Path(spec["weights"]),
            conversations,
            Chat.model_validate(spec["chat"]),
            settings,
            Path(spec["checkpoints"]),
            Path(spec["loss"]),
            Path(spec["out"]),
            new=frozenset(spec["new"]),
            known=frozenset(spec["known"]),
        )
    except InputError as error:
        files.write_json(RESULT, {"refused": str(error)})
        sys.exit(error.exit_code)
    if environment.is_first():
        files.write_json(RESULT, asdict(outcome))


if __name__ == "__main__":
    main()
