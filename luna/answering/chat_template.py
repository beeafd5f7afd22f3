"""Rendering a GGUF's own chat template, which is code of a stranger's: sandboxed and bounded.

A template once ran any Python it liked in llama-cpp-python (CVE-2024-34359). The sandbox takes the
attributes away; the bounds on source, output and loops take away the hang.
"""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

from luna.errors import ExportError

MAX_TEMPLATE_CHARACTERS = 100_000
MAX_PROMPT_CHARACTERS = 200_000
MAX_LOOP_STEPS = 100_000


class _Bounded(ImmutableSandboxedEnvironment):
    """Refuses the two ways in which a template without attributes can still hang: big loops and big powers."""

    intercepted_binops = frozenset({"**", "*"})

    def call_binop(self, context, operator, left, right):  # noqa: ANN001  # jinja2's own signature
        if operator == "**":
            raise jinja2.exceptions.SecurityError("powers are not allowed")
        for text, times in ((left, right), (right, left)):
            if isinstance(text, str | list | tuple) and isinstance(times, int) and len(text) * times > MAX_PROMPT_CHARACTERS:
                raise jinja2.exceptions.SecurityError("it repeats a text too often")
        return SandboxedEnvironment.call_binop(self, context, operator, left, right)


class ChatTemplate:
    """Compiled once; ``render`` gives the prompt after which the reply begins."""

    def __init__(self, source: str | None, bos: str, eos: str) -> None:
        if not source:
            raise ExportError("The model has no chat template, so it cannot be asked as a chat model: export it from a base that has one.")
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise ExportError(f"The model's chat template is longer than {MAX_TEMPLATE_CHARACTERS:,} characters: it is refused.")
        environment = _Bounded(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.globals = {"raise_exception": _raise, "range": _range, "namespace": jinja2.utils.Namespace}
        self._tokens = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ExportError(f"The model's chat template does not compile: {error}.") from None

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """Raises ExportError when the template fails, does what the sandbox forbids, or writes without end."""
        parts: list[str] = []
        length = steps = 0
        try:
            for part in self._template.generate(messages=list(messages), add_generation_prompt=True, **self._tokens):
                steps += 1
                length += len(part)
                if length > MAX_PROMPT_CHARACTERS or steps > MAX_LOOP_STEPS:
                    raise jinja2.exceptions.SecurityError("it writes without end")
                parts.append(part)
        except (jinja2.TemplateError, TypeError, ValueError, AttributeError, KeyError, OverflowError, RecursionError, MemoryError) as error:
            raise ExportError(f"The model's chat template cannot be rendered: {error}.") from None
        return "".join(parts)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _range(*bounds: int) -> range:
    values = range(*bounds)
    if len(values) > 1000:
        raise jinja2.exceptions.SecurityError("it loops too often")
    return values
