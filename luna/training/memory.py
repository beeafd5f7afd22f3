"""Estimates the memory of a training before it starts, and which settings take less.

The estimate is an upper one, of these parts (P weights, L of the adapter, tokens T = batch size x longest conversation):

* the program itself: Python, torch and unsloth;
* the frozen weights: 2 P in bfloat16; with 4 bits 0.53 bytes a weight for the layers (NF4 with double quantisation:
  4.127 bits, Dettmers et al. 2023, arXiv 2305.14314, section 3, and rounding to blocks), the embeddings staying at 2;
* the adapter: 16 L, being float32 values, their gradients and Adam's two moments (Rajbhandari et al. 2020, arXiv
  1910.02054, section 3.1, less the 16-bit copy);
* activations kept for the backward pass, a layer: T x (17 hidden + 8 intermediate + 5 heads x length) bytes, which is
  equation 1 of Korthikanti et al. 2022 (arXiv 2205.05198) with a gated MLP in place of theirs. With checkpoints, which unsloth
  makes on CUDA where memory is short (``checkpoints``): 2 hidden x T a layer, and one layer in full;
* the logits: 12 bytes a token and word of the vocabulary (bfloat16, float32, and their gradients).

The export afterwards reads the model once more in float32 (4 P) on the machine's own memory, on a GPU machine too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from luna.errors import InputError
from luna.params import Train

PROGRAM = 1_000_000_000  # resident after the imports, measured 0.9 GB on the CPU
CONTEXT = 600_000_000  # CUDA's own, on the GPU
_FOUR_BITS = 0.53
_FILLED = 0.8  # of the free memory of a GPU, at most, before activations are computed twice
_SHORTEST = 64  # tokens: a context below this teaches no conversation


@dataclass(frozen=True)
class Shape:
    """What of a model its memory depends on; ``parameters`` counts its weights."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value: int
    vocabulary: int

    @classmethod
    def of(cls, config: Mapping[str, Any], parameters: int) -> Shape | None:
        """From a Hugging Face config.json; None for an architecture that does not name its sizes as most do."""
        try:
            heads = config["num_attention_heads"]
            head = config.get("head_dim") or config["hidden_size"] // heads
            return cls(
                parameters,
                config["num_hidden_layers"],
                config["hidden_size"],
                config["intermediate_size"],
                heads,
                head * (config.get("num_key_value_heads") or heads),
                config["vocab_size"],
            )
        except (KeyError, TypeError, ZeroDivisionError):
            return None

    def adapter(self, settings: Train) -> int:
        """Weights of a LoRA adapter."""
        q = self.hidden
        sides = {
            "q_proj": self.hidden + q,
            "o_proj": q + self.hidden,
            "k_proj": self.hidden + self.key_value,
            "v_proj": self.hidden + self.key_value,
            "gate_proj": self.hidden + self.intermediate,
            "up_proj": self.hidden + self.intermediate,
            "down_proj": self.intermediate + self.hidden,
        }
        names = sides if settings.target_modules == "auto" else settings.target_modules
        sums = (sides.get(name, self.hidden + self.intermediate) for name in names)
        return self.layers * settings.lora_rank * sum(sums)


@dataclass(frozen=True)
class Need:
    """``machine`` and ``gpu`` (None without one) are peaks in bytes."""

    machine: int
    gpu: int | None


def need(
    shape: Shape,
    settings: Train,
    longest: int,
    cuda: bool,
    exports: bool = True,
    checkpointed: bool = True,
) -> Need:
    """At least: ``checkpointed`` takes less, on CUDA.

    ``longest``: tokens of the longest conversation, which settings.max_seq_length bounds; ``exports``: whether this machine does the export as well.
    """
    length = min(longest, settings.max_seq_length)
    tokens = settings.batch_size * length
    frozen = 2 * shape.parameters
    if settings.load_in_4bit:
        embeddings = shape.vocabulary * shape.hidden
        frozen = int(_FOUR_BITS * max(0, shape.parameters - embeddings)) + 2 * embeddings
    layer = tokens * (17 * shape.hidden + 8 * shape.intermediate + 5 * shape.heads * length)
    kept = shape.layers * layer
    if cuda and checkpointed:
        kept = shape.layers * 2 * shape.hidden * tokens + layer
    training = frozen + 16 * shape.adapter(settings) + kept + 12 * tokens * shape.vocabulary
    export = PROGRAM + 4 * shape.parameters if exports else 0
    if cuda:
        return Need(max(export, PROGRAM + 2 * shape.parameters), CONTEXT + training)
    return Need(max(export, PROGRAM + training), None)


