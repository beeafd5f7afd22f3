"""Base, merge and export on a tiny model: exact, the same every time, and refusing what is not right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import SOURCE, shipped
from safetensors.torch import load_file, save_file

from luna import files
from luna.answering.engine import Engine
from luna.conversations import schema
from luna.errors import BaseModelError, ExportError
from luna.export import converter, fidelity, gguf, parity
from luna.model import adapter, base, merge, tokenizer, weights
from luna.model.merge import Recipe
from luna.params import Fidelity


def make_adapter(folder, tiny_base, seed=1, size=0.2, rank=4):
    """A LoRA adapter on all projections of the tiny base, with random matrices."""
    torch.manual_seed(seed)
    tensors = {}
    for name, weight in load_file(tiny_base / "model.safetensors").items():
        if "proj" in name:
            module = "base_model.model." + name.removesuffix(".weight")
            tensors[f"{module}.lora_A.weight"] = torch.randn(rank, weight.shape[1]) * size
            tensors[f"{module}.lora_B.weight"] = torch.randn(weight.shape[0], rank) * size
    folder.mkdir()
    save_file(tensors, folder / adapter.WEIGHTS)
    modules = sorted({key.split(".")[-3] for key in tensors})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "base_model_name_or_path": "somewhere/else",
    }
    files.write_json(folder / adapter.CONFIG, config)
    return folder


@pytest.fixture
def taught(tmp_path, tiny_base):
    return make_adapter(tmp_path / "adapter", tiny_base)


def once(fixed, *folders) -> Recipe:
    """All adapters in one sum."""
    return Recipe(fixed, (tuple(adapter.read_folder(folder) for folder in folders),))


def each(fixed, *folders) -> Recipe:
    """Rounded after each adapter, as lines were sealed before."""
    return Recipe(fixed, tuple((adapter.read_folder(folder),) for folder in folders))


def test_merge_is_the_formula_rounded_once(tiny_base, taught, tmp_path):
    change = merge.merge(once(tiny_base, taught), tmp_path / "out", tiny_base)
    before, after = (
        load_file(tiny_base / "model.safetensors"),
        load_file(tmp_path / "out/model.safetensors"),
    )
    matrices = load_file(taught / adapter.WEIGHTS)
    name = "model.layers.1.mlp.down_proj.weight"
    a, b = (
        matrices[f"base_model.model.model.layers.1.mlp.down_proj.lora_{side}.weight"].double()
        for side in "AB"
    )
    exact = before[name].double() + 8 / 4 * (b @ a)
    assert torch.equal(after[name], exact.to(torch.bfloat16))
    assert change.relative[name] == pytest.approx(
        (2 * (b @ a)).norm().item() / before[name].double().norm().item()
    )
    assert all(torch.equal(before[key], after[key]) for key in before if "proj" not in key)
    assert change.total_tensors == len(before) and len(change.relative) == 14


@pytest.mark.parametrize("rule", [once, each])
def test_merge_does_not_depend_on_threads_and_continues_a_line(rule, tiny_base, taught, tmp_path):
    second = make_adapter(tmp_path / "second", tiny_base, seed=2)
    both = rule(tiny_base, taught, second)
    merge.merge(both, tmp_path / "at-once")
    code = f"""
