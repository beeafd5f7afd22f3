import os

import pytest
from conftest import SOURCE, shipped

from luna import params, sealed_parameters, strict_yaml
from luna.errors import InputError
from luna.model import base
from luna.model import folder as model_folder
from luna.training import environment


def test_the_shipped_file_is_valid_and_states_every_section():
    settings = params.load(SOURCE)
    assert (
        settings.promotion.recall.minimum == 0.9 and settings.promotion.tone_drift.maximum == 0.05
    )
    import yaml

    assert set(yaml.safe_load((SOURCE / "params.yaml").read_text())) == set(
        params.Params.model_fields
    )


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"trian": {}}, ("trian", "known here are", "train")),
        ({"train": {"lr": 1}}, ("train.lr", "learning_rate")),
        ({"train": {"learning_rate": -1}}, ("train.learning_rate", "-1", "greater than 0")),
        ({"export": {"quantization": "Q3"}}, ("export.quantization", "Q3", "Q8_0")),
        (
            {"promotion": {"recall": {"minimum": 0.9, "maximum": 1}}},
            ("promotion.recall", "minimum or a maximum"),
        ),
        ({"line": {"prefix": "a b"}}, ("line.prefix",)),
        ([], ("params.yaml",)),
    ],
)
def test_what_is_wrong_is_named(document, words):
    with pytest.raises(InputError) as error:
        params.parse(document, "params.yaml")
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_not_yaml(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [1\n")
    with pytest.raises(InputError, match="not valid YAML"):
        params.load(tmp_path)


def test_writing_the_generation_keeps_comments(tmp_path):
    (tmp_path / "params.yaml").write_text((SOURCE / "params.yaml").read_text())
    params.write_generation(tmp_path, "Luna-G001-20250101-000000", "Luna-G000-20240101-000000")
    text = (tmp_path / "params.yaml").read_text()
    assert params.load(tmp_path).generation.name == "Luna-G001-20250101-000000"
    assert text.count("#") >= (SOURCE / "params.yaml").read_text().count("#") - 1


def changed(**sections):
    """params.yaml as shipped, with some keys set otherwise."""
    document = params.load(SOURCE).model_dump(exclude_none=True)
    document["generation"] = {"name": None, "parent": None}
    document["base"] |= {"revision": None}
    for section, values in sections.items():
        document[section] = document[section] | values if isinstance(values, dict) else values
    return document


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"promotion": {"tone_drift": {"minimum": 0.5}}}, ("tone_drift.minimum", "give a maximum")),
        ({"promotion": {"recall": {"maximum": 0.9}}}, ("recall.maximum = 0.9", "give a minimum")),
        ({"promotion": {"generalisation": {"maximum": 0.9}}}, ("give a minimum",)),
        (
            {"promotion": {"recall": {"minimum": 0.9, "target": 0.8}}},
            ("promotion.recall.target = 0.8", "at least the minimum, 0.9"),
        ),
        (
            {"promotion": {"tone_drift": {"maximum": 0.05, "target": 0.1}}},
            ("promotion.tone_drift.target = 0.1", "at most the maximum, 0.05"),
        ),
        ({"train": {"batch_size": True}}, ("train.batch_size = True", "valid integer")),
        ({"train": {"batch_size": "4"}}, ("train.batch_size = '4'", "valid integer")),
        ({"train": {"learning_rate": True}}, ("train.learning_rate = True", "valid number")),
        ({"train": {"load_in_4bit": "yes"}}, ("train.load_in_4bit = 'yes'", "valid boolean")),
        ({"train": {"load_in_4bit": True, "device": "cpu"}}, ("load_in_4bit", "CUDA GPU")),
        ({"train": {"seed": -1}}, ("train.seed = -1", "0 to 4294967295")),
        ({"train": {"seed": 2**32}}, ("train.seed", "0 to 4294967295")),
        ({"data": {"seed": -1}}, ("data.seed = -1", "0 to 4294967295")),
        ({"evaluate": {"seed": 10**400}}, ("evaluate.seed", "0 to 4294967295")),
        ({"train": {"epochs": float("inf")}}, ("train.epochs = inf", "finite")),
        ({"train": {"epochs": float("nan")}}, ("train.epochs = nan",)),
        ({"train": {"neftune_noise_alpha": float("inf")}}, ("neftune_noise_alpha", "finite")),
        ({"train": {"learning_rate": float("nan")}}, ("train.learning_rate = nan",)),
        ({"train": {"max_grad_norm": float("inf")}}, ("train.max_grad_norm = inf", "finite")),
        ({"age_up": {"karma_required": float("inf")}}, ("age_up.karma_required", "finite")),
        ({"retry": [{"epochs": float("inf")}]}, ("retry.0.epochs = inf", "finite")),
        ({"train": {"batch_size": 0}}, ("train.batch_size = 0", "greater than or equal to 1")),
        ({"train": {"lora_rank": -4}}, ("train.lora_rank = -4", "greater than or equal to 1")),
        ({"train": {"max_seq_length": 0}}, ("train.max_seq_length = 0",)),
        ({"train": {"target_modules": []}}, ("train.target_modules = []", "modules")),
        ({"train": {"target_modules": "all"}}, ("train.target_modules = 'all'", "auto")),
        ({"train": {"target_modules": ["q_proj", "q_proj"]}}, ("target_modules", "once")),
    ],
)
def test_what_no_build_could_use_is_named_with_key_value_and_what_is_allowed(sections, words):
    with pytest.raises(InputError) as error:
        params.parse(changed(**sections), "params.yaml")
    sentence = str(error.value)
    assert all(word in sentence for word in ("params.yaml: ", *words)) and len(sentence) < 400


