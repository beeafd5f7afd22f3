"""Weights that are larger than memory: written one tensor at a time, and run in float32 one layer at a time."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from luna.model import adapter, merge, widened
from luna.model.tensors import writing

KINDS = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.float8_e5m2,
    torch.float8_e4m3fn,
    torch.int16,
    torch.uint16,
    torch.float16,
    torch.bfloat16,
    torch.int32,
    torch.uint32,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.uint64,
)
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
EXPERTS = {"num_experts_per_tok": 2}
FAMILIES = {
    "Llama": {"tie_word_embeddings": True},
    "Mistral": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Qwen3Moe": {"head_dim": 8, "num_experts": 4, "moe_intermediate_size": 16, **EXPERTS},
    "Gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Gemma3Text": {"head_dim": 8, "query_pre_attn_scalar": 8},
    "Phi3": {},
    "Mixtral": {"num_local_experts": 4, **EXPERTS},
    "GPTNeoX": {},
    "Olmo2": {},
    "Granite": {},
    "SmolLM3": {},
    "Lfm2": {"block_ff_dim": 64},
}


def test_a_file_written_tensor_by_tensor_is_the_packages_own_byte_for_byte(tmp_path):
    torch.manual_seed(1)
    tensors = {
        f"{name}.{str(kind)[6:]}": (torch.rand(shape) * 100).to(kind)
        for kind in KINDS
        for name, shape in (("z", (3, 5)), ("a", (2,)), ('ü "\\\n\t/', ()), ("m", (0, 4)))
    }
    save_file(tensors, tmp_path / "own", {"format": "pt"})
    words = {kind: word for word, kind in stored_types(tmp_path / "own").items()}
    forms = {
        name: writing.Form(words[tensor.dtype], tuple(tensor.shape))
        for name, tensor in tensors.items()
    }
    writing.write(tmp_path / "written", forms, tensors.__getitem__)
    assert (tmp_path / "written").read_bytes() == (tmp_path / "own").read_bytes()
    with pytest.raises(ValueError, match="a"):
        writing.write(tmp_path / "x", {"a": writing.Form("F32", (3,))}, lambda _: torch.zeros(2))


def stored_types(path):
    """The format's word for each of torch's types."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {
            file.get_slice(name).get_dtype(): file.get_tensor(name).dtype for name in file.keys()
        }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_16_bit_model_answers_as_its_float32_copy_and_stays_16_bit(family):
    torch.manual_seed(1)
    config = getattr(transformers, f"{family}Config")(**SMALL | FAMILIES[family])
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16).eval()
    whole = copy.deepcopy(model).float()
    before = copy.deepcopy(model.state_dict())
    widened.widen(model)
    ids = torch.tensor([[5, 9, 17, 33, 65, 2, 8]])
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, whole(ids).logits)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(
        after[name].dtype == value.dtype and torch.equal(after[name], value)
        for name, value in before.items()
    )


def private_bytes() -> int:
    """Resident memory that no file stands behind."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", text)[1]) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_merge_holds_one_tensor_at_a_time(tmp_path):
    size, layers, rank = 1024, 60, 4
    (tmp_path / "base").mkdir()
    (tmp_path / "adapter").mkdir()
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(layers)]
    save_file(
        {name: torch.randn(size, size).to(torch.bfloat16) for name in names},
        tmp_path / "base/model.safetensors",
    )
    small = {}
    for name in names:
        module = f"base_model.model.{name.removesuffix('.weight')}"
        small[f"{module}.lora_A.weight"] = torch.randn(rank, size)
        small[f"{module}.lora_B.weight"] = torch.randn(size, rank)
    save_file(small, tmp_path / "adapter/adapter_model.safetensors")
    (tmp_path / "adapter/adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 4}'
    )
    recipe = merge.Recipe(tmp_path / "base", ((adapter.read_folder(tmp_path / "adapter"),),))
    held, before = [], private_bytes()
    merge.merge(
        recipe, tmp_path / "merged", tmp_path / "base", lambda _: held.append(private_bytes())
    )
    whole = (tmp_path / "base/model.safetensors").stat().st_size
    assert len(held) == layers and max(held) - before < 0.35 * whole
    base, merged = (
        load_file(tmp_path / folder / "model.safetensors") for folder in ("base", "merged")
    )
    a, b = (
        small[f"base_model.model.model.layers.7.mlp.up_proj.lora_{side}.weight"] for side in "AB"
    )
    wanted = (base[names[7]].double() + b.double() @ a.double()).to(torch.bfloat16)
    assert torch.equal(merged[names[7]], wanted)
