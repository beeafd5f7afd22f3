"""Commands that ask a model: eval."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from luna import artifacts
from luna.cli.common import Json, print_json, root, settings_of


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A generation (G003, 3, full name, HEAD) or the path of any GGUF file."
        ),
    ],
    probes: Annotated[
        Path | None,
        typer.Option(
            "--probes",
            exists=True,
            dir_okay=False,
            help="Ask these conversations instead (JSONL as in data/conversations).",
        ),
    ] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Show every answer too.")] = False,
    as_json: Json = False,
) -> None:
    """Examine a sealed generation, or any GGUF file, again; history is not changed.

    A generation is asked the probes that it was judged by, unless --probes gives others.
    """
    from evals import suite
    from luna.conversations import probes as probe_sets
    from luna.conversations import schema
    from luna.errors import InputError
    from luna.history.line import artifact, read_line, sealed_params
    from luna.names import GenerationName
    from luna.operations import thin
    from luna.promotion.rule import decide

    place = root()
    settings = settings_of(place)
    number, first = -1, False
    if model.endswith(".gguf") or Path(model).is_file():
        file, name, own = Path(model), model, place / artifacts.PROBES
        if not file.is_file():
            raise InputError(
                f"There is no file {model}: give the path of a GGUF file, or a generation (see 'luna log')."
            )
    else:
        line = read_line(place, settings.line.prefix)
        name = line.resolve(model)
        number = GenerationName.parse(name).number
        settings = sealed_params(line.git, name)
        first = settings.generation.is_ancestor
        thin.bring_back(place, name)  # where cold storage is lean
        file, own = artifact(place, name, artifacts.MODEL), artifact(place, name, artifacts.PROBES)
    if probes:
        items = schema.load_file(probes)
        asked = [
            probe
            for item in items
            for probe in (
                probe_sets.recall_probe(item, number),
                *probe_sets.paraphrase_probes(item, number),
            )
        ]
    elif own.is_file():
        asked = probe_sets.load(own)
    else:
        raise InputError("There are no probes in this workspace: give --probes FILE.")
    marked = suite.examine(file, asked, settings.chat.system_prompt, settings.evaluate)
    scores = {
        key: asdict(score)
        for key, score in suite.scores(marked, number, settings.evaluate.seed).items()
    }
    decision = decide(scores, settings.promotion, first)
    if as_json:
        print_json(
            {
                "model": name,
                "scores": scores,
                "verdicts": [asdict(verdict) for verdict in decision.verdicts],
                **({"answers": suite.as_rows(marked)} if answers else {}),
            }
        )
        return
    if answers:
        for item in marked:
            typer.echo(
                f"{'right' if item.correct else 'WRONG'}  {item.probe.messages[-1][1]}\n       {item.answer.text}"
            )
    typer.echo(name)
    for verdict in decision.verdicts:
        score = scores[verdict.clause]
        shown = (
            "-"
            if verdict.value is None
            else f"{verdict.value:.3f} ({score['low']:.3f} to {score['high']:.3f}, n = {score['n']})"
        )
        typer.echo(
            f"  {verdict.clause.replace('_', ' '):<16}{shown:<38}{'passes' if verdict.passed else 'fails'} {verdict.bound}"
        )
