"""Writes an Ollama Modelfile from the model's own chat template.

The grammar and the template's variables: https://docs.ollama.com/modelfile and https://docs.ollama.com/template

What a chat template writes between two messages depends, in nearly all of them, on the roles of these two alone. So it is
read off by rendering marked messages, and written down as a Go template that remembers the last role. A template for which
this does not hold is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luna.conversations.chat_template import ChatTemplate
from luna.errors import ExportError
from luna.sharing import speech
from luna.sharing.speech import Speech

#: The most that is asked for by itself: a longer window takes more memory than many machines have.
MAX_CONTEXT = 8192
_ROLES = ("system", "user", "assistant")
_START, _END = "", "end"
#: Before and after: what is written between the two; None where the template refuses that order.
Between = Mapping[tuple[str, str], str | None]
_NEEDED = ((_START, "user"), ("user", "assistant"), ("assistant", "user"), ("user", _END))
#: Ends the answer with an error of Ollama's: the model was never taught such a conversation, and the template refuses it.
_REFUSE = "{{ index $.Messages -1 }}"
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
_PLAINLY = "export without --ollama"
#: The orders in which a template is tried before it is trusted: s, u and a are the roles.
_USUAL = ("u", "uau", "uauau", "uauauau", "su", "suau", "suauau", "suauauau")
#: Rare ones, and what is refused where the template does something else in them.
_RARE: Sequence[tuple[tuple[str, ...], Sequence[tuple[str, str]]]] = (
    (
        ("usu", "uasu", "uasuau", "suasu", "suausuau", "usuau"),
        (("user", "system"), ("assistant", "system")),
    ),
    (("s", "us", "uas", "sus"), (("system", _END),)),
    (("au", "auau", "sau", "sauau"), ((_START, "assistant"), ("system", "assistant"))),
    (("ua", "uaua", "sua", "suaua"), (("assistant", _END),)),
)


def modelfile(file: str, spoken: Speech) -> str:
    """The Modelfile's text for a GGUF file of that name which will lie beside it.

    Raises ExportError for a template that Ollama cannot follow.
    """
    by_line = _fits_a_line(spoken.system)
    with speech.rendering(spoken) as chat:
        between = read_off(chat, "" if by_line else spoken.system)
        cuts = chat.render([{"role": "user", "content": " x "}]).find(" x ") < 0
    if spoken.adds_bos:  # Ollama writes it by itself
        between = {
            pair: text.removeprefix(spoken.bos) if text and pair[0] == _START else text
            for pair, text in between.items()
        }
    lines = [f"FROM ./{file}"]
    if cuts:
        lines.append(
            "# The model's own template cuts white space around a message; Ollama does not."
        )
    lines.append(f'TEMPLATE """{template(between)}"""')
    if spoken.system and by_line:
        lines.append(f'SYSTEM """{spoken.system}"""')
    lines += [f'PARAMETER stop "{stop}"' for stop in spoken.stops if stop.isprintable()]
    lines.append("PARAMETER temperature 0")
    if spoken.context:
        lines.append(f"PARAMETER num_ctx {min(spoken.context, MAX_CONTEXT)}")
    return "\n".join(lines) + "\n"


def read_off(chat: ChatTemplate, system: str = "") -> Between:
    """What the template writes between any two messages. ``system``: said where a conversation begins without one.

    Raises ExportError where that does not depend on their roles alone, or where the texts are changed.
    """
    between: dict[tuple[str, str], str | None] = {}
    contexts: dict[str, tuple[str, ...]] = {
        _START: (),
        "system": ("system",),
        "user": ("user",),
        "assistant": ("user", "assistant"),
    }
    for before, context in contexts.items():
        for after in (*_ROLES, _END):
            if before == after or (before, after) == (_START, _END):
                continue  # Ollama joins messages of one role; there is always one
            roles = context if after == _END else (*context, after)
            # How a message is written that others follow: the last one is a question in nearly every conversation.
            tries = [(*roles, "user"), roles] if after in ("system", "assistant") else [roles]
            texts = (_cut(chat, one, system, len(context)) for one in tries)
            between[before, after] = next((text for text in texts if text is not None), None)
    if any(between[pair] is None for pair in _NEEDED):
        raise ExportError(
            f"The model's chat template changes the texts, which Ollama cannot do: {_PLAINLY}."
        )
    if not all(_holds(chat, between, system, shape) for shape in _USUAL):
        raise ExportError(
            "The model's chat template writes a message by more than its role and the one before it, which Ollama cannot do: "
            f"{_PLAINLY}."
        )
    for shapes, pairs in _RARE:
        if not all(_holds(chat, between, system, shape) for shape in shapes):
            between |= dict.fromkeys(pairs)
    return between


def _holds(chat: ChatTemplate, between: Between, system: str, shape: str) -> bool:
    """Whether the template writes a conversation of that shape so; what is refused needs no writing."""
    roles = [next(role for role in _ROLES if role[0] == letter) for letter in shape]
    texts = [between[pair] for pair in zip([_START, *roles], [*roles, _END], strict=True)]
    if None in texts:
        return True
    marks = [*_marks(len(roles)), ""]
    written = "".join(f"{text}{mark}" for text, mark in zip(texts, marks, strict=True))
    return _rendered(chat, roles, system) == written


def _marks(count: int) -> list[str]:
    return [f"\x01Mark {number}\x01" for number in range(count)]


def _rendered(chat: ChatTemplate, roles: Sequence[str], system: str) -> str | None:
    rows = [
        {"role": role, "content": mark}
        for role, mark in zip(roles, _marks(len(roles)), strict=True)
    ]
    if system and roles[:1] != ["system"] and roles[:1] != ("system",):
        rows.insert(0, {"role": "system", "content": system})
    try:
        return chat.render(rows)
    except ExportError:
        return None


def _cut(chat: ChatTemplate, roles: Sequence[str], system: str, at: int) -> str | None:
    """What stands before the mark of message ``at``, or after the last one; None where the marks are not there in order."""
    text = _rendered(chat, roles, system)
    parts = []
    for mark in _marks(len(roles)):
        if text is None or mark not in text:
            return None
        part, _, text = text.partition(mark)
        parts.append(part)
    return [*parts, text][at]


def template(between: Between) -> str:
    """The Go template that writes these texts between the messages."""
    turns = []
    for number, role in enumerate(_ROLES):
        lead = _by_last(
            {before: text for (before, after), text in between.items() if after == role}
        )
        word = "if" if number == 0 else "else if"
        turns.append(f'{{{{ {word} eq .Role "{role}" }}}}{lead}{{{{ .Content }}}}')
    end = _by_last({before: text for (before, after), text in between.items() if after == _END})
    return (
        '{{ $last := "" }}{{ range .Messages }}'
        + "".join(turns)
        + f"{{{{ else }}}}{_REFUSE}{{{{ end }}}}{{{{ $last = .Role }}}}{{{{ end }}}}{end}"
    )


def _by_last(texts: Mapping[str, str | None]) -> str:
    """The text for each role that came last."""
    if len(set(texts.values())) == 1:
        return _literal(next(iter(texts.values())))
    branches = []
    for number, (before, text) in enumerate(texts.items()):
        if number == len(texts) - 1:
            branches.append("{{ else }}")
        else:
            branches.append(f'{{{{ {"else if" if number else "if"} eq $last "{before}" }}}}')
        branches.append(_literal(text))
    return "".join(branches) + "{{ end }}"


def _literal(text: str | None) -> str:
    """A text of a Go template inside a Modelfile, which loses what cannot be printed."""
    if text is None:
        return _REFUSE
    if _fits_a_line(text) and "{{" not in text and not text.endswith("{"):
        return text
    escaped = "".join(
        _ESCAPES.get(one, one if one.isprintable() else f"\\U{ord(one):08x}") for one in text
    )
    return f'{{{{ "{escaped}" }}}}'


def _fits_a_line(text: str) -> bool:
    """Whether a Modelfile keeps the text as it is between three quotation marks."""
    return '"""' not in text and all(one.isprintable() or one == "\n" for one in text)
