"""The child process that renders one untrusted chat template.

Run by its path, with nothing of Luna's imported. The first line read is JSON {source, bos_token,
eos_token}; each further line is {messages, add_generation_prompt}, answered by one line: {"text": ...}
or {"error": ...}. The parent kills it when a line takes too long; it bounds its own memory and, should
the parent be gone, its processor time.

What a template may use is what transformers gives it, but for ``strftime_now``: a prompt does not change
with the day. A base whose template asks for the day gets it fixed once (adapt.py).
"""

from __future__ import annotations

import contextlib
import json
import sys

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

MAX_PROMPT_CHARACTERS = 200_000
MAX_MEMORY_BYTES = 1 << 30
MAX_PROCESSOR_SECONDS = 120  # for all prompts together
_MAX_STEPS = 100_000


class _Bounded(ImmutableSandboxedEnvironment):
    """Refuses early, and with a reason, the short ways to ask for much: big powers and big repetitions."""

    intercepted_binops = frozenset({"**", "*"})

    def call_binop(self, context, operator, left, right):  # noqa: ANN001  # jinja2's own signature
        if operator == "**":
            raise jinja2.exceptions.SecurityError("powers are not allowed")
        for text, times in ((left, right), (right, left)):
            if (
                isinstance(text, str | list | tuple)
                and isinstance(times, int)
                and len(text) * times > MAX_PROMPT_CHARACTERS
            ):
                raise jinja2.exceptions.SecurityError("it repeats a text too often")
        return SandboxedEnvironment.call_binop(self, context, operator, left, right)


class _Generation(Extension):
    """The tag ``generation``, by which a template says which words are the assistant's; here they are as any others."""

    tags = {"generation"}

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers has it; jinja2's own escapes characters for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _range(*bounds: int) -> range:
    values = range(*bounds)
    if len(values) > 1000:
        raise jinja2.exceptions.SecurityError("it loops too often")
    return values


def compiled(source: str) -> jinja2.Template:
    """The template, compiled so that it can reach nothing outside itself."""
    environment = _Bounded(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals = {
        "raise_exception": _raise,
        "range": _range,
        "namespace": jinja2.utils.Namespace,
    }
    return environment.from_string(source)


def render(
    template: jinja2.Template,
    messages: list[dict[str, str]],
    add_generation_prompt: bool,
    tokens: dict[str, str],
) -> str:
    """What the template makes of the messages. Raises SecurityError when it does not end."""
    parts: list[str] = []
    length = 0
    steps = template.generate(
        messages=messages,
        add_generation_prompt=add_generation_prompt,
        tools=None,
        documents=None,
        **tokens,
    )
    for count, part in enumerate(steps, start=1):
        length += len(part)
        if length > MAX_PROMPT_CHARACTERS or count > _MAX_STEPS:
            raise jinja2.exceptions.SecurityError("it writes without end")
        parts.append(part)
    return "".join(parts)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows: the parent's clock alone
        return
    for kind, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_PROCESSOR_SECONDS),
    ):
        # A lower limit holds already, or the system knows none of this kind (macOS: address space).
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def main() -> None:
    """Read a template and then conversations, a line of JSON each, and answer each with its prompt."""
    _limit()
    given = json.loads(sys.stdin.readline())
    template = None
    tokens = {key: given[key] for key in ("bos_token", "eos_token")}
    for line in sys.stdin:
        try:
            template = template or compiled(given["source"])
            asked = json.loads(line)
            text = render(template, asked["messages"], asked["add_generation_prompt"], tokens)
            answer = {"text": text}
        except Exception as error:  # whatever a stranger's code raises is a reason to refuse it
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
