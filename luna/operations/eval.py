"""`luna eval`: judges a sealed generation or any GGUF again, and changes no history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evals import general, kept, suite
from evals.outcome import Marked, Score
from luna import artifacts, files, params
from luna.conversations import probes as probe_sets
from luna.conversations import schema
from luna.conversations.probes import Probe
from luna.errors import InputError
from luna.history.line import artifact, read_line, sealed_outs, sealed_params
from luna.names import GenerationName
from luna.operations import restore
from luna.params import Params
from luna.promotion.rule import Verdict, decide
from luna.scores import ABILITY

_NO_GENERATION = -1  # a GGUF file of no generation: every probe counts as taught before it


@dataclass(frozen=True)
class Examined:
    """The result: each answer with its mark, the scores, and the verdicts of the rule."""

    model: str
    marked: list[Marked]
    scores: dict[str, dict[str, Any]]
    verdicts: list[Verdict]

    @property
    def answer_rows(self) -> list[dict[str, Any]]:
        """The answers as eval/answers.jsonl has them."""
        return suite.as_rows(self.marked)


@dataclass(frozen=True)
class _Candidate:
    """Who is examined: the file, its name, the probes that belong to it, and its settings."""

    file: Path
    name: str
    probes: Path
    settings: Params
    number: int
    is_ancestor: bool
    general: tuple[Path, Path] | None  # what the base answered, and how likely it held the texts


def evaluate(root: Path, model: str, probes: Path | None = None) -> Examined:
    """Ask a model its probes, mark the answers, and apply the rule of promotion.

    ``model`` is a generation or the path of a GGUF file; ``probes`` is a file of conversations to be
    asked in place of the probes that the generation was judged by.

    Raises:
        InputError: no such file or generation, or no probes to ask.
        ColdStorageError: the generation's model is neither in the cache nor in cold storage.
        ExportError: llama.cpp cannot load the model.
    """
    candidate = _candidate(root, model)
    settings, number = candidate.settings, candidate.number
    marked = suite.examine(
        candidate.file,
        _asked(candidate, probes),
        settings.chat.system_prompt,
        settings.evaluate,
        settings.train.max_seq_length,
    )
    scores = {
        key: asdict(score)
        for key, score in suite.scores(marked, number, settings.evaluate.seed).items()
    }
    if probes is None and candidate.general:
        scores[ABILITY.name] = asdict(_ability(root, candidate))
    decision = decide(scores, settings.promotion, candidate.is_ancestor)
    return Examined(candidate.name, marked, scores, list(decision.verdicts))


def _ability(root: Path, candidate: _Candidate) -> Score:
    """What it has kept of the base, by the base's own answers as they were sealed."""
    assert candidate.general
    answers, texts = candidate.general
    return kept.examine(
        candidate.file,
        general.rows(answers),
        general.Texts.loads(files.read_json(texts)),
        root / artifacts.GENERAL_QUESTIONS,
        candidate.settings.chat.system_prompt,
        candidate.settings.evaluate,
    )[1]


def _candidate(root: Path, model: str) -> _Candidate:
    settings = params.load(root)
    if model.endswith(".gguf") or Path(model).is_file():
        if not Path(model).is_file():
            raise InputError(
                f"There is no file {model}: give the path of a GGUF file, or a generation "
                "(see 'luna log')."
            )
        here = (root / artifacts.GENERAL, root / artifacts.GENERAL_TEXTS)
        return _Candidate(
            Path(model),
            model,
            root / artifacts.PROBES,
            settings,
            _NO_GENERATION,
            False,
            here if all(path.is_file() for path in here) else None,
        )
    line = read_line(root, settings.line.prefix)
    name = line.resolve(model)
    sealed = sealed_params(line.git, name)
    restore.bring_back(root, name)  # where cold storage does not hold the GGUF
    return _Candidate(
        artifact(root, name, artifacts.MODEL),
        name,
        artifact(root, name, artifacts.PROBES),
        sealed,
        GenerationName.parse(name).number,
        sealed.generation.is_ancestor,
        _general(root, name),
    )


def _general(root: Path, name: str) -> tuple[Path, Path] | None:
    """None for a generation that was sealed before this was measured."""
    if artifacts.GENERAL.as_posix() not in sealed_outs(root, name):
        return None
    return artifact(root, name, artifacts.GENERAL), artifact(root, name, artifacts.GENERAL_TEXTS)


def _asked(candidate: _Candidate, probes: Path | None) -> list[Probe]:
    if probes:
        items = schema.load_file(probes)
        replies = probe_sets.replies_by_question(items)
        return [
            probe
            for item in items
            for probe in (
                *(
                    probe_sets.recall_probe(lesson, candidate.number, replies[lesson.question])
                    for lesson in probe_sets.lessons([item])
                ),
                *probe_sets.paraphrase_probes(item, candidate.number, replies[item.question]),
            )
        ]
    if not candidate.probes.is_file():
        raise InputError("There are no probes in this workspace: give --probes FILE.")
    return probe_sets.load(candidate.probes)
