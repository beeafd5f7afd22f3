"""From messages to text and tokens by the model's chat template, and which tokens are learnt."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

from luna.conversations.marks import Transformers, Vocabulary, encode, seam_for
from luna.errors import BaseModelError, InputError

IGNORED = -100  # the label that cross entropy leaves out (torch.nn.CrossEntropyLoss.ignore_index)
ROLES = ("system", "user", "assistant")

Messages = Sequence[tuple[str, str]]
Rows = list[dict[str, str]]  # as a chat template wants them


def prepared(
    messages: Messages, system_prompt: str, vocabulary: Vocabulary
) -> tuple[Rows, str | None]:
    """The messages for the template, and the seam that keeps marks written in them apart (see marks.py).

    ``system_prompt`` is the owner's and is taken as it is; the conversation's own system message, which
    goes before it, is a message like the others. Raises InputError for a role that is not known.
    """
    for role, _ in messages:
        if role not in ROLES:
            raise InputError(f"The role {role!r} is unknown; allowed are {', '.join(ROLES)}.")
    seam = seam_for((content for _, content in messages), system_prompt, vocabulary.marks)
    rows = [
        {"role": role, "content": vocabulary.marks.sewn(content, seam) if seam else content}
        for role, content in messages
    ]
    if system_prompt and (not rows or rows[0]["role"] != "system"):
        rows.insert(0, {"role": "system", "content": system_prompt})
    return rows, seam


def prompt(
    messages: Messages,
    system_prompt: str,
    vocabulary: Vocabulary,
    render: Callable[[Rows], str],
) -> list[int]:
    """Token ids up to where the reply begins; ``render`` is the chat template with its generation prompt."""
    rows, seam = prepared(messages, system_prompt, vocabulary)
    return encode(render(rows), vocabulary, seam)


@functools.lru_cache(maxsize=2)
def _vocabulary(tokenizer: Any) -> Vocabulary:
    return Transformers(tokenizer)


def tokenise(
    tokenizer: Any,
    messages: Messages,
    system_prompt: str,
    max_length: int,
    context: Collection[int] = (),
) -> tuple[list[int], list[int]]:
    """Token ids and labels of one conversation, both of the same length, at most ``max_length``.

    Loss is taken on the assistant's words and the end-of-turn mark alone, and not on the messages whose
    indexes are in ``context``. Each piece is tokenised separately, as in use, where the prompt is given and
    the reply grows after it.
    """
    vocabulary = _vocabulary(tokenizer)
    rows, seam = prepared(messages, system_prompt, vocabulary)
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
        reply_text = whole[len(prompt) :]
        before, reply, rest = (
            encode(piece, vocabulary, seam)
            for piece in (
                prompt[len(done) :],
                reply_text.rstrip("\n"),
                reply_text[len(reply_text.rstrip("\n")) :],
            )
        )
        ids += before + reply + rest
        learnt = [IGNORED] * len(reply) if index - inserted in context else reply
        labels += [IGNORED] * len(before) + learnt + [IGNORED] * len(rest)
        done = whole
    return ids[:max_length], labels[:max_length]
