"""Greedy answers of a GGUF model to many prompts at once, by llama.cpp.

Continuous batching over llama.cpp's low-level interface: up to ``parallel`` sequences share one
context; what all prompts begin with (system prompt and template) is evaluated once and its cells
are shared; a sequence that ends makes room for the next prompt at once.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import llama_cpp
import numpy as np

from luna.conversations import template
from luna.conversations.chat_template import ChatTemplate
from luna.conversations.marks import Marks
from luna.conversations.template import Messages
from luna.errors import ExportError

BATCH_TOKENS = 512
_GGUF_MAGIC = b"GGUF"
_PARSED_ON_REQUEST = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN


@dataclass(frozen=True)
class Answer:
    """``ended`` is False when the model was cut off at the token limit; ``failed`` when its logits were no numbers."""

    text: str
    tokens: int
    ended: bool
    failed: bool = False


@dataclass
class _Sequence:
    index: int
    prompt: list[int]
    position: int  # of the next token to evaluate
    written: list[int]


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """llama.cpp writes to the process's stderr from C; keep it out of the user's sight."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


class Engine:
    """A loaded model. Use as a context manager; the model is loaded once and freed at the end."""

    def __init__(
        self,
        path: Path,
        parallel: int = 16,
        context_per_sequence: int = 512,
        threads: int | None = None,
        gpu_layers: int = 0,
    ) -> None:
        with path.open("rb") as file:
            if file.read(4) != _GGUF_MAGIC:
                raise ExportError(f"{path} is not a GGUF file: give the path of an exported model.")
        self.parallel = parallel
        threads = threads or max(
            1,
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
        )
        with silent():
            llama_cpp.llama_backend_init()
            model_params = llama_cpp.llama_model_default_params()
            model_params.n_gpu_layers = gpu_layers
            # Repacked weights take other kernels on other machines, and the one for AMX crashes on some.
            model_params.use_extra_bufts = False
            self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
            if not self._model:
                raise ExportError(
                    f"llama.cpp cannot load {path}: the file is damaged or of an architecture it does not know."
                )
            params = llama_cpp.llama_context_default_params()
            params.n_seq_max = parallel + 1  # one for the shared beginning
            params.n_ctx = (parallel + 1) * context_per_sequence
            params.n_batch = params.n_ubatch = BATCH_TOKENS
            params.n_threads = params.n_threads_batch = threads
            params.kv_unified = True
            self._context = llama_cpp.llama_init_from_model(self._model, params)
            if not self._context:
                llama_cpp.llama_model_free(self._model)
                raise ExportError(
                    f"llama.cpp cannot make a context for {path}: lower evaluate.parallel in params.yaml."
                )
        self.limit = context_per_sequence
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._template: ChatTemplate | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._template:
            self._template.close()
        with silent():
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._context)
            llama_cpp.llama_model_free(self._model)

    def metadata(self, key: str) -> str | None:
        """A value of the GGUF's header as text; None where it has no such key."""
        buffer = ctypes.create_string_buffer(1 << 17)
        length = llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

    @property
    def end_of_turn(self) -> str:
        """The text of the token that ends an answer."""
        return self._piece(llama_cpp.llama_vocab_eos(self._vocab))

    def prompt(self, messages: Messages, system_prompt: str = "") -> list[int]:
        """Tokens of the messages by the model's own chat template, up to where the reply begins.

        A control mark written in a message is text; only the template's own, and the system prompt's, count.
        """
        return template.prompt(messages, system_prompt, self, self.template.render)

    @property
    def template(self) -> ChatTemplate:
        """The model's chat template, in a process of its own; started when it is first asked for."""
        if self._template is None:
            self._template = ChatTemplate(
                self.metadata("tokenizer.chat_template"),
                self._piece(llama_cpp.llama_vocab_bos(self._vocab)),
                self._piece(llama_cpp.llama_vocab_eos(self._vocab)),
            )
        return self._template

    @functools.cached_property
    def marks(self) -> Marks:
        """The vocabulary's control tokens, as llama.cpp looks for them in a text."""

        def having(attribute: int) -> frozenset[str]:
            return frozenset(text for text, bits in control.items() if bits & attribute)

        control: dict[str, int] = {}
        for token in range(self.vocabulary):
            bits = llama_cpp.llama_vocab_get_attr(self._vocab, token)
            if bits & _PARSED_ON_REQUEST and (text := self._piece(token)):
                control[text] = bits
        return Marks(
            frozenset(control),
            having(llama_cpp.LLAMA_TOKEN_ATTR_LSTRIP),
            having(llama_cpp.LLAMA_TOKEN_ATTR_RSTRIP),
        )

    def tokenise(self, text: str) -> list[int]:
        """Tokens of words, such as a message's: a control mark written in them is text."""
        return self.plain(text)

    def plain(self, text: str) -> list[int]:
        """The tokens of a text in which marks of the template are plain text."""
        return self._tokens(text, False)

    def parsed(self, text: str) -> list[int]:
        """The tokens of a text in which marks of the template are tokens."""
        return self._tokens(text, True)

    def _tokens(self, text: str, parse_special: bool) -> list[int]:
        data = text.encode()
        buffer = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(
            self._vocab, data, len(data), buffer, len(buffer), False, parse_special
        )
        if count < 0:
            raise ExportError("llama.cpp cannot tokenise the prompt.")
        return list(buffer[:count])

    def _piece(self, token: int, special: bool = True) -> str:
        return self._bytes(token, special).decode("utf-8", "replace") if token >= 0 else ""

    def _bytes(self, token: int, special: bool = False) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        length = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[: max(0, length)]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without white space around it."""
        return b"".join(self._bytes(token) for token in tokens).decode("utf-8", "replace").strip()

    # -- evaluation

    def _forget(self, sequence: int, start: int = 0) -> None:
        llama_cpp.llama_memory_seq_rm(
            llama_cpp.llama_get_memory(self._context), sequence, start, -1
        )

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
        self, prompts: Sequence[list[int]], max_tokens: int, tick: Callable[[], None] = lambda: None
    ) -> list[Answer]:
        """Greedy answers in the order of the prompts. A prompt too long for the context gets a failed answer."""
        answers: list[Answer | None] = [None] * len(prompts)
        room = self.limit - max_tokens
        fitting = [index for index, prompt in enumerate(prompts) if 0 < len(prompt) <= room]
        for index in set(range(len(prompts))) - set(fitting):
            answers[index] = Answer("", 0, False, True)
            tick()
        shared = _shared_beginning([prompts[index] for index in fitting])
        self._forget(-1)
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
                    active[slot] = _Sequence(index, prompts[index], len(shared), [])
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
                token = int(row.argmax())
                ended = not failed and llama_cpp.llama_vocab_is_eog(self._vocab, token)
                if not failed and not ended:
                    state.written.append(token)
                if failed or ended or len(state.written) >= max_tokens:
                    answers[state.index] = Answer(
                        self.text(state.written), len(state.written), ended, failed
                    )
                    self._forget(slot)
                    del active[slot]
                    tick()
        self._forget(-1)
        return [answer for answer in answers if answer is not None]

    def stream(
        self, prompt: list[int], max_tokens: int
    ) -> Generator[str, None, Literal["stop", "length"]]:
        """The greedy answer to one prompt, piece by piece; only whole characters are given out. Its value is why it ended, in OpenAI's words.

        Raises ExportError when the prompt leaves no room in the context, or the logits are no numbers.
        """
        if not 0 < len(prompt) < self.limit:
            raise ExportError(
                f"The conversation is {len(prompt)} tokens long and the context holds {self.limit}: begin a new one."
            )
        self._forget(-1)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        tokens, position, ended = prompt, 0, False
        for _ in range(min(max_tokens, self.limit - len(prompt))):
            rows = [
                (token, position + i, 0, i == len(tokens) - 1) for i, token in enumerate(tokens)
            ]
            row = self._decode(rows)[len(rows) - 1]
            position += len(tokens)
            if not np.isfinite(row).all():
                raise ExportError(
                    "The model's logits are no numbers: this generation cannot answer."
                )
            token = int(row.argmax())
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
        self._forget(-1)
        rows = [(token, position, 0, position >= start) for position, token in enumerate(tokens)]
        found = self._decode(rows)
        self._forget(-1)
        return np.stack([found[index] for index in sorted(found)])


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