import torch
from pathlib import Path
from luna.model import adapter, merge
torch.set_num_threads(1)
a, b = (adapter.read_folder(Path(path)) for path in ({str(taught)!r}, {str(second)!r}))
rounds = {"((a, b),)" if rule is once else "((a,), (b,))"}
merge.merge(merge.Recipe(Path({str(tiny_base)!r}), rounds), Path({str(tmp_path / "one-thread")!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    parent = weights.rebuild(rule(tiny_base, taught), tmp_path / "scratch")
    stepwise = weights.rebuild(both, tmp_path / "scratch")
    made, change = weights.child(both, parent, tmp_path / "scratch")
    assert made == stepwise and len(change.relative) == 14
    digests = {
        files.digest(folder / "model.safetensors")
        for folder in (tmp_path / "at-once", tmp_path / "one-thread", stepwise)
    }
    assert len(digests) == 1
    assert weights.rebuild(both, tmp_path / "scratch") == stepwise
    assert weights.rebuild(Recipe(tiny_base), tmp_path / "scratch") == tiny_base


def test_several_adapters_are_summed_in_float64_and_rounded_once(tiny_base, taught, tmp_path):
    second = make_adapter(tmp_path / "second", tiny_base, seed=2, rank=2)
    merge.merge(once(tiny_base, taught, second), tmp_path / "once")
    merge.merge(each(tiny_base, taught, second), tmp_path / "each")
    before, summed, stepped = (
        load_file(folder / "model.safetensors")
        for folder in (tiny_base, tmp_path / "once", tmp_path / "each")
    )
    name = "model.layers.0.self_attn.q_proj.weight"
    exact = before[name].double()
    rounded = before[name]
    for folder in (taught, second):
        delta = product(folder, name)
        exact, rounded = exact + delta, (rounded.double() + delta).to(torch.bfloat16)
    assert torch.equal(summed[name], exact.to(torch.bfloat16))
    assert torch.equal(stepped[name], rounded) and not torch.equal(stepped[name], summed[name])


def product(folder, name):
    """s * (B @ A) of one weight, in float64."""
    found, scale = load_file(folder / adapter.WEIGHTS), adapter.read_folder(folder).scale
    a, b = (
        found[f"base_model.model.{name.removesuffix('.weight')}.lora_{side}.weight"].double()
        for side in "AB"
    )
    return scale * (b @ a)


@pytest.mark.parametrize(("rule", "least", "most"), [(once, 0.99, 1.01), (each, 0.0, 0.6)])
def test_a_lesson_cut_into_a_hundred_small_ones_is_not_rounded_away(
    rule, least, most, tiny_base, tmp_path
):
    """The projection of the effective change on the intended one, with a keyframe every 32 adapters."""
    whole = make_adapter(tmp_path / "whole", tiny_base, size=0.02)
    part = make_adapter(tmp_path / "part", tiny_base, size=0.02)
    tensors = load_file(part / adapter.WEIGHTS)
    save_file(
        {key: value / 100 if "lora_B" in key else value for key, value in tensors.items()},
        part / adapter.WEIGHTS,
    )
    fixed = tiny_base
    for number, count in enumerate((32, 32, 32, 4)):
        merge.merge(rule(fixed, *[part] * count), tmp_path / f"keyframe-{number}")
        fixed = tmp_path / f"keyframe-{number}"
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_base, fixed))
    along = length = 0.0
    for name in (name for name in before if "proj" in name):
        intended, effective = product(whole, name), after[name].double() - before[name].double()
        along += (effective * intended).sum().item()
        length += (intended * intended).sum().item()
    assert least <= along / length <= most


def test_a_merge_that_changes_nothing_is_an_error(tiny_base, tmp_path):
    weak = make_adapter(tmp_path / "weak", tiny_base, size=1e-6)
    with pytest.raises(ExportError, match="changed nothing"):
        merge.merge(once(tiny_base, weak), tmp_path / "out", tiny_base)


def test_an_adapter_of_another_model_is_refused(tiny_base, tmp_path):
    strange = make_adapter(tmp_path / "strange", tiny_base)
    tensors = load_file(strange / adapter.WEIGHTS)
    save_file(
        {key.replace("layers.1", "layers.9"): value for key, value in tensors.items()},
        strange / adapter.WEIGHTS,
    )
    with pytest.raises(ExportError, match="do not belong together"):
        merge.merge(once(tiny_base, strange), tmp_path / "out")
    save_file(
        {
            key: value[:, :-1].contiguous() if "lora_A" in key else value
            for key, value in tensors.items()
        },
        strange / adapter.WEIGHTS,
    )
    with pytest.raises(ExportError, match="do not belong together"):
        merge.merge(once(tiny_base, strange), tmp_path / "out2")


def export(folder, out, name="Luna-G001-20250101-000000", kind="Q8_0"):
    out.mkdir()
    files.write_json(out / "meta.json", {"general.name": name})
    converter.convert(folder, out / "16.gguf", out / "meta.json")
    gguf.quantise(out / "16.gguf", out / "model.gguf", kind, {"generation": name, "parent": "base"})
    return out


def test_exporting_twice_gives_the_same_bytes(tiny_base, taught, tmp_path):
    merge.merge(once(tiny_base, taught), tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "another-place")
    one, two = (
        export(tmp_path / "here", tmp_path / "one"),
        export(tmp_path / "another-place", tmp_path / "two"),
    )
    assert files.digest(one / "model.gguf") == files.digest(two / "model.gguf")
    other = export(tmp_path / "here", tmp_path / "three", name="Luna-G002-20250101-000000")
    assert files.digest(one / "model.gguf") != files.digest(other / "model.gguf")


def test_fidelity_accepts_the_merge_and_refuses_a_model_that_forgot_its_training(
    tiny_base, taught, tmp_path
):
    conversations = [
        schema.parse(
            {"instruction": f"What is number {i}?", "output": f"Aye, it is {i * 7}, so it is."}
        )
        for i in range(4)
    ]
    expected = fidelity.reference(tiny_base, taught, conversations, "You are Luna.")
    merge.merge(once(tiny_base, taught), tmp_path / "merged")
    bounds = Fidelity(prompts=6, min_agreement=0.9, max_divergence=0.02)
    with Engine(export(tmp_path / "merged", tmp_path / "good") / "16.gguf", parallel=1) as engine:
        training = tokenizer.load(tiny_base)
        parity.require(engine, training, conversations, "You are Luna.")
        assert not parity.parted(engine, training)
        found = fidelity.compare(expected, engine)
    fidelity.require(found, bounds)
    with (
        Engine(export(tiny_base, tmp_path / "forgot") / "16.gguf", parallel=1) as engine,
        pytest.raises(ExportError, match="does not follow"),
    ):
        fidelity.require(fidelity.compare(expected, engine), bounds)
    with pytest.raises(ExportError):
        fidelity.require(fidelity.Comparison(float("nan"), float("nan"), 1), bounds)


def test_many_at_once_answers_as_one_by_one(tiny_base, tmp_path):
    path = export(tiny_base, tmp_path / "x") / "model.gguf"
    questions = [f"What is word number {i} of the list" + " please" * (i % 5) for i in range(20)]
    with Engine(path, parallel=8) as engine:
        prompts = [engine.prompt([("user", text)]) for text in questions]
        together, again = engine.answer(prompts, 12), engine.answer(prompts, 12)
        alone = [engine.answer([prompt], 12)[0] for prompt in prompts]
        too_long = engine.answer([[5] * 600, prompts[0]], 12)
        drawn = [engine.answer(prompts, 12, drawn=seed) for seed in (7, 7, 8)]
    assert together == again
    assert drawn[0] == drawn[1] != drawn[2] and drawn[0] != together, "by chance, by a seed"
    assert sum(one == other for one, other in zip(together, alone, strict=True)) >= 19
    assert too_long[0].failed and too_long[1] == together[0]
    assert all(
        not answer.ended and answer.tokens == 12 for answer in together
    )  # an untaught model never stops: cut off, not hung


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 200, b"PK\x03\x04 zip"])
def test_a_damaged_gguf_is_refused(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ExportError):
        Engine(tmp_path / "x.gguf")


