"""From messages to the tokens of a prompt, by the model's chat template, asked or trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from luna.conversations.marks import Vocabulary, encode, seam_for
from luna.errors import InputError

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
