"""From messages to text and tokens by the model's own chat template, the same in training and in judging."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from luna.errors import BaseModelError

IGNORED = -100  # the label that cross entropy leaves out (torch.nn.CrossEntropyLoss.ignore_index)

Messages = Sequence[tuple[str, str]]


def with_system(messages: Messages, system_prompt: str) -> list[dict[str, str]]:
    """As the template wants them; the conversation's own system message goes before Luna's."""
    rows = [{"role": role, "content": content} for role, content in messages]
    if system_prompt and rows[0]["role"] != "system":
        rows.insert(0, {"role": "system", "content": system_prompt})
    return rows


def tokenise(
    tokenizer: Any,
    messages: Messages,
    system_prompt: str,
    max_length: int,
    context: Collection[int] = (),
) -> tuple[list[int], list[int]]:
    """Token ids and labels of one conversation, both of the same length, at most ``max_length``.

    Loss is taken on the assistant's words and the end-of-turn mark alone, and not on the messages whose
    indexes are in ``context``. Each piece is tokenised by itself, as in use, where the prompt is given and
    the reply grows after it.
    """
    rows = with_system(messages, system_prompt)
    inserted = len(rows) - len(messages)
    ids: list[int] = []
    labels: list[int] = []
    done = ""
    for index, row in enumerate(rows):
        if row["role"] != "assistant":
            continue
        prompt = tokenizer.apply_chat_template(
            rows[:index], tokenize=False, add_generation_prompt=True
        )
        whole = tokenizer.apply_chat_template(rows[: index + 1], tokenize=False)
        if not (prompt.startswith(done) and whole.startswith(prompt)):
            raise BaseModelError(
                "The base's chat template rewrites earlier messages: use a base whose template only appends."
            )
        before = tokenizer.encode(prompt[len(done) :], add_special_tokens=False)
        reply_text = whole[len(prompt) :]
        reply = tokenizer.encode(reply_text.rstrip("\n"), add_special_tokens=False)
        rest = tokenizer.encode(
            reply_text[len(reply_text.rstrip("\n")) :], add_special_tokens=False
        )
        ids += before + reply + rest
        learnt = [IGNORED] * len(reply) if index - inserted in context else reply
        labels += [IGNORED] * len(before) + learnt + [IGNORED] * len(rest)
        done = whole
    return ids[:max_length], labels[:max_length]