def test_bases_that_are_refused(tiny_base, tmp_path):
    def variant(name, change):
        folder = tmp_path / name
        shutil.copytree(tiny_base, folder)
        change(folder)
        return shipped("base", source=str(folder))

    def pickle(folder):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    def config(**values):
        def change(folder):
            path = folder / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | values))

        return change

    def no_template(folder):
        (folder / "chat_template.jinja").unlink()

    for made, words in (
        (variant("pickle", pickle), "pickle"),
        (variant("encoder", config(architectures=["BertModel"])), "BertModel"),
        (variant("quantised", config(quantization_config={"bits": 4})), "quantised"),
        (variant("plain", no_template), "chat template"),
        (shipped("base", source=str(tmp_path / "nowhere")), "neither"),
        (shipped("base", source="owner/name"), "revision"),
        (shipped("base", source="owner/name", revision="main"), "revision"),
    ):
        with pytest.raises(BaseModelError, match=words):
            base.check(made)
    base.check(shipped("base", source=str(tiny_base)))


def test_a_malformed_base_is_one_sentence(tiny_base, tmp_path):
    whole = json.loads((tiny_base / "config.json").read_text())
    rows = json.loads((tiny_base / "tokenizer_config.json").read_text())
    index = "model.safetensors.index.json"
    header = (tiny_base / "model.safetensors").read_bytes()
    cases = {
        "config.json": [
            "{oops",
            "[]",
            json.dumps(whole | {"architectures": "LlamaForCausalLM"}),
            json.dumps(whole | {"architectures": [7]}),
            json.dumps(whole | {"hidden_size": "many"}),
            json.dumps(whole | {"num_hidden_layers": 10**9}),
            json.dumps(whole | {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}),
        ],
        "tokenizer_config.json": [
            "{oops",
            json.dumps(rows | {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
        ],
        "tokenizer.json": ["", "{}", "[1]", '{"version": "1.0", "model": {"type": "BPE"}}'],
        "chat_template.jinja": [b"\xff\xfe"],
        "model.safetensors": [b"", b"short", b"\xff" * 64, header[: len(header) // 2]],
    }
    for name, texts in cases.items():
        for number, text in enumerate(texts):
            folder = tmp_path / f"{name}-{number}"
            shutil.copytree(tiny_base, folder)
            (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            with pytest.raises(BaseModelError, match=name) as error:
                base.check(shipped("base", source=str(folder)))
            assert "\n" not in str(error.value) and str(error.value).endswith(".")
    for number, text in enumerate(
        (
            None,
            "{oops",
            "{}",
            '{"weight_map": {"x": 3}}',
            '{"weight_map": {"x": "part.safetensors"}}',
        )
    ):
        folder = tmp_path / f"index-{number}"
        shutil.copytree(tiny_base, folder)
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        if text:
            (folder / index).write_text(text)
        with pytest.raises(BaseModelError, match=index):
            base.check(shipped("base", source=str(folder)))
    broken = tmp_path / "template"
    shutil.copytree(tiny_base, broken)
    (broken / "chat_template.jinja").write_text("{% for")
    with pytest.raises(BaseModelError, match="The base cannot be read"):
        base.make(shipped("base", source=str(broken)), tmp_path / "out")


def test_nothing_of_a_models_own_code_is_ever_run():
    """Left out, transformers asks on the terminal whether to run it."""
    asked = re.compile(r"(?:\bAuto\w+|FastLanguageModel)\.from_pretrained\(([^()]|\([^()]*\))*\)")
    for path in [*(SOURCE / "luna").rglob("*.py"), *(SOURCE / "stages").glob("*.py")]:
        if path.name == "hub.py":
            continue  # text for a reader of the exported folder
        for match in asked.finditer(path.read_text(encoding="utf-8")):
            assert "trust_remote_code=False" in match[0], (path, match[0])


def test_a_local_base_is_copied_as_bfloat16_and_the_same_every_time(tiny_base, tmp_path):
    for name in ("one", "two"):
        base.make(shipped("base", source=str(tiny_base)), tmp_path / name)
    assert weights.key(tmp_path / "one") == weights.key(tmp_path / "two")
    tensors = load_file(tiny_base / "model.safetensors")
    shutil.copytree(tiny_base, tmp_path / "float32")
    save_file(
        {name: tensor.float() for name, tensor in tensors.items()},
        tmp_path / "float32/model.safetensors",
        {"format": "pt"},
    )
    base.make(shipped("base", source=str(tmp_path / "float32")), tmp_path / "three")
    assert files.digest(tmp_path / "three/model.safetensors") == files.digest(
        tmp_path / "one/model.safetensors"
    )


def test_the_converter_comes_from_the_pinned_archive_only(tmp_path):
    import tarfile

    (tmp_path / "evil.py").write_text("boom")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "evil.py", converter._INSIDE + "convert_hf_to_gguf.py")
    with pytest.raises(ExportError, match="not the pinned"):
        converter.unpack(tmp_path / "x.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert converter.script().is_file() and len(converter.fingerprint()) == 64
