"""A base is looked into before anything is built: what cannot serve is one sentence, and the rest is kept as it came."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import torch
from conftest import Repo, shipped, write_jsonl
from safetensors.torch import load_file, save_file
from tokenizers import normalizers
from transformers import GPT2Config, GPT2LMHeadModel

from luna import files
from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.conversations import schema
from luna.errors import BaseModelError
from luna.export import base_check, parity, shipping
from luna.model import architecture, base, tokenizer
from luna.model import folder as model_folder

DAY = date(2026, 11, 27)
TALK = [schema.parse({"instruction": "Who are you?", "output": "Luna, of this house."})]


@pytest.fixture
def own(tiny_base, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "own"))


@pytest.fixture(scope="module")
def vocabulary(tiny_base, module_folder):
    out = module_folder / "x.gguf"
    shipping.vocabulary(tiny_base, out)
    with GgufVocabulary(out, vocabulary_only=True) as vocabulary:
        yield vocabulary


def edit(path: Path, **values) -> None:
    files.write_json(path, files.read_json(path) | values)


def split(folder: Path) -> dict[str, torch.Tensor]:
    """The weights as one shard with an index; its tensors."""
    tensors = load_file(folder / model_folder.WEIGHTS)
    (folder / model_folder.WEIGHTS).rename(folder / "part-1.safetensors")
    files.write_json(
        folder / model_folder.INDEX, {"weight_map": dict.fromkeys(tensors, "part-1.safetensors")}
    )
    return tensors


def vision(folder: Path) -> None:
    edit(folder / "config.json", vision_config={}, architectures=["TinyForConditionalGeneration"])


def shard_is_gone(folder: Path) -> None:
    tensors = split(folder)
    moved = dict.fromkeys(tensors, "part-1.safetensors") | {
        next(iter(tensors)): "part-2.safetensors"
    }
    files.write_json(folder / model_folder.INDEX, {"weight_map": moved})


def index_is_short(folder: Path) -> None:
    listed = dict.fromkeys(list(split(folder))[1:], "part-1.safetensors")
    files.write_json(folder / model_folder.INDEX, {"weight_map": listed})


def tokenizer_of_another(folder: Path) -> None:
    path = folder / "tokenizer.json"
    whole = files.read_json(path)
    token = whole["added_tokens"][-1] | {"id": 50_000, "content": "<|more|>"}
    edit(path, added_tokens=[*whole["added_tokens"], token])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (vision, "vision tower"),
        (shard_is_gone, '"part-2.safetensors", which is missing'),
        (index_is_short, "does not list"),
        (tokenizer_of_another, "the tokenizer is another model's"),
    ],
)
def test_a_folder_that_is_no_whole_base_is_one_sentence(own, spoil: Callable, says):
    spoil(own)
    with pytest.raises(BaseModelError, match=says) as error:
        base.check(shipped("base", source=str(own)))
    assert "\n" not in str(error.value)


def test_weights_that_are_no_numbers_are_found_when_the_base_is_made(own, tmp_path):
    tensors = load_file(own / model_folder.WEIGHTS)
    name = sorted(tensors)[3]
    tensors[name].view(-1)[5] = float("nan")
    save_file(tensors, own / model_folder.WEIGHTS, {"format": "pt"})
    with pytest.raises(BaseModelError, match=f"{name}.* no numbers"):
        base.make(shipped("base", source=str(own)), tmp_path / "out")


def test_weights_that_lie_there_twice_are_kept_once_and_the_rest_as_it_came(own, tmp_path):
    shutil.copy(own / model_folder.WEIGHTS, own / "consolidated.safetensors")
    settings = shipped("base", source=str(own))
    assert base.estimated_bytes(settings) == (own / model_folder.WEIGHTS).stat().st_size
    base.make(settings, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.safetensors*")] == [
        model_folder.WEIGHTS
    ]
    assert base_check.settle(tmp_path / "out", DAY) == ()
    for path in (tmp_path / "out").iterdir():
        if path.name != "config.json":
            assert path.read_bytes() == (own / path.name).read_bytes(), path.name
    before = files.read_json(own / "config.json")
    assert files.read_json(tmp_path / "out/config.json") == before | {"dtype": "bfloat16"}


def test_an_adapter_is_not_sought_in_experts_nor_in_what_chooses_among_them(tmp_path):
    names = (
        "self_attn.q_proj",
        "mlp.experts.0.up_proj",
        "mlp.shared_expert.down_proj",
        "mlp.gate",
    )
    tensors = {f"model.layers.0.{name}.weight": torch.zeros(2, 2) for name in names}
    save_file(tensors, tmp_path / model_folder.WEIGHTS)
    files.write_json(tmp_path / "config.json", {"num_experts": 4})
    assert model_folder.layer_modules(tmp_path) == ["q_proj", "down_proj"]
    files.write_json(tmp_path / "config.json", {})
    assert model_folder.layer_modules(tmp_path) == ["q_proj", "down_proj", "gate"]


def test_a_person_hears_that_experts_stay_as_they_are():
    [sentence] = base_check.Checked((), (), ("q_proj", "o_proj")).sentences
    assert "experts, which stay as they are: what learns is q_proj, o_proj" in sentence
    assert base_check.Checked((), ()).sentences == []


def test_the_template_is_settled_in_one_place_for_transformers_and_the_converter(own):
    source = (own / "chat_template.jinja").read_text()
    edit(own / "tokenizer_config.json", chat_template="another")
    assert base_check.settle(own, DAY) == ()
    assert "chat_template" not in files.read_json(own / "tokenizer_config.json")
    assert (own / "chat_template.jinja").read_text() == source
    (own / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}" + source)
    [change] = base_check.settle(own, DAY)
    assert change is base_check.Change.DAY
    assert '"2026"' in (own / "chat_template.jinja").read_text()
    assert base_check.settle(own, DAY.replace(year=2030)) == ()
    assert '"2026"' in (own / "chat_template.jinja").read_text()


def test_a_conversation_that_llama_cpp_cuts_otherwise_is_refused_and_another_text_reported(
    tiny_base, vocabulary
):
    training = tokenizer.load(tiny_base)
    parity.require(vocabulary, training, TALK, "You are Luna.")
    assert parity.parted(vocabulary, training) == []
    training.backend_tokenizer.normalizer = normalizers.NFD()
    parity.require(vocabulary, training, TALK, "You are Luna.")
    assert "Ünïcödé naïve café" in parity.parted(vocabulary, training)
    accents = schema.parse({"id": "cup", "instruction": "What is in it?", "output": "Café."})
    with pytest.raises(BaseModelError, match="Conversation cup is other tokens for llama.cpp"):
        parity.require(vocabulary, training, [*TALK, accents], "You are Luna.")


def test_a_reply_without_an_end_for_llama_cpp_is_refused(tiny_base, vocabulary):
    training = tokenizer.load(tiny_base)
    training.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_start|>{% endfor %}"
    )
    with pytest.raises(BaseModelError, match="no answer would ever stop"):
        parity.require(vocabulary, training, TALK, "")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "nobody"}, "does not know the base's architecture 'nobody'"),
        ({"num_hidden_layers": 3}, "lack 'model.layers.2.input_layernorm.weight'"),
        ({"intermediate_size": 96}, "its config.json asks for 64 x 96"),
        ({"hidden_act": "nothing"}, "does not know the base's architecture 'llama'"),
    ],
)
def test_weights_and_architecture_must_belong_together(own, config, says):
    edit(own / "config.json", **config)
    with pytest.raises(BaseModelError, match=says) as error:
        architecture.require_known(own, model_folder.shapes(own))
    assert "\n" not in str(error.value)


def test_a_module_that_is_no_linear_one_is_found_before_anything_is_trained(tmp_path):
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=32, n_positions=8)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(BaseModelError, match="c_attn is no plain linear module"):
        architecture.require_known(tmp_path, model_folder.shapes(tmp_path))


def test_what_llama_cpp_cannot_take_is_found_before_anything_is_built(own, tmp_path):
    edit(own / "config.json", architectures=["NobodyForCausalLM"])
    with pytest.raises(BaseModelError, match=r"NobodyForCausalLM\) cannot be exported") as error:
        base_check.look(own, tmp_path / "scratch", TALK, "")
    assert "\n" not in str(error.value)
    edit(own / "config.json", model_type="gemma2")
    with pytest.raises(BaseModelError, match="no tokenizer.model"):
        base_check.look(own, tmp_path / "scratch", TALK, "")
    assert not list((tmp_path / "scratch").iterdir())


def test_luna_new_refuses_a_base_that_cannot_serve_and_changes_nothing(empty: Repo, own, tmp_path):
    repo = empty.copy(tmp_path / "mine")
    (own / "chat_template.jinja").write_text("{% for tool in functions %}{% endfor %}")
    repo.edit_params(("source: ./no-base", f"source: {own}"))
    write_jsonl(repo.path / "data/conversations/more.jsonl", [TALK[0].as_row()])
    before = repo.snapshot()
    refused = repo.luna("new", code=2).stderr
    assert "chat template does not render" in refused and refused.count("\n") == 1
    assert repo.snapshot() == before


def test_the_name_in_the_header_lets_phi_3_be_read_as_its_tokenizer_says(own):
    assert shipping.header_name(own, "Luna-G001") == "Luna-G001"
    edit(own / "config.json", model_type="phi3")
    whole = files.read_json(own / "tokenizer.json")
    mark = whole["added_tokens"][0] | {"content": "</s>", "rstrip": True}
    edit(own / "tokenizer.json", added_tokens=[mark, *whole["added_tokens"][1:]])
    assert shipping.header_name(own, "Luna-G001") == "Luna-G001 phi-3"
