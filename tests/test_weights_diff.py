"""Files of weights that belong to no generation: compared exactly, and never wrongly when they are damaged."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import BIN
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from luna.errors import InputError
from luna.forensics.tensors import compare as comparing
from luna.model.tensors.opening import open_model

Q = gguf.GGMLQuantizationType


def weights(seed: int = 7, layers: int = 2, rows: int = 8) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    made = {
        f"model.layers.{i}.{part}.weight": chance.standard_normal((rows, 256)).astype(np.float32)
        for i in range(layers)
        for part in ("self_attn.q_proj", "mlp.up_proj")
    }
    return made | {"model.norm.weight": np.ones(256, np.float32)}


def write_gguf(
    path: Path, tensors: dict[str, np.ndarray], kind: Q = Q.Q8_0, name: str = "one", words: int = 50
) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_token_list([f"word{i}" for i in range(words)])
    writer.add_float32("llama.rope.freq_base", 10000.0)
    for key, values in tensors.items():
        if values.ndim == 1:
            writer.add_tensor(key, values)
        else:
            writer.add_tensor(key, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for step in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        step()
    return path


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> Path:
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, path)
    return path


def luna(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([BIN / "luna", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_safetensors_are_compared_as_dense_arrays_say(tmp_path, dtype):
    before = {name: values.astype(dtype) for name, values in weights().items()}
    name = "model.layers.1.mlp.up_proj.weight"
    after = before | {name: (before[name] * 1.25).astype(dtype)}
    found = comparing.compare(
        write_safetensors(tmp_path / "a.safetensors", before),
        write_safetensors(tmp_path / "b.safetensors", after),
    )
    assert [item.tensor for item in found.changed] == [name] and found.count("same") == 4
    one, other = before[name].astype(np.float64), after[name].astype(np.float64)
    assert found.changed[0].change == pytest.approx(
        np.linalg.norm(other - one) / np.linalg.norm(one), rel=1e-12
    )
    assert found.most_evolved == ["mlp.up_proj"] and (
        found.changed[0].kind,
        found.changed[0].depth,
    ) == ("mlp.up_proj", 1)


def test_bfloat16_is_read_as_what_it_is(tmp_path):
    import torch
    from safetensors.torch import save_file as save

    tensors = {"w.weight": torch.randn(40, 30, dtype=torch.float64).to(torch.bfloat16)}
    save(tensors, tmp_path / "a.safetensors")
    save({"w.weight": (tensors["w.weight"] * 2)}, tmp_path / "b.safetensors")
    assert comparing.compare(tmp_path / "a.safetensors", tmp_path / "b.safetensors").changed[
        0
    ].change == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kind", [Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.BF16, Q.F16])
def test_quantised_tensors_are_compared_by_value(tmp_path, kind):
    before = weights()
    name = "model.layers.0.self_attn.q_proj.weight"
    after = before | {name: before[name] + 0.5 * before[name][::-1]}
    found = comparing.compare(
        write_gguf(tmp_path / "a.gguf", before, kind),
        write_gguf(tmp_path / "b.gguf", after, kind, name="two"),
    )
    one, other = (
        gguf.quants.dequantize(gguf.quants.quantize(values[name], kind), kind).astype(np.float64)
        for values in (before, after)
    )
    assert [item.tensor for item in found.changed] == [name]
    assert found.changed[0].change == pytest.approx(
        np.linalg.norm(other - one) / np.linalg.norm(one), rel=1e-9
    )
    assert found.metadata == [("general.name", "one", "two")]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 700), st.integers(0, 699), st.integers(0, 255))
def test_one_changed_byte_is_found_wherever_it_is(tmp_path_factory, size, at, bit):
    folder = tmp_path_factory.mktemp("bytes")
    values = np.arange(size, dtype=np.uint8)
    other = values.copy()
    other[at % size] ^= bit
    found = comparing.compare(
        write_safetensors(folder / "a.safetensors", {"w": values}),
        write_safetensors(folder / "b.safetensors", {"w": other}),
    )
    assert found.count("changed") == bool(bit)
    shutil.rmtree(folder)


def test_other_shapes_types_and_tensors_are_marked_and_not_counted(tmp_path):
    before = weights()
    after = weights(layers=3) | {"model.layers.0.mlp.up_proj.weight": np.ones((4, 256), np.float32)}
    del after["model.norm.weight"]
    found = {
        item.tensor: item
        for item in comparing.compare(
            write_safetensors(tmp_path / "a.safetensors", before),
            write_safetensors(tmp_path / "b.safetensors", after),
        ).tensors
    }
    reshaped = found["model.layers.0.mlp.up_proj.weight"]
    assert (reshaped.state, reshaped.change, reshaped.before, reshaped.after) == (
        "reshaped",
        None,
        "F32 8 x 256",
        "F32 4 x 256",
    )
    assert (
        found["model.norm.weight"].state == "only in A"
        and found["model.layers.2.mlp.up_proj.weight"].state == "only in B"
    )
    mixed = comparing.compare(
        write_gguf(tmp_path / "a.gguf", before), write_gguf(tmp_path / "b.gguf", before, Q.BF16)
    )
    assert mixed.count("changed") == 4 and all(0 < item.change < 0.02 for item in mixed.changed)


def test_values_that_are_no_numbers_and_zeros_give_a_mark_and_no_figure(tmp_path):
    plain, broken = (
        {"a": np.ones(8, np.float32), "b": np.zeros(8, np.float32)},
        {"a": np.full(8, np.nan, np.float32), "b": np.ones(8, np.float32)},
    )
    document = comparing.compare(
        write_safetensors(tmp_path / "a.safetensors", plain),
        write_safetensors(tmp_path / "b.safetensors", broken),
    ).as_json()
    assert [(item["change"], item["note"]) for item in document["tensors"]] == [
        (None, "some values are not finite"),
        (None, "all zeros in A"),
    ]
    json.dumps(document, allow_nan=False)


def test_shards_are_one_model(tmp_path):
    tensors = weights()
    names = list(tensors)
    (tmp_path / "shards").mkdir()
    for index, part in enumerate((names[:2], names[2:])):
        write_safetensors(
            tmp_path / f"shards/model-{index}.safetensors", {name: tensors[name] for name in part}
        )
    found = comparing.compare(
        tmp_path / "shards", write_safetensors(tmp_path / "whole.safetensors", tensors)
    )
    assert found.count("same") == len(tensors) == len(found.tensors)
    write_safetensors(tmp_path / "shards/model-9.safetensors", {names[0]: tensors[names[0]]})
    with pytest.raises(InputError, match="twice"):
        open_model(tmp_path / "shards")


def test_a_cut_anywhere_is_an_error_and_never_a_number(tmp_path):
    """Every cut of a whole file is refused with a sentence, whatever it cuts through."""
    for path in (
        write_gguf(tmp_path / "a.gguf", weights(layers=1, rows=1)),
        write_safetensors(tmp_path / "a.safetensors", weights(layers=1, rows=1)),
    ):
        whole = path.read_bytes()
        cut = tmp_path / f"cut{path.suffix}"
        padding = len(whole) - max(
            item.start + item.size for item in open_model(path).tensors.values()
        )
        for size in [
            *range(0, 400, 7),
            *range(400, len(whole) - padding, 97),
            len(whole) - padding - 1,
        ]:
            cut.write_bytes(whole[:size])
            with pytest.raises(InputError, match="cut"):
                open_model(cut)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_in_the_header_is_an_error_or_another_model_but_no_crash(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "damage"
    folder.mkdir(exist_ok=True)
    for path in (folder / "a.gguf", folder / "a.safetensors"):
        if not path.exists():
            (write_gguf if path.suffix == ".gguf" else write_safetensors)(
                path, weights(layers=1, rows=1)
            )
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, 900))] = data.draw(st.integers(0, 255))
        broken = path.with_name("broken" + path.suffix)
        broken.unlink(missing_ok=True)
        broken.write_bytes(content)
        try:
            json.dumps(comparing.compare(path, broken).as_json(), allow_nan=False)
        except InputError as error:
            assert str(error)


def test_hostile_counts_do_not_take_memory_or_time(tmp_path):
    huge = 2**62
    for name, content in (
        ("kv", b"GGUF" + struct.pack("<IQQ", 3, 0, huge)),
        ("tensors", b"GGUF" + struct.pack("<IQQ", 3, huge, 0)),
        (
            "array",
            b"GGUF"
            + struct.pack("<IQQ", 3, 0, 1)
            + struct.pack("<Q", 1)
            + b"k"
            + struct.pack("<IIQ", 9, 4, huge),
        ),
        (
            "texts",
            b"GGUF"
            + struct.pack("<IQQ", 3, 0, 1)
            + struct.pack("<Q", 1)
            + b"k"
            + struct.pack("<IIQ", 9, 8, huge),
        ),
        ("version", b"GGUF" + struct.pack("<IQQ", 99, 0, 0)),
        ("table", struct.pack("<Q", huge) + b"{}"),
        ("json", struct.pack("<Q", 4) + b"[[[["),
        (
            "negative",
            struct.pack("<Q", 57) + b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,-4]}} ',
        ),
        ("pickle", b"\x80\x04\x95" + bytes(60)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            open_model(tmp_path / name)


def test_the_command_says_what_is_wrong_in_one_sentence(tmp_path):
    one, other = (
        write_gguf(tmp_path / "a.gguf", weights()),
        write_safetensors(tmp_path / "a.safetensors", weights()),
    )
    strange = write_safetensors(
        tmp_path / "strange.safetensors", {"encoder.weight": np.ones(4, np.float32)}
    )
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "nothing").mkdir()
    for arguments, says in (
        ((one, other), "is GGUF and"),
        ((other, strange), "share no tensor"),
        ((one, tmp_path / "nowhere.gguf"), "neither a generation nor a file"),
        ((tmp_path / "empty.gguf", one), "is empty"),
        ((tmp_path / "nothing", one), "0 GGUF and 0 safetensors"),
        ((one, "G001"), "the other is not"),
    ):
        done = luna("diff", *arguments, code=2)
        assert says in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_the_command_outside_a_repository(tmp_path):
    before, after = (
        weights(),
        weights() | {"model.layers.0.mlp.up_proj.weight": np.ones((8, 256), np.float32)},
    )
    one, other = (
        write_gguf(tmp_path / "a.gguf", before),
        write_gguf(tmp_path / "b.gguf", after, name="\x1b[31mred"),
    )
    done = subprocess.run(
        [BIN / "luna", "diff", one, other], capture_output=True, text=True, cwd=tmp_path
    )
    assert (
        done.returncode == 0
        and "1/5 changed" in done.stdout
        and "mlp.up_proj" in done.stdout
        and "\x1b" not in done.stdout
    )
    document = json.loads(luna("diff", one, other, "--json", "--tensors").stdout)
    assert (
        document["counts"]["changed"] == 1
        and len(document["tensors"]) == 5
        and not document["identical"]
    )
    assert json.loads(luna("diff", one, one, "--json").stdout)["identical"] is True
    assert luna("diff", one, other, "--tensors").stdout.count("same") > 3


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from Linux")
def test_memory_stays_small(tmp_path):
    """Two files of 200 MB that differ everywhere take far less than one of them."""
    chance = np.random.default_rng(7)
    tensors = {
        f"model.layers.{i}.mlp.up_proj.weight": chance.integers(
            0, 2**14, (1600, 1600), np.uint16
        ).view(np.float16)
        for i in range(40)
    }
    one = write_safetensors(tmp_path / "a.safetensors", tensors)
    other = write_safetensors(
        tmp_path / "b.safetensors", {name: values[::-1] for name, values in tensors.items()}
    )
    code = f"""
from pathlib import Path
from luna.forensics.tensors.compare import compare
print(compare(Path({str(one)!r}), Path({str(other)!r})).count("changed"), *[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""
    changed, peak = map(
        int,
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split(),
    )
    assert changed == 40 and peak * 1024 < one.stat().st_size
