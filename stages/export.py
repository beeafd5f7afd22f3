"""export: merge, convert, quantise, and prove that the file says what base and adapters say."""

import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from luna import artifacts, files, params, stage
from luna.answering.engine import Engine
from luna.conversations import schema
from luna.conversations.schema import Conversation
from luna.export import converter, fidelity, gguf
from luna.model import adapter, evolution, weights
from luna.names import BASE_PARENT
from luna.parentage import WEIGHTS_SCRATCH, line_adapters
from luna.params import Params
from luna.training import environment


def identity(settings: Params) -> dict[str, str]:
    """What the file says of itself; each value fits llama.cpp's 127 bytes."""
    return {
        "generation": str(settings.generation.identity),
        "parent": settings.generation.parent or BASE_PARENT,
        "base_sha256": weights.key(artifacts.BASE),
        "data_delta_sha256": files.digest(artifacts.DELTA),
        "converter_sha256": converter.fingerprint(),
    }


def samples(settings: Params) -> list[Conversation]:
    """Conversations to compare on: taught ones, or for generation 0 what is waiting to be taught."""
    count = settings.export.fidelity.prompts
    if not settings.generation.is_ancestor:
        return schema.load_file(artifacts.TRAINING_SET)[:count]
    waiting = [schema.parse({"messages": [
        *({"role": role, "content": content} for role, content in row["messages"]), {"role": "assistant", "content": row["reference"]},
    ]}) for row in files.read_jsonl(artifacts.PROBES)[:count]]
    return waiting or [schema.parse({"instruction": "Who are you?", "output": "I am here to help you."})]


def main() -> None:
    started = time.monotonic()
    settings = params.load()
    environment.prepare("cpu")
    line, own = line_adapters(Path(), settings), adapter.read_folder(artifacts.ADAPTER)
    merged = parent = weights.rebuild(artifacts.BASE, line, WEIGHTS_SCRATCH)
    change = None
    if own.weights is not None:
        merged = WEIGHTS_SCRATCH / weights.key(artifacts.BASE, [*line, own])
        change = weights.add(parent, own, merged)

    artifacts.SCRATCH.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=artifacts.SCRATCH) as scratch:
        sixteen, quantised, metadata = (Path(scratch) / name for name in ("16.gguf", "quantised.gguf", "metadata.json"))
        files.write_json(metadata, {"general.name": str(settings.generation.identity)})
        converter.convert(merged, sixteen, metadata)
        gguf.quantise(sixteen, quantised, settings.export.quantization, identity(settings))
        expected = fidelity.reference(parent, artifacts.ADAPTER if own.weights else None, samples(settings), settings.chat.system_prompt)
        with Engine(sixteen, parallel=1) as engine:
            fidelity.check_tokens(engine, artifacts.BASE, fidelity.TRICKY)
            exact = fidelity.compare(expected, engine)
        fidelity.require(exact, settings.export.fidelity)
        with Engine(quantised, parallel=1) as engine:
            shipped = fidelity.compare(expected, engine)
        artifacts.MODEL.unlink(missing_ok=True)
        quantised.rename(artifacts.MODEL)

    for name, out in (("tokenizer.json", artifacts.TOKENIZER), ("config.json", artifacts.CONFIG)):
        files.write_text(out, (artifacts.BASE / name).read_text(encoding="utf-8"))
    tensors = evolution.measure(artifacts.BASE, parent, merged, change.relative if change else {})
    files.write_text(artifacts.WEIGHT_CHANGE, evolution.dumps(tensors))
    files.write_json(artifacts.EXPORT_REPORT, {
        "quantization": settings.export.quantization, "bytes": artifacts.MODEL.stat().st_size,
        "converter": f"llama-cpp-python {converter.VERSION}", "converter_sha256": converter.fingerprint(),
        "fidelity_16_bit": asdict(exact), "fidelity_quantised": asdict(shipped),
        "evolution": evolution.summary(tensors, settings.export.changed_tensor_threshold, change.rounded_away if change else 0, settings.generation.is_ancestor),
    })
    weights.prune(WEIGHTS_SCRATCH)
    print(f"export: {artifacts.MODEL} {artifacts.MODEL.stat().st_size / 1e6:.0f} MB, follows base + adapter to {exact.agreement:.1%} "
          f"(quantised {shipped.agreement:.1%}), {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    stage.run("export", main)
