"""Greedy answers of a GGUF model to many prompts at once, by llama.cpp.

Continuous batching over llama.cpp's low-level interface: up to ``parallel`` sequences share one
context; what all prompts begin with (system prompt and template) is evaluated once and its cells
are shared; a sequence that ends makes room for the next prompt at once.
"""

from __future__ import annotations

import codecs
import os
import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import llama_cpp
import numpy as np

from luna.answering.gguf_vocabulary import GgufVocabulary, silent
from luna.errors import ExportError

BATCH_TOKENS = 512
#: Tokens of a talk, however many a model was made for: what is kept of each takes memory from the start.
MAX_WINDOW = 16_384
#: Tokens less likely than this share of the likeliest are not drawn (min-p, Nguyen et al. 2024, arXiv 2407.01082).
_MIN_P = 0.05


@dataclass(frozen=True)
class Answer:
    """``ended`` is False when the model was cut off at ``limit`` tokens; ``failed`` when its logits were no numbers."""

    text: str
    tokens: int
    ended: bool
    failed: bool = False
    limit: int | None = None  # None: chosen, not written; or by an earlier version


@dataclass
class _Sequence:
    index: int
    prompt: list[int]
    position: int  # of the next token to evaluate
    written: list[int]
    chance: Callable[[], float] | None  # numbers from 0 to 1 to draw by; None: greedy


