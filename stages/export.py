"""The export stage: merges, converts, quantises, and checks the result against base and adapter."""

import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from luna import artifacts, files, params, stage
from luna.answering.engine import Engine
from luna.conversations import schema
from luna.conversations.schema import Conversation
from luna.export import fidelity, parity, shipping
from luna.history import build as builds
from luna.history.adapters import WEIGHTS_SCRATCH, of_child, of_parent
from luna.model import adapter, evolution, tokenizer, weights
from luna.params import Params
from luna.training import environment


def samples(settings: Params) -> list[Conversation]:
    """Conversations to compare on: taught ones, or for generation 0 what is waiting to be taught."""
    count = settings.export.fidelity.prompts
    if not settings.generation.is_ancestor:
        return schema.load_file(artifacts.TRAINING_SET)[:count]
    waiting = [
        schema.parse(
            {
                "messages": [
                    *({"role": role, "content": content} for role, content in row["messages"]),
                    {"role": "assistant", "content": row["reference"]},
                ]
            }
        )
        for row in files.read_jsonl(artifacts.PROBES)[:count]
    ]
    return waiting or [
        schema.parse({"instruction": "Who are you?", "output": "I am here to help you."})
    ]


def main() -> None:
    """Run the stage."""
    started = time.monotonic()
    settings, tools = params.sections("export", "chat", "generation"), shipping.installed()
    environment.prepare("cpu")
    build = builds.of_stage(Path(), settings)
    own = adapter.read_folder(artifacts.ADAPTER)
    merged = parent = weights.rebuild(of_parent(Path(), build), WEIGHTS_SCRATCH)
    change = None
    if own.weights is not None:
        merged, change = weights.child(of_child(Path(), build, own), parent, WEIGHTS_SCRATCH)

    artifacts.SCRATCH.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=artifacts.SCRATCH) as scratch:
        identity = shipping.identity(
            settings, weights.key(artifacts.BASE), files.digest(artifacts.DELTA), tools
        )
        shipped = shipping.ship(merged, settings, identity, Path(scratch), tools)
        expected = fidelity.reference(
            parent,
            artifacts.ADAPTER if own.weights else None,
            samples(settings),
            settings.chat.system_prompt,
        )
        with Engine(shipped.sixteen, parallel=1) as engine:
            parity.require(
                engine,
                tokenizer.load(artifacts.BASE),
                samples(settings),
                settings.chat.system_prompt,
            )
            exact = fidelity.compare(expected, engine)
        fidelity.require(exact, settings.export.fidelity)
        with Engine(shipped.quantised, parallel=1) as engine:
            lossy = fidelity.compare(expected, engine)
        shipped.quantised.replace(
            artifacts.MODEL
        )  # replaced, never written through: the old file may be a link into the cache

    for name, out in (("tokenizer.json", artifacts.TOKENIZER), ("config.json", artifacts.CONFIG)):
        files.write_text(out, (artifacts.BASE / name).read_text(encoding="utf-8"))
    tensors = evolution.measure(artifacts.BASE, parent, merged, change.relative if change else {})
    files.write_text(artifacts.WEIGHT_CHANGE, evolution.dumps(tensors))
    files.write_json(
        artifacts.EXPORT_REPORT,
        {
            "quantization": settings.export.quantization,
            "bytes": artifacts.MODEL.stat().st_size,
            "converter": f"llama-cpp-python {tools.version}",
            "converter_sha256": tools.converter_sha256,
            "fidelity_16_bit": asdict(exact),
            "fidelity_quantised": asdict(lossy),
            "evolution": evolution.summary(
                tensors,
                settings.export.changed_tensor_threshold,
                change.rounded_away if change else 0,
                settings.generation.is_ancestor,
            ),
        },
    )
    weights.prune(WEIGHTS_SCRATCH)
    print(
        f"export: {artifacts.MODEL} {artifacts.MODEL.stat().st_size / 1e6:.0f} MB, follows base + adapter to {exact.agreement:.1%} "
        f"(quantised {lossy.agreement:.1%}), {time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    stage.run("export", main)
