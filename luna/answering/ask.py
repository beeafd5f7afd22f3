"""Asks a model a set of questions with the system prompt that it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from luna.answering import trial
from luna.answering.engine import Answer, Engine
from luna.conversations.examples import Rendering
from luna.conversations.probes import Probe
from luna.params import Evaluate

_MIN_CONTEXT = 512
Choose = Callable[[Engine, list[int], Sequence[str]], int | None]


def ask(
    model: Path,
    probes: Sequence[Probe],
    system_prompt: str,
    settings: Evaluate,
    choose: Choose,
    max_length: int,
) -> list[Answer | None]:
    """Answers in the order of the probes; the same file and probes give the same answers.

    After a long conversation a model is asked as it was taught, in windows of ``max_length`` tokens. A reply that fits in
    none was not taught, and is not asked for: None.

    Probes with distractors are answered by ``choose`` (engine, prompt, replies) -> index, all others in
    the model's own words, greedily and many at once. The file may be a stranger's: it is tried in a
    process of its own first.

    Raises ExportError when llama.cpp cannot load the file, or breaks down on it.
    """
    if not probes:
        return []
    trial.require_loadable(model)
    longest = max(
        sum(len(content) for _, content in probe.messages) + len(probe.reference)
        for probe in probes
    ) + len(system_prompt)
    # A token is at least one character; what the template adds fits the minimum. Rounded up to whole blocks.
    context = max(_MIN_CONTEXT, -(-min(longest, max_length) // 256) * 256 + settings.max_tokens)
    parallel = min(settings.parallel, len(probes))
    console = Console()
    columns = (TextColumn("evaluate"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
        Engine(model, parallel, context) as engine,
    ):
        task = bar.add_task("probes", total=len(probes))
        rendering = Rendering(engine.template, engine, engine.end_of_turn)
        prompts = {
            i: prompt
            for i, probe in enumerate(probes)
            if (
                prompt := rendering.asked(
                    probe.messages, probe.reference, system_prompt, max_length
                )
            )
        }
        free = [i for i in prompts if not probes[i].distractors]
        answers = dict(
            zip(
                free,
                engine.answer(
                    [prompts[i] for i in free], settings.max_tokens, lambda: bar.advance(task)
                ),
                strict=True,
            )
        )
        for i in prompts.keys() - set(free):
            replies = sorted((probes[i].reference, *probes[i].distractors))
            chosen = choose(engine, prompts[i], replies)
            answers[i] = Answer(
                "" if chosen is None else replies[chosen], 0, chosen is not None, chosen is None
            )
            bar.advance(task)
        return [answers.get(i) for i in range(len(probes))]
