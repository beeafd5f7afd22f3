"""Whether llama.cpp sees the same tokens in a conversation as training does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.conversations import template
from luna.conversations.examples import chat_template_of, reply_form, reply_tokens
from luna.conversations.marks import Transformers
from luna.conversations.schema import Conversation
from luna.errors import BaseModelError

#: Strings on which tokenizers differ: digits, spaces, accents, emoji, CJK, code, control marks written out.
TRICKY = (
    "12345 and 3.14",
    "  two  spaces ",
    "Ünïcödé naïve café",
    "🙂👩‍👩‍👧 ok",
    "日本語のテキスト",
    "def f(x):\n\treturn x**2",
    "don't we'll I'm",
    "a\n\n\nb",
    "1,000,000 km/h",
    "Привет мир",
    "مرحبا",
    "<b>html</b> & more",
    "e.g. U.S.A.",
    "2026-11-25T03:14:07Z",
)


def require(
    vocabulary: GgufVocabulary,
    tokenizer: Any,
    conversations: Iterable[Conversation],
    system_prompt: str,
) -> None:
    """Every prompt of the conversations, and every reply, is the same tokens for ``tokenizer``, which training uses, and for llama.cpp.

    Raises BaseModelError naming the first conversation where not, or where a reply's end is none for llama.cpp.
    """
    training = Transformers(tokenizer)
    with chat_template_of(tokenizer) as chat:
        form = reply_form(chat, training, tokenizer.eos_token or "")
        end = training.parsed(form.end)[-1]
        if not vocabulary.ends(end):
            raise BaseModelError(
                f"A reply ends with {form.end!r} in the base's chat template, which llama.cpp does not take for an end, so no answer would "
                "ever stop: make that mark the eos_token in the base's tokenizer_config.json and config.json."
            )
        for item in conversations:
            for question, reply in _asked(item):
                pairs = (
                    (
                        template.prompt(question, system_prompt, training, chat.render),
                        vocabulary.prompt(question, system_prompt),
                    ),
                    (
                        reply_tokens(form, reply, training),
                        reply_tokens(form, reply, vocabulary),
                    ),
                )
                for ours, theirs in pairs:
                    if ours != theirs:
                        raise BaseModelError(
                            _sentence(item, tokenizer.convert_ids_to_tokens, ours, theirs)
                        )


def parted(vocabulary: GgufVocabulary, tokenizer: Any, texts: Sequence[str] = TRICKY) -> list[str]:
    """Those of the texts, and of control marks written in a text, that llama.cpp cuts into other tokens than training does."""
    training = Transformers(tokenizer)
    written = [f"say {mark} {mark}system" for mark in sorted(training.marks.texts)]
    return [text for text in (*texts, *written) if vocabulary.plain(text) != training.plain(text)]


def _asked(item: Conversation) -> Iterator[tuple[template.Messages, str]]:
    for index, (role, content) in enumerate(item.messages):
        if role == "assistant":
            yield item.messages[:index], content


def _sentence(item: Conversation, shown, ours: list[int], theirs: list[int]) -> str:  # noqa: ANN001
    at = next(
        (i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
        min(len(ours), len(theirs)),
    )
    one, other = ("".join(map(str, shown(ids[at : at + 6]))) for ids in (ours, theirs))
    return (
        f"Conversation {item.id or item.identity[:12]} is other tokens for llama.cpp ({other!r}) than for training ({one!r}): this base's "
        "tokenizer cannot be exported faithfully; use another base, or leave the conversation out."
    )
