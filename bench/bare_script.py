"""What a person would write without Luna: plain scripts, each a process of its own.

    python -m bench.bare_script unsloth|plain STEPS CONVERSATIONS BASE OUT     train an adapter; prints a JSON line
    python -m bench.bare_script convert ADAPTER BASE OUT                       merge by peft, convert and quantise by llama.cpp
    python -m bench.bare_script answer MODEL PROBES                            answer all probes, many at once
    python -m bench.bare_script all STEPS CONVERSATIONS BASE PROBES OUT        the three, one after another

The settings are those of params.yaml in the working folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from luna import params
from luna.conversations import schema
from luna.training import environment

MAX_TOKENS = 64  # of an answer


def unsloth(steps: int, conversations: Path, base: Path, out: Path) -> dict:
    """Luna's own trainer, alone."""
    environment.prepare("cpu")
    from luna.training import trainer

    settings = params.load()
    chosen = schema.load_file(conversations)[: steps * settings.train.batch_size]
    outcome = trainer.train(
        base,
        chosen,
        settings.chat,
        settings.train.model_copy(update={"max_steps": steps}),
        out / "checkpoints",
        out / "loss",
        out / "adapter",
    )
    return {
        "seconds": outcome.seconds,
        "tokens_per_second": outcome.tokens_per_second,
        "loss_final": outcome.loss_final,
    }


def plain(steps: int, conversations: Path, base: Path, out: Path) -> dict:
    """The same data and settings by transformers and peft, without unsloth."""
    environment.prepare("cpu")
    from bench import plain as alone

    settings = params.load()
    chosen = schema.load_file(conversations)[: steps * settings.train.batch_size]
    return alone.train(
        base, chosen, settings.chat, settings.train.model_copy(update={"max_steps": steps})
    )


def convert(adapter: Path, base: Path, out: Path) -> dict:
    """peft's merge, llama.cpp's converter, llama.cpp's quantiser."""
    from luna.export import converter

    started = time.monotonic()
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.bfloat16), str(adapter)
    ).merge_and_unload()
    merged.save_pretrained(str(out / "merged"))
    AutoTokenizer.from_pretrained(str(base)).save_pretrained(str(out / "merged"))
    seconds = {"merge": time.monotonic() - started}
    return seconds | by_hand(out / "merged", out, converter.script())


def by_hand(merged: Path, out: Path, script: Path) -> dict:
    """llama.cpp's converter and quantiser, called as its documentation says."""
    started = time.monotonic()
    subprocess.run(
        [
            sys.executable,
            str(script),
            str(merged),
            "--outtype",
            "bf16",
            "--outfile",
            str(out / "16.gguf"),
        ],
        check=True,
        capture_output=True,
    )
    import llama_cpp

    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    if llama_cpp.llama_model_quantize(
        str(out / "16.gguf").encode(), str(out / "model.gguf").encode(), options
    ):
        raise SystemExit("llama.cpp could not quantise")
    return {"convert": time.monotonic() - started}


def answer(model: Path, asked: Path) -> dict:
    from luna.answering.engine import Engine
    from luna.conversations import probes

    settings = params.load()
    started = time.monotonic()
    with Engine(model, settings.evaluate.parallel) as engine:
        prompts = [
            engine.prompt(probe.messages, settings.chat.system_prompt)
            for probe in probes.load(asked)
        ]
        engine.answer(prompts, MAX_TOKENS)
    return {"seconds": time.monotonic() - started, "probes": len(prompts)}


def everything(steps: int, conversations: Path, base: Path, asked: Path, out: Path) -> dict:
    trained = unsloth(steps, conversations, base, out)
    shipped = convert(out / "adapter", base, out)
    return {
        "train": trained["seconds"],
        **shipped,
        "answer": answer(out / "model.gguf", asked)["seconds"],
    }


def main() -> None:
    what, *rest = sys.argv[1:]
    run = {
        "unsloth": unsloth,
        "plain": plain,
        "convert": convert,
        "answer": answer,
        "all": everything,
    }[what]
    result = run(*(int(text) if text.isdigit() else Path(text) for text in rest))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
