"""Parses tensor names of Hugging Face and llama.cpp into kind of module and depth."""

from __future__ import annotations

import re

_LAYER = re.compile(r"(?:^|.*\.)(?:layers?|blocks?|blk|h)\.(?P<depth>\d+)\.(?P<module>.+)")
_ATTENTION = re.compile(r"^(?:self_attn|self_attention|attention|attn)\.")
_GGUF = {
    "attn_q": "attention.q_proj",
    "attn_k": "attention.k_proj",
    "attn_v": "attention.v_proj",
    "attn_output": "attention.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "output": "lm_head",
}


def kind(name: str) -> str:
    """``model.layers.3.self_attn.q_proj.weight`` and ``blk.3.attn_q.weight`` are both ``attention.q_proj``."""
    match = _LAYER.fullmatch(name)
    module = (match["module"] if match else name.removeprefix("model.")).removesuffix(".weight")
    return _GGUF.get(module) or _ATTENTION.sub("attention.", module)


def depth(name: str) -> int | None:
    """The layer's number, counted from 0; None for tensors before or after the layers."""
    match = _LAYER.fullmatch(name)
    return int(match["depth"]) if match else None