class Engine(GgufVocabulary):
    """A loaded model. Use as a context manager; the model is loaded once and freed at the end.

    ``context_per_sequence``: tokens of a prompt with its answer; None: the model's own window, for one talk alone.
    """

    def __init__(
        self,
        path: Path,
        parallel: int = 16,
        context_per_sequence: int | None = 512,
        threads: int | None = None,
        gpu_layers: int = 0,
    ) -> None:
        self.parallel = parallel
        threads = threads or max(
            1,
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
        )
        super().__init__(path, gpu_layers)
        with silent():
            params = llama_cpp.llama_context_default_params()
            if context_per_sequence is None:
                context_per_sequence = min(self.context_length or MAX_WINDOW, MAX_WINDOW)
                params.n_ctx = context_per_sequence
            else:
                params.n_ctx = (parallel + 1) * context_per_sequence
            params.n_seq_max = parallel + 1  # one for the shared beginning
            params.n_batch = params.n_ubatch = BATCH_TOKENS
            params.n_threads = params.n_threads_batch = threads
            params.kv_unified = True
            self._context = llama_cpp.llama_init_from_model(self._model, params)
            if not self._context:
                super().close()
                raise ExportError(
                    f"llama.cpp cannot make a context for {path}: lower evaluate.parallel in params.yaml."
                )
        self.limit = context_per_sequence
        # The tokens that sequence 0 has evaluated, in the order of their positions.
        self._held: list[int] = []
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)

    def close(self) -> None:
        """Free the model and end the process that renders its template."""
        with silent():
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._context)
        super().close()

    # -- evaluation

    def _forget(self, sequence: int) -> None:
        if sequence == 0:
            self._held = []
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._context), sequence, 0, -1)

    def _forget_all(self) -> None:
        self._held = []
        # Not by the number -1, which llama.cpp takes for all sequences: models with a recurrent state refuse it.
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), False)

    def _keep_beginning(self, prompt: list[int]) -> int:
        """Forget all but what the prompt begins with; returns how many of its tokens need no evaluation."""
        same = 0
        while same < min(len(self._held), len(prompt) - 1) and self._held[same] == prompt[same]:
            same += 1
        memory = llama_cpp.llama_get_memory(self._context)
        # Some architectures cannot forget an end alone, or have let go of the beginning (sliding windows).
        if (
            same
            and llama_cpp.llama_memory_seq_rm(memory, 0, same, -1)
            and llama_cpp.llama_memory_seq_pos_min(memory, 0) == 0
        ):
            self._held = self._held[:same]
            return same
        self._forget_all()
        return 0

    def _decode(self, rows: Sequence[tuple[int, int, int, bool]]) -> dict[int, np.ndarray]:
        """Evaluate (token, position, sequence, wanted) rows; logits of the wanted rows by row index."""
        wanted: dict[int, np.ndarray] = {}
        for start in range(0, len(rows), BATCH_TOKENS):
            chunk = rows[start : start + BATCH_TOKENS]
            self._batch.n_tokens = len(chunk)
            for i, (token, position, sequence, want) in enumerate(chunk):
                self._batch.token[i] = token
                self._batch.pos[i] = position
                self._batch.n_seq_id[i] = 1
                self._batch.seq_id[i][0] = sequence
                self._batch.logits[i] = want
            status = llama_cpp.llama_decode(self._context, self._batch)
            if status:
                raise ExportError(
                    f"llama.cpp could not evaluate the model (status {status}): lower evaluate.parallel in params.yaml."
                )
            for i, row in enumerate(chunk):
                if row[3]:
                    pointer = llama_cpp.llama_get_logits_ith(self._context, i)
                    wanted[start + i] = np.ctypeslib.as_array(pointer, (self.vocabulary,)).copy()
        return wanted

    def answer(
        self,
        prompts: Sequence[list[int]],
        max_tokens: int | Sequence[int],
        tick: Callable[[], None] = lambda: None,
        drawn: int | None = None,
    ) -> list[Answer]:
        """Answers in the order of the prompts; ``max_tokens`` of all, or of each. A prompt too long for the context gets a failed answer.

        Greedy, or with the seed ``drawn`` drawn by their probability.
        """
        answers: list[Answer | None] = [None] * len(prompts)
        limits = [max_tokens] * len(prompts) if isinstance(max_tokens, int) else max_tokens
        fitting = [
            index
            for index, prompt in enumerate(prompts)
            if 0 < len(prompt) <= self.limit - limits[index]
        ]
        for index in set(range(len(prompts))) - set(fitting):
            answers[index] = Answer("", 0, False, True, limits[index])
            tick()
        shared = _shared_beginning([prompts[index] for index in fitting])
        self._forget_all()
        if shared:
            self._decode(
                [(token, position, self.parallel, False) for position, token in enumerate(shared)]
            )
        memory = llama_cpp.llama_get_memory(self._context)
        waiting = list(reversed(fitting))
        active: dict[int, _Sequence] = {}
        while waiting or active:
            for slot in range(self.parallel):
                if slot not in active and waiting:
                    index = waiting.pop()
                    if shared:
                        llama_cpp.llama_memory_seq_cp(memory, self.parallel, slot, 0, len(shared))
                    chance = None if drawn is None else random.Random(f"{drawn}/{index}").random
                    active[slot] = _Sequence(index, prompts[index], len(shared), [], chance)
            rows: list[tuple[int, int, int, bool]] = []
            last: dict[int, int] = {}
            for slot, state in active.items():
                tokens = [state.written[-1]] if state.written else state.prompt[state.position :]
                rows += [
                    (token, state.position + i, slot, i == len(tokens) - 1)
                    for i, token in enumerate(tokens)
                ]
                state.position += len(tokens)
                last[slot] = len(rows) - 1
            logits = self._decode(rows)
            for slot, state in list(active.items()):
                row = logits[last[slot]]
                failed = not np.isfinite(row).all()
                token = (
                    _drawn(row, 1.0, state.chance)
                    if state.chance and not failed
                    else int(row.argmax())
                )
                ended = not failed and llama_cpp.llama_vocab_is_eog(self._vocab, token)
                if not failed and not ended:
                    state.written.append(token)
                limit = limits[state.index]
                if failed or ended or len(state.written) >= limit:
                    answers[state.index] = Answer(
                        self.text(state.written), len(state.written), ended, failed, limit
                    )
                    self._forget(slot)
                    del active[slot]
                    tick()
        self._forget_all()
        return [answer for answer in answers if answer is not None]

    def stream(
        self,
        prompt: list[int],
        max_tokens: int,
        temperature: float = 0.0,
        chance: Callable[[], float] | None = None,
    ) -> Generator[str, None, Literal["stop", "length"]]:
        """The answer to one prompt, piece by piece; only whole characters are given out. Its value is why it ended, in OpenAI's words.

        Greedy, unless a ``temperature`` above 0 is given with ``chance``, which gives numbers from 0 to 1. What the prompt has
        in common with the talk before is not evaluated again.

        Raises ExportError when the prompt leaves no room in the context, or the logits are no numbers.
        """
        if not 0 < len(prompt) < self.limit:
            raise ExportError(
                f"The conversation is {len(prompt)} tokens long and the context holds {self.limit}: start a new one."
            )
        position = self._keep_beginning(prompt)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        tokens, ended = prompt[position:], False
        for _ in range(min(max_tokens, self.limit - len(prompt))):
            rows = [
                (token, position + i, 0, i == len(tokens) - 1) for i, token in enumerate(tokens)
            ]
            held, self._held = self._held, []  # nothing is certain while it is evaluated
            row = self._decode(rows)[len(rows) - 1]
            self._held = held + tokens
            position += len(tokens)
            if not np.isfinite(row).all():
                raise ExportError(
                    "The model's logits are not numbers: this generation cannot answer."
                )
            token = (
                _drawn(row, temperature, chance) if chance and temperature else int(row.argmax())
            )
            if ended := llama_cpp.llama_vocab_is_eog(self._vocab, token):
                break
            tokens = [token]
            if piece := decoder.decode(self._bytes(token)):
                yield piece
        if rest := decoder.decode(b"", final=True):
            yield rest
        return "stop" if ended else "length"

    def logits(self, tokens: Sequence[int], start: int) -> np.ndarray:
        """Logits after each token from ``start`` on, shape (len(tokens) - start, vocabulary), float32."""
        self._forget_all()
        rows = [(token, position, 0, position >= start) for position, token in enumerate(tokens)]
        by_row = self._decode(rows)
        self._forget_all()
        return np.stack([by_row[index] for index in sorted(by_row)])


def _drawn(row: np.ndarray, temperature: float, chance: Callable[[], float]) -> int:
    """A token by its probability at that temperature."""
    scaled = row.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max())
    weights[weights < _MIN_P] = 0.0
    sums = weights.cumsum()
    return int(np.searchsorted(sums, chance() * sums[-1], side="right"))


def _shared_beginning(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts begin with, leaving each at least one of its own."""
    if len(prompts) < 2:
        return []
    first, last = min(prompts), max(prompts)
    length = 0
    limit = min(len(prompt) for prompt in prompts) - 1
    while length < limit and first[length] == last[length]:
        length += 1
    return first[:length]