def keys_of(model, above=""):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if inner is params.Clause or name in ("retry", "notify"):
            yield f"{above}{name}"
        elif isinstance(inner, type) and issubclass(inner, params.BaseModel):
            yield from keys_of(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}"


@pytest.mark.parametrize("key", list(keys_of(params.Params)))
def test_a_key_that_is_not_there_is_named_and_never_a_default(key):
    document = params.load(SOURCE).model_dump(exclude_none=True)
    document |= {"generation": {"name": None, "parent": None}}
    document["base"] |= {"revision": None}
    section = document
    *above, last = key.split(".")
    for name in above:
        section = section[name]
    del section[last]
    with pytest.raises(InputError, match=f"{key} is missing"):
        params.parse(document, "params.yaml")


def broken(text: bytes):
    return (SOURCE / "params.yaml").read_bytes() + text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (broken(b"chat:\n  system_prompt: x\n"), 'found duplicate key "chat"'),
        (broken("# \u00fc\n".encode("latin-1")), "is not UTF-8"),
        (broken(b"").decode().encode("utf-16"), "is not UTF-8"),
        (b"line: " + b"[" * 5000, "nested too deeply"),
        (b"line: " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"line: 2025-13-45", "YAML cannot have"),
        (b"line: " + b"9" * 5000, "YAML cannot have"),
        (b"line: !!python/object:os.system x", "could not determine a constructor"),
        (b"line: \x1b[31m", "not valid YAML"),
        (b"line: &a [*a]", "line = "),
        (b"line: &a {prefix: *a}", "line"),
        (
            b"a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n" + b"line: [*c, *c, *c]",
            "line = [[[...]",
        ),
        (
            broken(b"").replace(b"lora_rank: 16", b"lora_rank: 010"),
            "is not valid YAML: 010",
        ),
        (broken(b"").replace(b"lora_rank: 16", b"lora_rank: 1:30"), "train.lora_rank = '1:30'"),
        (broken(b"").replace(b"4bit: false", b"4bit: on"), "train.load_in_4bit = 'on'"),
        (b"#" * 1_000_001, "longer than"),
        (b"", "is missing"),
    ],
)
def test_a_file_that_dvc_could_not_use_either_is_one_sentence(tmp_path, data, words):
    (tmp_path / "params.yaml").write_bytes(data)
    with pytest.raises(InputError) as error:
        params.load(tmp_path)
    sentence = str(error.value)
    assert words in sentence and sentence.isprintable() and len(sentence) < 500
    assert "params.yaml" in sentence


def test_a_value_is_read_as_dvc_reads_it(tmp_path):
    """YAML 1.2: '017' apart, which is refused, DVC and Luna see the same numbers."""
    from dvc.utils.serialize import load_yaml

    text = (SOURCE / "params.yaml").read_text()
    for old, new in (
        ("system_prompt: You are Luna.", "system_prompt: on"),
        ("lora_rank: 16", "lora_rank: 0x10"),
        ("lora_alpha: 32", "lora_alpha: 0o40"),
        ("learning_rate: 0.001", "learning_rate: 1e-3"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "params.yaml").write_text("\ufeff" + text)
    own, by_dvc = params.load(tmp_path), load_yaml(str(tmp_path / "params.yaml"))
    assert own.chat.system_prompt == by_dvc["chat"]["system_prompt"] == "on"
    for key in ("lora_rank", "lora_alpha", "learning_rate"):
        assert getattr(own.train, key) == by_dvc["train"][key]
    assert (own.train.lora_rank, own.train.lora_alpha) == (16, 32)


def test_a_fifo_in_its_stead_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "params.yaml")
    with pytest.raises(InputError, match="params.yaml is not a regular file"):
        params.load(tmp_path)


