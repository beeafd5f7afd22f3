"""The one way from a folder of 16-bit weights to model.gguf, for stages and rebuilds.

The file is a pure function of the weights, the quantisation, the identity written into it, and the
tools; nothing of the machine, the folder or the hour reaches it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from luna import files
from luna.errors import ExportError
from luna.export import converter
from luna.params import Params
from luna.text import last_line


@dataclass(frozen=True)
class Tools:
    """llama.cpp's converter in the folder ``converter`` and the quantiser of llama-cpp-python ``version``.

    ``quantiser`` is a folder that holds another llama_cpp than this environment's, or None.
    """

    version: str
    converter: Path
    quantiser: Path | None = None

    @property
    def converter_sha256(self) -> str:
        """SHA-256 over the converter's files."""
        return converter.fingerprint(self.converter)


@dataclass(frozen=True)
class Shipped:
    """``sixteen`` is the bfloat16 GGUF without loss, ``quantised`` the file that ships."""

    sixteen: Path
    quantised: Path


def installed() -> Tools:
    """This environment's tools. Raises ExportError when the converter is not set up."""
    return Tools(version("llama-cpp-python"), converter.script().parent)


def identity(
    settings: Params, base_sha256: str, data_delta_sha256: str, tools: Tools
) -> dict[str, str]:
    """What the file says of itself; each value fits llama.cpp's 127 bytes."""
    return {
        "generation": str(settings.generation.identity),
        "parent": settings.generation.origin,
        "base_sha256": base_sha256,
        "data_delta_sha256": data_delta_sha256,
        "converter_sha256": tools.converter_sha256,
    }


def ship(
    weights: Path, settings: Params, identity: dict[str, str], folder: Path, tools: Tools
) -> Shipped:
    """Convert and quantise the model folder ``weights`` into ``folder``, with the ``identity`` inside."""
    sixteen, quantised, metadata = (
        folder / name for name in ("16.gguf", "quantised.gguf", "metadata.json")
    )
    files.write_json(
        metadata, {"general.name": header_name(weights, str(settings.generation.identity))}
    )
    converter.convert(weights, sixteen, metadata, folder=tools.converter)
    _quantise(sixteen, quantised, settings.export.quantization, identity, tools)
    return Shipped(sixteen, quantised)


def vocabulary(weights: Path, out: Path) -> None:
    """Write a GGUF that holds the tokenizer of a model folder as ``ship`` writes it, and no weights; none need be there."""
    metadata = out.with_suffix(".json")
    files.write_json(metadata, {"general.name": header_name(weights, "vocabulary")})
    converter.convert(weights, out, metadata, extra=("--vocab-only",))


def header_name(weights: Path, name: str) -> str:
    """What the file is called in its header.

    llama.cpp looks there for "phi-3", and only then lets that family's marks swallow the white space behind them, as its
    tokenizer.json says (llama-vocab.cpp).
    """
    swallowing = {
        token["content"]
        for token in files.read_json(weights / "tokenizer.json").get("added_tokens", [])
        if token.get("rstrip")
    }
    is_phi = files.read_json(weights / "config.json").get("model_type") == "phi3"
    return f"{name} phi-3" if is_phi and "</s>" in swallowing else name


def _quantise(source: Path, out: Path, kind: str, identity: dict[str, str], tools: Tools) -> None:
    if tools.quantiser is None:
        from luna.export import gguf

        gguf.quantise(source, out, kind, identity)
        return
    # A second llama.cpp cannot live in the same process as the first.
    here = str(Path(__file__).resolve().parents[2])
    script = (
        "import json, sys; from pathlib import Path; from luna.export import gguf; "
        "source, out, kind, identity = json.loads(sys.argv[1]); gguf.quantise(Path(source), Path(out), kind, identity)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tools.quantiser), here])}
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps([str(source), str(out), kind, identity])],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=env,
    )
    if done.returncode:
        raise ExportError(
            f"llama-cpp-python {tools.version} could not quantise: {last_line(done.stderr)}"
        )
