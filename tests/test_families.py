"""Today's families, from their own tokenizers and chat templates to a sealed generation 1, by the real pipeline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import bases, families, warm

BUILT = ("Llama 3.2", "Qwen2.5", "Qwen3", "Gemma 2", "Mistral v0.2", "Phi-3")
#: What is changed in the chat templates of those, and which modules learn, where it is not a llama's.
CHANGED = {
    "Llama 3.2": "the day that it writes is fixed",
    "Qwen3": "what it writes before a reply is part of the prompt",
    "Gemma 2": "a system message goes before the first question, since the template takes none",
    "Mistral v0.2": "a system message goes before the first question, since the template takes none",
}
LLAMA = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj"
LEARNING = {"Phi-3": "o_proj down_proj gate_up_proj qkv_proj"}


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Iterator[Path]:
    """A python whose imports are done: they would take five times as long as all else here."""
    with warm.Warm(tmp_path_factory.mktemp("warm") / "own") as started:
        yield started.bin / "python"


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("name", BUILT)
def test_a_family_becomes_a_sealed_generation(name, python, tmp_path):
    row = bases.measured(families.BY_NAME[name], 1, tmp_path, tmp_path / "npm", python)
    assert row.verdict == "sealed: 001"
    assert row.prompts == f"{bases.COUNT} of {bases.COUNT}"
    assert float(row.fidelity) >= 0.95
    assert row.changes == CHANGED.get(name, "")
    assert row.targets == LEARNING.get(name, LLAMA)
