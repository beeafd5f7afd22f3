"""A GGUF's own tokenizer and chat template: from messages to tokens and back, by llama.cpp."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import llama_cpp

from luna.conversations import template
from luna.conversations.chat_template import ChatTemplate
from luna.conversations.marks import Marks
from luna.conversations.template import Messages
from luna.errors import ExportError

_GGUF_MAGIC = b"GGUF"
_PARSED_ON_REQUEST = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN


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


class GgufVocabulary:
    """The tokenizer of a GGUF file. Use as a context manager.

    ``vocabulary_only``: the weights, where there are any, are not loaded.
    """

    def __init__(self, path: Path, gpu_layers: int = 0, vocabulary_only: bool = False) -> None:
        with path.open("rb") as file:
            if file.read(4) != _GGUF_MAGIC:
                raise ExportError(f"{path} is not a GGUF file: give the path of an exported model.")
        with silent():
            llama_cpp.llama_backend_init()
            model_params = llama_cpp.llama_model_default_params()
            model_params.n_gpu_layers = gpu_layers
            model_params.vocab_only = vocabulary_only
            # Repacked weights take other kernels on other machines, and the one for AMX crashes on some.
            model_params.use_extra_bufts = False
            self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        if not self._model:
            raise ExportError(
                f"llama.cpp cannot load {path}: the file is damaged or of an architecture it does not know."
            )
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self._template: ChatTemplate | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what was loaded and end the process that renders the template."""
        if self._template:
            self._template.close()
        with silent():
            llama_cpp.llama_model_free(self._model)

    def metadata(self, key: str) -> str | None:
        """A value of the GGUF's header as text; None where it has no such key."""
        buffer = ctypes.create_string_buffer(1 << 17)
        length = llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, len(buffer))
        return None if length < 0 else buffer.value.decode("utf-8", "replace")

    @property
    def context_length(self) -> int | None:
        """Tokens that the model was made for, prompt and answer together; None where the header does not say."""
        value = self.metadata(f"{self.metadata('general.architecture')}.context_length")
        return int(value) if value and value.isdigit() else None

    @property
    def end_of_turn(self) -> str:
        """The text of the token that ends an answer."""
        return self._piece(llama_cpp.llama_vocab_eos(self._vocab))

    @property
    def begin(self) -> str:
        """The text of the token that begins a sequence; empty where there is none."""
        return self._piece(llama_cpp.llama_vocab_bos(self._vocab))

    @property
    def adds_begin(self) -> bool:
        """Whether llama.cpp's own programs put that token before every prompt."""
        return bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))

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
                self.begin,
                self.end_of_turn,
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

    def ends(self, token: int) -> bool:
        """Whether llama.cpp takes the token for the end of an answer."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))
