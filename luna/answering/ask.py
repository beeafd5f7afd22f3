"""Asking a model a whole set of probes, with the system prompt it was taught under."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from luna.answering.engine import Answer, Engine
from luna.conversations.probes import Probe
from luna.conversations.template import with_system
from luna.params import Evaluate

_MIN_CONTEXT = 512


def ask(model: Path, probes: Sequence[Probe], system_prompt: str, settings: Evaluate) -> list[Answer]:
    """Greedy answers in the order of the probes; the same file and probes give the same answers."""
    if not probes:
        return []
    longest = max(sum(len(content) for _, content in probe.messages) for probe in probes) + len(system_prompt)
    # A token is at least one character; what the template adds fits the minimum. Rounded up to whole blocks.
    context = max(_MIN_CONTEXT, -(-min(longest, 8192) // 256) * 256 + settings.max_tokens)
    parallel = min(settings.parallel, len(probes))
    console = Console()
    columns = (TextColumn("evaluate"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar, Engine(model, parallel, context) as engine:
        task = bar.add_task("probes", total=len(probes))
        prompts = [engine.prompt(with_system(probe.messages, system_prompt)) for probe in probes]
        return engine.answer(prompts, settings.max_tokens, lambda: bar.advance(task))