def test_what_is_sealed_is_read_as_it_was_when_it_was_built():
    today = (SOURCE / "params.yaml").read_bytes()
    assert sealed_parameters.parse(today, "today") == params.load(SOURCE)
    first = b"train: {lora_rank: 010, batch_size: true}\nchat: {}\npromotion: {tone_drift: {minimum: 0.5}}\n"
    with pytest.raises(InputError):
        params.parse(strict_yaml.load(first, "params.yaml"), "params.yaml")
    old = sealed_parameters.parse(first, "old")
    assert (old.train.lora_rank, old.train.batch_size, old.train.epochs) == (8, 1, 3)
    assert old.promotion.tone_drift.minimum == 0.5 and old.promotion.recall.minimum == 0.9
    assert sealed_parameters.parse(b"", "none").data.replay_samples == 120
    for broken_text in (b"train: {lora_rank: much}", b"a: [", b"\xff", b"[" * 5000):
        with pytest.raises(InputError):
            sealed_parameters.parse(broken_text, "old")


def test_the_values_of_old_files_cover_every_parameter():
    before = params.validated(sealed_parameters.BEFORE, "before", strict=True)
    assert set(before.model_dump()) == set(params.Params.model_fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("target_modules: auto", "target_modules: [q_porj, k_proj]"), ("q_porj", "q_proj")),
        (("target_modules: auto", "target_modules: [lm_head, k_proj]"), ("lm_head", "q_proj")),
        (
            ("target_modules: auto", "target_modules: [embed_tokens, k_proj]"),
            ("embed_tokens", "q_proj"),
        ),
        (
            ("target_modules: auto", "target_modules: [input_layernorm, k_proj]"),
            ("input_layernorm", "q_proj"),
        ),
        (("target_modules: auto", "target_modules: ['.*', k_proj]"), ("'.*'", "q_proj")),
        (("device: auto", "device: cuda"), ("train.device", "no GPU")),
        (("load_in_4bit: false", "load_in_4bit: true"), ("train.load_in_4bit", "CUDA GPU")),
        (("seed: 7", "seed: -1"), ("data.seed",)),
        (("recall: {minimum: 0.0}", "recall: {maximum: 0.9}"), ("recall.maximum",)),
    ],
)
def test_new_refuses_what_the_base_or_the_machine_cannot_do(fresh, tmp_path, change, words):
    if environment.has_nvidia_gpu() and "GPU" in words[-1]:
        pytest.skip("this machine has a GPU")
    repo = fresh.copy(tmp_path / "repo")
    repo.edit_params(change)
    before = repo.snapshot()
    refused = repo.luna("new", code=2).stderr
    assert all(word in refused for word in words) and refused.count("\n") == 1
    assert repo.snapshot() == before


def test_a_base_folder_that_is_missing_is_said_to_be_missing(fresh, tmp_path):
    repo = fresh.copy(tmp_path / "repo")
    text = (repo.path / "params.yaml").read_text()
    source = text.partition("source: ")[2].split()[0]
    for name in ("./no-base", "models/no-base"):
        repo.edit_params((f"source: {source}", f"source: {name}"))
        refused = repo.luna("new", code=2).stderr
        assert name in refused and ("missing" in refused or "There is no folder" in refused)
        source = name


def test_the_modules_of_a_base_are_those_of_its_numbered_layers(tiny_base, tmp_path):
    # As they were listed in params.yaml before there was an auto: the same adapter, byte for byte.
    seven = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert sealed_parameters.BEFORE["train"]["target_modules"] == seven
    assert model_folder.targets(tiny_base, shipped("train").target_modules) == seven
    assert model_folder.targets(tiny_base, ["v_proj", "q_proj"]) == ["v_proj", "q_proj"]
    assert base.layer_modules(shipped("base", source=str(tiny_base)), tmp_path) == seven
    assert base.layer_modules(shipped("base"), tmp_path) == seven
    hub = shipped("base", source="owner/name", revision="a" * 40)
    assert base.layer_modules(hub, tmp_path) is None
    assert base.layer_modules(hub, tiny_base) == seven