def checkpoints(shape: Shape | None, settings: Train, longest: int, free: int | None) -> bool:
    """Whether a training on CUDA with ``free`` bytes must compute activations twice to fit; unknown is taken as yes.

    Without that a step takes three quarters of the time, and the first one a third.
    """
    if shape is None or free is None:
        return True
    wanted = need(shape, settings, longest, True, False, checkpointed=False).gpu
    return wanted is None or wanted > _FILLED * free


def advice(
    settings: Train, cuda: bool, fits: Callable[[Train], bool] = lambda settings: True
) -> str:
    """The settings to write into params.yaml so that a training takes less memory, as a phrase; each alternative is one that ``fits``.

    Without an estimate each alternative is the next smaller one.
    """
    texts = [text for change in _CHANGES if (text := change(settings, cuda, fits))]
    if texts:
        return ", or ".join(texts)
    smallest = settings.model_copy(
        update={
            "batch_size": 1,
            "load_in_4bit": cuda,
            "max_seq_length": min(settings.max_seq_length, _SHORTEST),
        }
    )
    if smallest == settings or not fits(smallest):
        return "no smaller setting fits: choose a smaller base, or a machine with more memory"
    length = settings.max_seq_length
    while length > _SHORTEST and not fits(
        settings.model_copy(
            update={"batch_size": 1, "load_in_4bit": cuda, "max_seq_length": length}
        )
    ):
        length = max(_SHORTEST, length // 2)
    four = "train.load_in_4bit: true, " if cuda else ""
    return f"all of train.batch_size: 1, train.gradient_accumulation: {settings.batch_size * settings.gradient_accumulation}, {four}train.max_seq_length: {length}"


def _smaller_batch(settings: Train, cuda: bool, fits: Callable[[Train], bool]) -> str | None:
    size = settings.batch_size
    while size > 1:
        size //= 2
        accumulation = -(-settings.batch_size * settings.gradient_accumulation // size)
        if fits(settings.model_copy(update={"batch_size": size})):
            return f"train.batch_size: {size} with train.gradient_accumulation: {accumulation} (the same batch in parts)"
    return None


def _four_bits(settings: Train, cuda: bool, fits: Callable[[Train], bool]) -> str | None:
    changed = settings.model_copy(update={"load_in_4bit": True})
    return (
        "train.load_in_4bit: true" if cuda and not settings.load_in_4bit and fits(changed) else None
    )


def _shorter(settings: Train, cuda: bool, fits: Callable[[Train], bool]) -> str | None:
    length = settings.max_seq_length
    while length > _SHORTEST:
        length = max(_SHORTEST, length // 2)
        if fits(settings.model_copy(update={"max_seq_length": length})):
            return f"train.max_seq_length: {length} (longer conversations are cut)"
    return None


_CHANGES = (_smaller_batch, _four_bits, _shorter)


@contextlib.contextmanager
def explained(settings: Train) -> Iterator[None]:
    """Turns running out of memory into one sentence with settings that take less; all else passes.

    Raises:
        InputError: CUDA, torch's allocator on the CPU, or Python itself could not get the memory asked for.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = (
            type(error).__name__ == "OutOfMemoryError"
        )  # torch's; torch itself is not imported for it
        if (
            not on_gpu
            and not isinstance(error, MemoryError)
            and "allocate memory" not in str(error)
        ):
            raise
        whose = "The GPU's memory" if on_gpu else "The memory"
        raise InputError(
            f"{whose} was not enough for train.batch_size {settings.batch_size} and train.max_seq_length {settings.max_seq_length}: in params.yaml set "
            f"{advice(settings, on_gpu)}; then run the same command again."
        ) from error
