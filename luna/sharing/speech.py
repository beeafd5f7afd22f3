"""How a generation wants to be asked: what another program must know to speak with it.

The sealed model.gguf carries its base's chat template, which knows nothing of the line's system prompt: Luna's own commands
give it with each conversation. Another program does not, so the template that leaves with an export says it by itself, unless
the conversation brings a system message.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.conversations.chat_template import PATIENCE, ChatTemplate
from luna.conversations.examples import reply_form

_QUESTION = {"role": "user", "content": "A question?"}


@dataclass(frozen=True)
class Speech:
    """``template`` is the base's own, ``system`` what the line was taught under (empty: nothing).

    ``stops``: the marks that end a reply, the template's own first; ``ends``: their tokens. ``adds_bos``: whether llama.cpp
    puts ``bos`` before a prompt by itself; ``writes_bos``: whether the template writes it. ``context``: tokens that the model
    was made for. ``new_end``: the token of a mark that ends a reply and that llama.cpp does not know for one.
    """

    template: str
    system: str
    bos: str
    eos: str
    adds_bos: bool
    writes_bos: bool
    stops: tuple[str, ...]
    ends: tuple[int, ...]
    new_end: int | None
    context: int | None

    @property
    def speaking(self) -> str:
        """The template that says the system prompt by itself."""
        return with_default(self.template, self.system)


def of(model: Path, system: str) -> Speech:
    """Read from an exported model. Raises ExportError where it has no chat template."""
    with GgufVocabulary(model, vocabulary_only=True) as vocabulary:
        chat = vocabulary.template
        eos = vocabulary.end_of_turn
        form = reply_form(chat, vocabulary, eos)
        marks = [mark.strip() for mark in vocabulary.marks.parts(form.end)[1::2]]
        stops = tuple(dict.fromkeys(mark for mark in (*marks, eos) if mark))
        ends = tuple(tokens[0] for stop in stops if len(tokens := vocabulary.parsed(stop)) == 1)
        bos = vocabulary.begin
        return Speech(
            template=vocabulary.metadata("tokenizer.chat_template") or "",
            system=system,
            bos=bos,
            eos=eos,
            adds_bos=vocabulary.adds_begin,
            writes_bos=bool(bos) and chat.render([_QUESTION]).startswith(bos),
            stops=stops,
            ends=ends,
            new_end=next((token for token in ends[:1] if not vocabulary.ends(token)), None),
            context=vocabulary.context_length,
        )


def with_default(template: str, system: str) -> str:
    """The template, with ``system`` as the first message of a conversation that does not begin with a system message."""
    if not system:
        return template
    row = f"[{{'role': 'system', 'content': {_quoted(system)}}}]"
    # The newline behind a tag is not written (trim_blocks, which every renderer of chat templates sets); a template that
    # begins with white space keeps it.
    ending = "-%}\n" if not template[:1].isspace() else "%}\n"
    return (
        "{%- if not messages or messages[0]['role'] != 'system' -%}"
        f"{{%- set messages = {row} + messages -%}}"
        f"{{%- endif {ending}{template}"
    )


def _quoted(text: str) -> str:
    """A string of jinja, with no escapes but those that every implementation of it reads."""
    for character, written in (
        ("\\", "\\\\"),
        ("'", "\\'"),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\t", "\\t"),
    ):
        text = text.replace(character, written)
    return f"'{text}'"


def rendering(speech: Speech) -> ChatTemplate:
    """The base's own template in a process of its own; use as a context manager."""
    return ChatTemplate(speech.template, speech.bos, speech.eos, PATIENCE)
