"""From a conversation to the examples that training sees: tokens, and which of them are learnt.

Each reply is an example of its own: the prompt exactly as it will be asked (template.py), then the reply and
the mark that ends it, on which alone loss is taken. Replies whose prompts continue one another, token by
token, share one example, which gives the same loss for less work; where a template writes an earlier turn
otherwise once a later one follows, they do not. Long conversations are learnt in windows (windows.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from luna.conversations import template, windows
from luna.conversations.chat_template import PATIENCE, ChatTemplate
from luna.conversations.marks import Transformers, Vocabulary, encode
from luna.conversations.template import Messages
from luna.errors import BaseModelError

IGNORED = -100  # the label that cross entropy leaves out (torch.nn.CrossEntropyLoss.ignore_index)
_PROBE = "The last words."


@dataclass(frozen=True)
class Example:
    """Token ids and labels, both of the same length; a label is its token, or IGNORED."""

    ids: list[int]
    labels: list[int]

    @property
    def prompt(self) -> list[int]:
        """The tokens before the first that is learnt."""
        return self.ids[: next(at for at, label in enumerate(self.labels) if label != IGNORED)]


@dataclass(frozen=True)
class Reply:
    """What a template writes around a reply: white space before it, the mark that ends it, and what follows that."""

    before: str
    end: str
    after: str


def reply_form(chat: ChatTemplate, vocabulary: Vocabulary, eos: str) -> Reply:
    """How the template writes a reply; where it writes no mark after one, the end-of-sequence token ends it.

    Raises BaseModelError where the reply is not in what the template writes.
    """
    question = [{"role": "user", "content": "A question?"}]
    prompt = chat.render(question)
    whole = chat.render(
        [*question, {"role": "assistant", "content": _PROBE}], add_generation_prompt=False
    )
    written, reply, closing = whole.rpartition(_PROBE)
    if not reply:
        raise BaseModelError(
            "The base's chat template leaves the reply out: use a base whose template writes plain conversations."
        )
    before = written[len(prompt) :] if written.startswith(prompt) else ""
    if before.strip():
        before = ""  # a template that was not adapted (adapt.py): what is asked without it is taught without it
    parts = vocabulary.marks.parts(closing)
    marks = [mark.strip() for mark in parts[1::2]]
    if not marks:
        return Reply(before, closing.rstrip() + eos, "")
    last = marks.index(eos) if eos in marks else 0
    end = "".join(parts[: 2 * last + 2])
    return Reply(before, end, closing[len(end) :])


class Rendering:
    """A chat template with the vocabulary of one model: prompts and examples of its conversations."""

    def __init__(self, chat: ChatTemplate, vocabulary: Vocabulary, eos: str) -> None:
        self._chat, self._vocabulary = chat, vocabulary
        self._form = reply_form(chat, vocabulary, eos)

    def asked(
        self, question: Messages, reply: str, system_prompt: str, max_length: int
    ) -> list[int] | None:
        """The prompt of a question as it was taught with ``reply``; None where the two do not fit in ``max_length`` tokens."""
        messages = (*question, ("assistant", reply))
        one = _Long(self, messages, system_prompt)
        start = windows.starts(messages, max_length, one.length)[len(question)]
        return None if start is None else one.example(start, len(question)).prompt

    def example(self, question: Messages, reply: str, system_prompt: str) -> Example:
        """One reply that is learnt."""
        prompt = template.prompt(question, system_prompt, self._vocabulary, self._chat.render)
        words = reply_tokens(self._form, reply, self._vocabulary)
        after = encode(self._form.after, self._vocabulary, None)
        return Example(
            prompt + words + after, [IGNORED] * len(prompt) + words + [IGNORED] * len(after)
        )


class _Long:
    """One conversation, whose examples are rendered once each."""

    def __init__(self, rendering: Rendering, messages: Messages, system_prompt: str) -> None:
        self._rendering, self._messages, self._system = rendering, messages, system_prompt
        self._examples: dict[tuple[int, int], Example] = {}

    def length(self, start: int, reply: int) -> int:
        """Tokens of the window that begins at ``start`` and ends with ``reply``, both indexes of messages."""
        return len(self.example(start, reply).ids)

    def example(self, start: int, reply: int) -> Example:
        """The reply learnt after that window."""
        if (start, reply) not in self._examples:
            question = windows.window(self._messages, start, reply)
            self._examples[start, reply] = self._rendering.example(
                question, self._messages[reply][1], self._system
            )
        return self._examples[start, reply]


class Teaching:
    """A tokenizer of transformers with its chat template, for many conversations. Use as a context manager."""

    def __init__(self, tokenizer: Any) -> None:
        self._chat = chat_template_of(tokenizer)
        self._rendering = Rendering(self._chat, Transformers(tokenizer), tokenizer.eos_token or "")

    def __enter__(self) -> Teaching:
        return self

    def __exit__(self, *_: object) -> None:
        self._chat.close()

    def examples(
        self,
        messages: Messages,
        system_prompt: str,
        max_length: int,
        context: Collection[int] = (),
    ) -> list[Example]:
        """The examples of one conversation, each of at most ``max_length`` tokens, in which each reply is learnt once, whole.

        A reply that does not fit even with its question alone is left out (``too_long`` counts them). No loss is taken
        on the replies whose indexes are in ``context``.
        """
        one = _Long(self._rendering, messages, system_prompt)
        examples: list[Example] = []
        for reply, start in windows.starts(messages, max_length, one.length).items():
            if start is None:
                continue
            example = one.example(start, reply)
            if reply in context:
                example = Example(example.ids, [IGNORED] * len(example.ids))
            if examples and example.ids[: len(examples[-1].ids)] == examples[-1].ids:
                before = examples.pop()
                labels = before.labels + example.labels[len(before.labels) :]
                example = Example(example.ids, labels)
            examples.append(example)
        return [one for one in examples if any(label != IGNORED for label in one.labels)]

    def too_long(
        self,
        messages: Messages,
        system_prompt: str,
        max_length: int,
        context: Collection[int] = (),
    ) -> int:
        """How many replies, of those that are to be learnt, fit in no window."""
        one = _Long(self._rendering, messages, system_prompt)
        starts = windows.starts(messages, max_length, one.length)
        return sum(start is None and reply not in context for reply, start in starts.items())


def reply_tokens(form: Reply, reply: str, vocabulary: Vocabulary) -> list[int]:
    """The tokens of a reply with the mark that ends it; a mark written in the reply is text."""
    [row], seam = template.prepared([("assistant", reply)], "", vocabulary)
    return encode(form.before + row["content"] + form.end, vocabulary, seam)


def chat_template_of(tokenizer: Any) -> ChatTemplate:
    """The chat template of a tokenizer of transformers, rendered as everywhere."""
    return ChatTemplate(
        tokenizer.get_chat_template(),
        tokenizer.bos_token or "",
        tokenizer.eos_token or "",
        PATIENCE,
    )
