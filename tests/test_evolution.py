"""Weight evolution: the norm without the matrix against the matrix itself, names, tables, and merged weights against their base."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_model import make_adapter

from luna.errors import InputError
from luna.model import adapter, evolution, merge, naming
from luna.model.merge import Recipe

sizes = st.integers(1, 24)


@settings(deadline=None, max_examples=60)
@given(
    sizes,
    sizes,
    st.lists(st.tuples(st.integers(1, 30), st.floats(-3, 3)), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_the_norm_is_that_of_the_dense_sum(out, into, adapters, seed):
    chance = np.random.default_rng(seed)
    parts = [
        (scale, chance.normal(size=(rank, into)), chance.normal(size=(out, rank)))
        for rank, scale in adapters
    ]
    dense = np.linalg.norm(sum(scale * b @ a for scale, a, b in parts))
    assert evolution.lora_norm(parts) == pytest.approx(dense, rel=1e-9, abs=1e-9)
    if len(parts) == 1:  # the identity as it is cited
        ((scale, a, b),) = parts
        assert evolution.lora_norm(parts) ** 2 == pytest.approx(
            scale**2 * np.trace((b.T @ b) @ (a @ a.T)), rel=1e-6, abs=1e-9
        )


def test_what_cancels_is_nothing_and_what_nearly_cancels_keeps_its_digits():
    chance = np.random.default_rng(7)
    a, b = chance.normal(size=(4, 40)), chance.normal(size=(30, 4))
    assert evolution.lora_norm([(1.0, a, b), (-1.0, a, b)]) < 1e-12
    small = 1e-9 * chance.normal(size=b.shape)
    assert evolution.lora_norm([(1.0, a, b + small), (-1.0, a, b)]) == pytest.approx(
        np.linalg.norm(((b + small) - b) @ a), rel=1e-5
    )
    assert evolution.lora_norm([]) == 0.0


@pytest.mark.parametrize(
    ("name", "kind", "depth"),
    [
        ("model.layers.12.self_attn.q_proj.weight", "attention.q_proj", 12),
        ("blk.12.attn_q.weight", "attention.q_proj", 12),
        ("blk.0.ffn_gate.weight", "mlp.gate_proj", 0),
        ("model.layers.3.input_layernorm.weight", "input_layernorm", 3),
        ("model.embed_tokens.weight", "embed_tokens", None),
        ("token_embd.weight", "embed_tokens", None),
        ("transformer.h.5.attn.c_attn.weight", "attention.c_attn", 5),
        ("output.weight", "lm_head", None),
        ("lm_head.weight", "lm_head", None),
    ],
)
def test_names_say_kind_and_depth(name, kind, depth):
    assert (naming.kind(name), naming.depth(name)) == (kind, depth)


def test_a_line_of_two_is_measured_as_its_weights_say(tiny_base, tmp_path):
    adapters = [
        adapter.read_folder(make_adapter(tmp_path / f"a{seed}", tiny_base, seed=seed, size=0.1))
        for seed in (1, 2)
    ]
    merge.merge(Recipe(tiny_base, (tuple(adapters[:1]),)), tmp_path / "parent")
    change = merge.merge(
        Recipe(tiny_base, (tuple(adapters),)), tmp_path / "child", tmp_path / "parent"
    )
    found = evolution.measure(tiny_base, tmp_path / "parent", tmp_path / "child", change.relative)
    base, parent, child = (
        load_file(folder / "model.safetensors")
        for folder in (tiny_base, tmp_path / "parent", tmp_path / "child")
    )
    assert [item.tensor for item in found if item.depth is not None] == sorted(
        (item.tensor for item in found if item.depth is not None),
        key=lambda name: (naming.depth(name), name),
    )
    for item in found:
        now, then = child[item.tensor].double(), base[item.tensor].double()
        assert (item.norm, item.base_norm) == pytest.approx(
            (now.norm().item(), then.norm().item())
        ) and item.elements == now.numel()
        assert item.drift == pytest.approx(((now - then).norm() / then.norm()).item(), abs=1e-12)
        before = parent[item.tensor].double()
        assert item.parent_norm == pytest.approx(before.norm().item())
        assert item.change == pytest.approx(
            ((now - before).norm() / before.norm()).item(), rel=0.02
        )  # rounding to 16 bits lies between
    text = evolution.dumps(found)
    assert evolution.dumps(evolution.loads(text)) == text
    says = evolution.summary(found, 0.04, 0, False)
    assert says["changed_layers"] == sum(item.change > 0.04 for item in found) and says[
        "total_layers"
    ] == len(base)
    assert set(says["by_kind"]) == {naming.kind(name) for name in base if "proj" in name}
    assert says["most_evolved"][0] == max(says["by_kind"], key=says["by_kind"].get)
    moved = sum(((child[name].double() - base[name].double()) ** 2).sum().item() for name in base)
    assert says["total_drift"] == pytest.approx(
        (moved / sum((base[name].double() ** 2).sum().item() for name in base)) ** 0.5, rel=1e-4
    )
    untouched = evolution.measure(tiny_base, tiny_base, tiny_base, {})
    assert evolution.summary(untouched, 0.04, 0, True) | {"threshold": 0} == {
        "weight_change_percent": 100.0,
        "changed_layers": len(base),
        "total_layers": len(base),
        "threshold": 0,
        "rounded_away": 0,
        "relative_change": 0.0,
        "total_drift": 0.0,
        "most_evolved": [],
        "most_evolved_depths": [],
        "by_kind": {},
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n",
        ",".join(evolution.COLUMNS) + "\nx,y,0,1,nan,1,1,0,0\n",
        ",".join(evolution.COLUMNS) + "\nx,y,0,1,1,1,1,-1,0\n",
        ",".join(evolution.COLUMNS) + "\nx,y\n",
    ],
)
def test_a_table_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="cannot be read"):
        evolution.loads(text)
