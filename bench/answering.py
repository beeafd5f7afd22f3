"""Measures many probes in one batch against one chat completion after another."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from bench import generations

REPEATS = 3
PROBES = 40
MAX_TOKENS = 64  # of an answer


def report(folder: Path) -> list[str]:
    import llama_cpp

    from luna import artifacts, params
    from luna.answering.engine import Engine, silent
    from luna.conversations import probes

    repo, _ = generations.line(folder)
    settings = params.load(repo)
    system = settings.chat.system_prompt
    asked = [
        probe.messages for probe in probes.load(repo / artifacts.PROBES) if not probe.distractors
    ]
    some, model = asked[:PROBES], repo / artifacts.MODEL
    alone: list[float] = []
    batched: list[float] = []
    # The same threads and kernels for both, else they would differ in more than the batching.
    defaults = llama_cpp.llama_model_default_params

    def without_repacking() -> llama_cpp.llama_model_params:
        settings = defaults()
        settings.use_extra_bufts = False
        return settings

    llama_cpp.llama_cpp.llama_model_default_params = without_repacking
    with silent():
        plain = llama_cpp.Llama(
            str(model), n_ctx=1024, n_threads=2, n_threads_batch=2, verbose=False
        )
    llama_cpp.llama_cpp.llama_model_default_params = defaults
    texts_alone: list[str] = []
    with Engine(model, settings.evaluate.parallel, threads=2) as engine:
        prompts = [engine.prompt(messages, system) for messages in some]
        for _ in range(REPEATS):
            started = time.monotonic()
            answers = engine.answer(prompts, MAX_TOKENS)
            batched.append(len(some) / (time.monotonic() - started))
            started = time.monotonic()
            with silent():
                texts_alone = [
                    plain.create_chat_completion(
                        [
                            {"role": role, "content": content}
                            for role, content in (("system", system), *messages)
                        ],
                        temperature=0.0,
                        max_tokens=MAX_TOKENS,
                    )["choices"][0]["message"]["content"].strip()
                    for messages in some
                ]
            alone.append(len(some) / (time.monotonic() - started))
        started = time.monotonic()
        engine.answer([engine.prompt(messages, system) for messages in asked], MAX_TOKENS)
        whole = time.monotonic() - started
    plain.close()
    same = sum(answer.text == text for answer, text in zip(answers, texts_alone, strict=True))
    one, many = statistics.median(alone), statistics.median(batched)
    return [
        "## Answering probes",
        "",
        f"{len(some)} probes of the newest generation, two threads, {REPEATS} alternating runs, medians.",
        "",
        "| way | probes a second | spread |",
        "| --- | ---: | --- |",
        f"| `create_chat_completion`, one after another | {one:.1f} | {min(alone):.1f} to {max(alone):.1f} |",
        f"| Luna, {settings.evaluate.parallel} at a time | {many:.1f} | {min(batched):.1f} to {max(batched):.1f} |",
        "",
        f"Ratio {many / one:.2f}; {same} of {len(some)} answers identical. All {len(asked)} probes of the generation: {whole:.0f} s.",
        "",
    ]
