"""From a request's messages to the tokens of its prompt, as in training and exam."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import llama_cpp

from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.conversations.marks import encode, seam_for
from luna.conversations.sandbox import MAX_PROMPT_CHARACTERS
from luna.errors import ExportError, InputError

Render = Callable[[dict[str, Any]], Awaitable[str]]
_SYSTEM = ("system", "developer")
_PLAIN = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
#: With one of these a request is rendered by llama.cpp, which knows tools and what else a template may be told.
_SPECIAL = (
    "tools",
    "tool_choice",
    "chat_template_kwargs",
    "reasoning_effort",
    "continue_final_message",
    "add_generation_prompt",
)


class Prompts(GgufVocabulary):
    """A generation's tokenizer and template, without its weights, and the system prompt that it was taught under.

    A conversation of words is rendered by Luna's own code, as in training and exam. One with tools, or that
    ends with words of the assistant's that are to go on, is rendered by llama.cpp; it is cut into tokens here.
    Either way a mark of the template in a message is text.
    """

    def __init__(self, model: Path, system: str) -> None:
        super().__init__(model, vocabulary_only=True)
        self.system = system
        self._one = threading.Lock()  # the template is rendered by one child process
        self._closed = False
        self._adds_begin = bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))

    async def tokens(self, body: dict[str, Any], render: Render) -> list[int]:
        """The prompt of a chat request; ``render`` asks llama.cpp. Raises ExportError where it cannot be rendered."""
        plain = self.conversation(body)
        return await (self._by_llama(body, render) if plain is None else self.by_luna(plain))

    @staticmethod
    def conversation(body: dict[str, Any]) -> list[tuple[str, str]] | None:
        """Roles and texts of a chat request's messages; None where llama.cpp has to render it."""
        if any(body.get(key) is not None for key in _SPECIAL):
            return None
        return _words(body["messages"])

    async def by_luna(self, messages: list[tuple[str, str]]) -> list[int]:
        """The prompt of a conversation of words."""
        length = sum(len(text) for _, text in messages)
        if length > MAX_PROMPT_CHARACTERS:
            raise InputError(
                f"The conversation is {length:,} characters long, and a template may write {MAX_PROMPT_CHARACTERS:,}: send less."
            )
        return await asyncio.to_thread(self._by_luna, messages)

    def _by_luna(self, messages: list[tuple[str, str]]) -> list[int]:
        with self._one:
            self._require_open()
            try:
                return self.prompt(messages, self.system)
            except ExportError:
                if self._template:  # its process may be gone, by the time limit
                    self._template.close()
                    self._template = None
                raise

    async def _by_llama(self, body: dict[str, Any], render: Render) -> list[int]:
        asked = {key: body[key] for key in ("messages", "tools") if key in body}
        seam = seam_for(texts(asked), self.system, self.marks)
        if seam:
            asked = _sewn(asked, lambda text: self.marks.sewn(text, seam))
        asked["messages"] = self.with_system(asked["messages"])  # the owner's, taken as it is
        text = await render(body | asked)
        return await asyncio.to_thread(self._cut, text, seam)

    def _cut(self, text: str, seam: str | None) -> list[int]:
        """Tokens of what llama.cpp rendered, which leaves out the mark of the beginning where the vocabulary adds it."""
        with self._one:
            self._require_open()
            begin = [llama_cpp.llama_vocab_bos(self._vocab)] if self._adds_begin else []
            return begin + encode(text, self, seam)

    def _require_open(self) -> None:
        if self._closed:  # by a request that was given up and goes on in its thread
            raise ExportError("This generation is no longer loaded: ask again.")

    def close(self) -> None:
        """Free the vocabulary, once nobody cuts a text with it."""
        with self._one:
            if not self._closed:
                self._closed = True
                super().close()

    def with_system(self, messages: list[Any]) -> list[Any]:
        """The messages after the system prompt of the teaching, where they bring none of their own."""
        first = messages[0] if messages else None
        if not self.system or (isinstance(first, dict) and first.get("role") in _SYSTEM):
            return messages
        return [{"role": "system", "content": self.system}, *messages]


def _words(messages: list[Any]) -> list[tuple[str, str]] | None:
    """The messages as role and text; None where they hold anything else, or end with the assistant's words."""
    plain = []
    for message in messages:
        if not isinstance(message, dict) or message.keys() - {"role", "content", "name"}:
            return None
        role, text = _PLAIN.get(message.get("role", "")), _text(message.get("content"))
        if role is None or text is None:
            return None
        plain.append((role, text))
    return None if not plain or plain[-1][0] == "assistant" else plain


def _text(content: Any) -> str | None:
    """A message's text, of which the parts stand on lines of their own (as llama.cpp has it); None for other content."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") in _TEXT and isinstance(part.get("text"), str)
        for part in content
    ):
        return "\n".join(part["text"] for part in content)
    return None


_TEXT = ("text", "input_text", "output_text")


def texts(value: Any) -> list[str]:
    """Every string anywhere in a part of a request."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in texts(item)]


def _sewn(value: Any, sew: Callable[[str], str]) -> Any:
    """The same message with each of its strings sewn."""
    if isinstance(value, str):
        return sew(value)
    if isinstance(value, dict):
        return {key: _sewn(item, sew) for key, item in value.items()}
    return [_sewn(item, sew) for item in value] if isinstance(value, list) else value
