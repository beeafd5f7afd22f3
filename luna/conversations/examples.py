"""From a conversation to the examples that training sees: tokens, and which of them are learnt.

Each reply is an example of its own: the prompt exactly as it will be asked (template.py), then the reply and
the mark that ends it, on which alone loss is taken. Replies whose prompts continue one another, token by
token, share one example, which gives the same loss for less work; where a template writes an earlier turn
otherwise once a later one follows, they do not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from luna.conversations import template
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


class Teaching:
    """A tokenizer of transformers with its chat template, for many conversations. Use as a context manager."""

    def __init__(self, tokenizer: Any) -> None:
        self._vocabulary = Transformers(tokenizer)
        self._chat = chat_template_of(tokenizer)
        self._form = reply_form(self._chat, self._vocabulary, tokenizer.eos_token or "")

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
        """The examples of one conversation, each of at most ``max_length`` tokens; those in which nothing is learnt are left out.

        No loss is taken on the replies whose indexes are in ``context``.
        """
        examples: list[Example] = []
        for index, (role, content) in enumerate(messages):
            if role != "assistant":
                continue
            example = self._example(messages[:index], content, system_prompt, index not in context)
            if examples and example.ids[: len(examples[-1].ids)] == examples[-1].ids:
                before = examples.pop()
                labels = before.labels + example.labels[len(before.labels) :]
                example = Example(example.ids, labels)
            examples.append(example)
        cut = [Example(one.ids[:max_length], one.labels[:max_length]) for one in examples]
        return [one for one in cut if any(label != IGNORED for label in one.labels)]

    def _example(self, question: Messages, reply: str, system_prompt: str, learnt: bool) -> Example:
        prompt = template.prompt(question, system_prompt, self._vocabulary, self._chat.render)
        words = reply_tokens(self._form, reply, self._vocabulary)
        after = encode(self._form.after, self._vocabulary, None)
        ignored = [IGNORED] * len(prompt), [IGNORED] * len(after)
        return Example(
            prompt + words + after,
            [*ignored[0], *(words if learnt else [IGNORED] * len(words)), *ignored[1]],
        )


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
