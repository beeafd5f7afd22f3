"""Lets a model say questions in other words, and keeps what leads it back to the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from luna.answering import trial
from luna.answering.engine import Engine
from luna.answering.likelihood import mean_log_likelihood
from luna.conversations.rephrase import drafts, language, requests

_PARALLEL = 16
_CONTEXT = 512  # tokens of a request with what it shows, and its answer
_SPARE = 16  # tokens that a rewording may have besides twice those of its question
_OTHERS = 3  # questions that a rewording must not lead to rather than to its own


@dataclass
class Rewritten:
    """Rewordings by the key of their question. ``asked``: how many were written, of which some are ``unusable`` or ``led_elsewhere``."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    asked: int = 0
    unusable: int = 0
    led_elsewhere: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """For a report."""
        return {key: value for key, value in asdict(self).items() if key != "texts"} | {
            "kept": sum(map(len, self.texts.values()))
        }


def rewrite(model: Path, questions: Mapping[str, str]) -> Rewritten:
    """Up to ``requests.ways`` rewordings of each question (by any key), the same for the same file.

    Whether one keeps the meaning is asked of the model as well: said in other words, it must be likelier to be its own
    question than any of those that look most like it (mean log-likelihood a token).

    Raises ExportError when llama.cpp cannot load the file, or breaks down on it.
    """
    result = Rewritten()
    if not questions:
        return result
    spoken = language.of_all(questions.values())
    asking = requests.of_language(spoken)
    near = drafts.look_alikes(list(questions.values()), _OTHERS)
    keys = list(questions)
    trial.require_loadable(model)
    console = Console()
    columns = (TextColumn("other words"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
        Engine(model, _PARALLEL, _CONTEXT) as engine,
    ):
        task = bar.add_task("rewordings", total=asking.ways * len(keys))
        limits = [2 * len(engine.tokenise(question)) + _SPARE for question in questions.values()]
        for way in range(asking.ways):  # one way together, since their prompts begin alike
            prompts = [engine.prompt(asking.turns(text, way)) for text in questions.values()]
            answers = engine.answer(prompts, limits, lambda: bar.advance(task))
            for key, answer in zip(keys, answers, strict=True):
                result.asked += 1
                question, own = questions[key], result.texts.setdefault(key, [])
                text = drafts.clean(answer.text, question, spoken) if answer.ended else None
                if text is None or text in own or asking.repeats_shown(text, question):
                    result.unusable += 1
                elif not _leads_back(engine, asking, text, question, near[question]):
                    result.led_elsewhere += 1
                else:
                    own.append(text)
    return result


def _leads_back(
    engine: Engine, asking: requests.Requests, text: str, question: str, others: Sequence[str]
) -> bool:
    prompt = engine.prompt(asking.plain(text))
    own = mean_log_likelihood(engine, prompt, question)
    return all(mean_log_likelihood(engine, prompt, other) < own for other in others)
