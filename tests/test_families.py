"""Today's families, from their own tokenizers and chat templates to a sealed generation 1, by the real pipeline."""

from __future__ import annotations

import sys

import pytest
from conftest import COMMANDS

from bench import bases, families, warm
from luna import files
from luna.answering.engine import Engine
from luna.export import converter, shipping

#: Half a minute each. 'python -m bench.bases' builds the others (docs/bases.md).
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


@pytest.fixture
def warm_python() -> warm.Warm:
    """A python whose imports are done: they would take five times as long as all else here."""
    return COMMANDS.warm


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("name", BUILT)
def test_a_family_becomes_a_sealed_generation(name, warm_python, tmp_path):
    row = bases.measured(families.BY_NAME[name], 1, tmp_path, tmp_path / "npm", warm_python, 2)
    assert row.verdict == "sealed: G001"
    assert row.prompts == f"{bases.COUNT} of {bases.COUNT}"
    assert float(row.fidelity) >= 0.95
    assert row.changes == CHANGED.get(name, "")
    assert row.targets == LEARNING.get(name, LLAMA)


@pytest.fixture
def quick(warm_python, monkeypatch) -> None:
    """What the test starts by the name of its own python, such as the converter, runs in the fast one."""
    monkeypatch.setattr(sys, "executable", str(warm_python.bin / "python"))


@pytest.mark.usefixtures("quick")
def test_a_model_with_a_recurrent_state_begins_anew_with_each_question(tmp_path):
    base = families.make(families.BY_NAME["LFM2"], tmp_path / "base", tmp_path / "npm")
    files.write_json(tmp_path / "metadata.json", {"general.name": "lfm"})
    converter.convert(base, tmp_path / "x.gguf", tmp_path / "metadata.json")
    prompts = [[9, 8, 7, 6], [9, 8, 5], [9, 8, 4, 3, 2]]
    with Engine(tmp_path / "x.gguf", parallel=2, context_per_sequence=64) as engine:
        first = engine.logits(prompts[0], 0)
        together = engine.answer(prompts, 4)
        assert not any(answer.failed for answer in together)
        assert [engine.answer([prompt], 4)[0] for prompt in prompts] == together
        assert (engine.logits(prompts[0], 0) == first).all()


@pytest.mark.usefixtures("quick")
def test_the_converter_finds_what_transformers_drops_of_a_config(tmp_path):
    base = families.make(families.BY_NAME["GPT-NeoX"], tmp_path / "base", tmp_path / "npm")
    shipping.vocabulary(base, tmp_path / "x.gguf")
    assert (tmp_path / "x.gguf").is_file()
