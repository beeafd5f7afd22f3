"""What a training run reports besides its adapter."""

from __future__ import annotations

import contextlib
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from luna.training.watch import Stop

VERSIONED = (
    "torch",
    "unsloth",
    "unsloth_zoo",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
)

_ON_A_GPU = ("triton", "bitsandbytes")

#: Why a training ended, where the watch on the loss did not end it: what is taught is known; the most passes are made;
#: as many steps as were asked for are made.
KNOWN, CEILING, STEPS = "known", "ceiling", "steps"


@dataclass(frozen=True)
class Outcome:
    """``seconds`` are wall clock, with those of the steps of earlier runs that it resumed; ``training_seconds`` are the steps' alone; ``peak_memory`` and ``peak_gpu_memory`` are bytes of one process.

    ``losses`` holds the finite ones; ``stopped`` says why training ended before its last step. ``known`` is the share of
    a sample of what was taught that the model knows in the end, 0..1, and ``known_at`` the step at which it was enough;
    None where nobody looked, or it never was. ``scale``: of the adapter, in parts of what it was trained at. ``ended``: one of the constants above, or the kind of the stop.
    """

    steps: int
    losses: dict[int, float]
    seconds: float
    tokens: int
    device: str
    peak_memory: int
    peak_gpu_memory: int | None
    stopped: Stop | None = None
    training_seconds: float = 0.0
    tokens_per_second: float = 0.0
    ended: str = STEPS
    known: float | None = None
    known_at: int | None = None
    scale: float = 1.0

    @property
    def loss_start(self) -> float | None:
        """The loss of the first logged step; None where nothing was trained."""
        return self.losses[min(self.losses)] if self.losses else None

    @property
    def loss_final(self) -> float | None:
        """Mean of the last tenth of the steps (at least one): a single batch says little."""
        tail = [self.losses[step] for step in sorted(self.losses)][
            -max(1, len(self.losses) // 10) :
        ]
        return round(sum(tail) / len(tail), 4) if tail else None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that training depends on; of a GPU's own where they are installed."""
    given = {"python": platform.python_version()} | {name: version(name) for name in VERSIONED}
    for name in _ON_A_GPU:
        with contextlib.suppress(PackageNotFoundError):
            given[name] = version(name)
    return given
