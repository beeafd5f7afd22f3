"""The command `luna export`; the work is in sharing/folder.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luna.cli.common import GENERATION, Json, line_of, print_json, repository_root, settings_of
from luna.errors import InputError
from luna.sharing import folder


def command(
    generation: Annotated[str, typer.Argument(help=f"The generation to export: {GENERATION}.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to write; it must be new or empty.")],
    as_ollama: Annotated[
        bool,
        typer.Option(
            "--ollama",
            help="Add a Modelfile with the model's template, system prompt and stop marks, for "
            "'ollama create'.",
        ),
    ] = False,
    lmstudio: Annotated[
        bool,
        typer.Option(
            "--lmstudio",
            help="Write publisher/model/file, the layout of LM Studio's models folder, and a preset.",
        ),
    ] = False,
    hf: Annotated[
        bool,
        typer.Option(
            "--hf",
            help="Write 16-bit safetensors, config, tokenizer and card, for Hugging Face's "
            "transformers.",
        ),
    ] = False,
    hf_adapter: Annotated[
        bool,
        typer.Option(
            "--hf-adapter",
            help="Write one PEFT adapter on the base that stands for the whole line.",
        ),
    ] = False,
    with_data: Annotated[
        bool,
        typer.Option(
            "--with-data",
            help="Add the conversations, answers and probes, and the reports that quote them.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a generation as a folder for other tools.

    The model in it says the system prompt that it was taught under by itself, in any program that reads
    a GGUF's chat template; its weights are the sealed ones. The folder tells nothing else: no
    conversation, answer or probe is in it, unless you give --with-data. It appears complete or not at
    all. History is not changed. With --hf the weights are rebuilt from base and adapters, as 'luna
    rebuild' does. A generation's own adapter fits only its parent's weights, so --hf-adapter combines the
    adapters of the whole line into one, and adds the base if no hub has it.
    """
    options = (
        (folder.OLLAMA, as_ollama),
        (folder.LMSTUDIO, lmstudio),
        (folder.HF, hf),
        (folder.HF_ADAPTER, hf_adapter),
    )
    kinds = [kind for kind, wanted in options if wanted]
    if len(kinds) > 1:
        raise InputError(f"Give one of {', '.join('--' + kind for kind in kinds)}, not several.")
    root = repository_root()
    prefix = settings_of(root).line.prefix
    name = line_of(root).resolve(generation)
    kind = kinds[0] if kinds else folder.PLAIN
    model = folder.export(root, prefix, name, to, kind, with_data)
    if as_json:
        print_json(
            {
                "name": name,
                "kind": kind,
                "folder": str(to),
                "model": str(model),
                "with_data": with_data,
            }
        )
        return
    following = f". Next: ollama create {prefix.lower()} -f {to / 'Modelfile'}" if as_ollama else ""
    typer.echo(f"{name}: {model}{following}")
