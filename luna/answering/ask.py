"""Asks a model a set of questions with the system prompt that it was trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from luna.answering import trial
from luna.answering.engine import Answer, Engine
from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.answering.limits import limits
from luna.conversations.examples import Rendering
from luna.conversations.probes import Probe
from luna.params import Evaluate

_MIN_CONTEXT = 512
_MAX_CONTEXT = 8192  # tokens, where the model does not say what it was made for
_MAX_CELLS = (
    32768  # tokens kept of all sequences together, as far as one of them does not need more
)
_TOLD_EVERY = 100  # answers, where there is no terminal for a bar
Choose = Callable[[Engine, list[int], Sequence[str]], int | None]


def ask(
    model: Path,
    probes: Sequence[Probe],
    system_prompt: str,
    settings: Evaluate,
    choose: Choose,
    max_length: int,
    drawn: int | None = None,
    called: str = "answers",
) -> list[Answer | None]:
    """Answers in the order of the probes; the same file and probes give the same answers.

    After a long conversation a model is asked as it was taught, in windows of ``max_length`` tokens. A reply that fits in
    none was not taught, and is not asked for: None.

    Probes with distractors are answered by ``choose`` (engine, prompt, replies) -> index, all others in
    the model's own words, many at once: greedily, or drawn by their probability with a seed (``drawn``). The file may be a stranger's: it is tried in a
    process of its own first. ``called``: what they are, for who waits outside a terminal.

    Raises ExportError when llama.cpp cannot load the file, or breaks down on it.
    """
    if not probes:
        return []
    trial.require_loadable(model)
    with GgufVocabulary(model, vocabulary_only=True) as vocabulary:
        rendering = Rendering(vocabulary.template, vocabulary, vocabulary.end_of_turn)
        prompts = {
            i: prompt
            for i, probe in enumerate(probes)
            if (
                prompt := rendering.asked(
                    probe.messages, probe.reference, system_prompt, max_length
                )
            )
        }
        sizes = {i: _reply_tokens(vocabulary, probes[i]) for i in prompts}
        most = vocabulary.context_length or _MAX_CONTEXT
    if not prompts:
        return [None] * len(probes)
    free = [i for i in prompts if not probes[i].distractors]
    own = dict(zip(free, limits(settings.max_tokens, [sizes[i] for i in free]), strict=True))
    own = {i: max(1, min(limit, most - len(prompts[i]))) for i, limit in own.items()}
    longest = max(len(prompt) + own.get(i, sizes[i]) for i, prompt in prompts.items())
    context = max(_MIN_CONTEXT, -(-min(longest, most) // 256) * 256)
    parallel = max(1, min(settings.parallel, len(prompts), _MAX_CELLS // context))
    console = Console()
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
        Engine(model, parallel, context) as engine,
    ):
        task = bar.add_task("probes", total=len(probes))

        def advance() -> None:
            bar.advance(task)
            done = int(bar.tasks[0].completed)
            if bar.disable and done % _TOLD_EVERY == 0:
                print(f"{done} of {len(probes)} {called}", flush=True)

        answers = dict(
            zip(
                free,
                engine.answer(
                    [prompts[i] for i in free],
                    [own[i] for i in free],
                    advance,
                    drawn,
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
            advance()
        return [answers.get(i) for i in range(len(probes))]


def _reply_tokens(vocabulary: GgufVocabulary, probe: Probe) -> int:
    """Of the longest reply that the probe may be answered with."""
    replies = (probe.reference, *probe.also, *probe.distractors)
    return max(len(vocabulary.tokenise(reply)) for reply in replies)
