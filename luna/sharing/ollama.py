"""Writes an Ollama Modelfile from the model's own chat template.

See https://docs.ollama.com/modelfile
"""

from __future__ import annotations

import json
from pathlib import Path

from luna.conversations.chat_template import ChatTemplate
from luna.errors import ExportError

_SYSTEM, _USER, _REPLY, _AGAIN = "\x01system\x01", "\x01user\x01", "\x01reply\x01", "\x01again\x01"


def template(chat: ChatTemplate) -> str:
    """Go template that writes what the model's own template writes.

    Marked messages are rendered, and what stands between the marks is taken over. Raises ExportError
    for a template that cannot be cut so (it changes texts, or writes later turns unlike the first).
    """

    def render(*messages: tuple[str, str]) -> str:
        return chat.render([{"role": role, "content": content} for role, content in messages])

    def between(text: str, *marks: str) -> list[str]:
        parts = []
        for mark in marks:
            part, middle, text = text.partition(mark)
            if not middle:
                raise ExportError(
                    "The model's chat template changes the texts, which Ollama cannot do: export without --ollama."
                )
            parts.append(part)
        return [*parts, text]

    system = ("system", _SYSTEM)
    before_system, after_system, answer_next, after_reply, answer_again = between(
        render(system, ("user", _USER), ("assistant", _REPLY), ("user", _AGAIN)),
        _SYSTEM,
        _USER,
        _REPLY,
        _AGAIN,
    )
    first, answer_first = between(render(("user", _USER)), _USER)
    if not answer_next == answer_again == answer_first:
        raise ExportError(
            "The model's chat template writes later turns differently from the first, which Ollama cannot do: export without --ollama."
        )
    pieces = (before_system, after_system, answer_next, after_reply, first)
    if any('"""' in piece or "{{" in piece for piece in pieces):
        raise ExportError(
            "The model's chat template holds marks that a Modelfile cannot: export without --ollama."
        )
    return (
        '{{- range $i, $m := .Messages }}{{ if eq $m.Role "system" }}'
        + before_system
        + "{{ $m.Content }}"
        + after_system
        + '{{ else if eq $m.Role "user" }}{{ if eq $i 0 }}'
        + first
        + "{{ end }}{{ $m.Content }}"
        + answer_next
        + "{{ else }}{{ $m.Content }}"
        + after_reply
        + "{{ end }}{{ end }}"
    )


def modelfile(model: Path, system_prompt: str) -> str:
    """The Modelfile's text for a GGUF file that will lie beside it."""
    from luna.answering.engine import Engine

    with Engine(model, 1) as engine:
        go, stop = template(engine.template), engine.end_of_turn
    lines = [
        f"FROM ./{model.name}",
        f'TEMPLATE """{go}"""',
        f"PARAMETER stop {json.dumps(stop)}",
        "PARAMETER temperature 0",
    ]
    if system_prompt:
        if '"""' in system_prompt:
            raise ExportError(
                'The system prompt holds """, which a Modelfile cannot: export without --ollama.'
            )
        lines.append(f'SYSTEM """{system_prompt}"""')
    return "\n".join(lines) + "\n"
