"""luna export: the folder is the generation's, for each tool, complete or not at all."""

from __future__ import annotations

import hashlib


def test_the_folder_holds_the_sealed_bytes_and_a_modelfile_with_the_template(line, tmp_path):
    line.luna("export", "G003", "--to", str(tmp_path / "out"), "--ollama")
    told = (tmp_path / "out/weights.sha256").read_text().split()[0]
    assert hashlib.sha256((tmp_path / "out/model.gguf").read_bytes()).hexdigest() == told
    assert (tmp_path / "out/adapter/adapter_config.json").is_file() and (
        tmp_path / "out/EVAL.md"
    ).is_file()
    text = (tmp_path / "out/Modelfile").read_text()
    assert (
        "FROM ./model.gguf" in text
        and 'PARAMETER stop "<|im_end|>"' in text
        and 'SYSTEM """You are Luna."""' in text
    )
    assert (
        '"system" }}<|im_start|>system\n{{ $m.Content }}<|im_end|>\n<|im_start|>user\n{{ else'
        in text
    )
    assert "{{ $m.Content }}<|im_end|>\n<|im_start|>assistant\n{{ else }}" in text
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_lmstudio_and_refusals(line, tmp_path):
    line.luna("export", "G001", "--to", str(tmp_path / "models"), "--lmstudio")
    assert len(list((tmp_path / "models").glob("luna/Luna-G001-*/*.gguf"))) == 1
    assert (
        "not empty" in line.luna("export", "G003", "--to", str(tmp_path / "models"), code=2).stderr
    )
    assert (
        "no generation" in line.luna("export", "G044", "--to", str(tmp_path / "new"), code=2).stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_template_that_cannot_be_followed_is_refused():
    import pytest

    from luna.conversations.chat_template import ChatTemplate
    from luna.errors import ExportError
    from luna.sharing.ollama import template

    chatml = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    assert template(ChatTemplate(chatml, "", "<|im_end|>")).startswith(
        '{{- range $i, $m := .Messages }}{{ if eq $m.Role "system" }}<|im_start|>system\n'
    )
    with pytest.raises(ExportError, match="changes the texts"):
        template(ChatTemplate("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "", ""))


def test_a_hugging_face_folder_is_the_rebuilt_weights_and_answers_as_they_do(line, tmp_path):
    import torch
    from huggingface_hub import ModelCard
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    line.luna("export", "G003", "--to", str(tmp_path / "hf"), "--hf")
    line.luna("rebuild", "G003", "--out", str(tmp_path / "again"))
    given, made = (
        load_file(tmp_path / "hf/model.safetensors"),
        load_file(tmp_path / "again/weights/model.safetensors"),
    )
    assert given.keys() == made.keys() and all(
        given[name].dtype == torch.bfloat16 and torch.equal(given[name], made[name])
        for name in made
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the harbour word number 3?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    logits = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)(ids).logits
    assert torch.equal(
        logits,
        AutoModelForCausalLM.from_pretrained(tmp_path / "again/weights", dtype=torch.float32)(
            ids
        ).logits,
    )
    card = ModelCard.load(tmp_path / "hf/README.md")
    assert (
        card.data.library_name == "transformers"
        and "gguf" not in card.data.tags
        and "from_pretrained" in card.text
    )

    # Two adapters of the line in one, on the base that lies beside it: the same to the rounding of 16 bits.
    line.luna("export", "G003", "--to", str(tmp_path / "adapter"), "--hf-adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "adapter/base", dtype=torch.float32)
    untaught = base(ids).logits.detach()
    stacked = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert stacked.peft_config["default"].r == 32
    found = stacked(ids).logits
    assert (found - logits).abs().max() < 0.1 * (untaught - logits).abs().max()
    assert (
        found.argmax(-1) == logits.argmax(-1)
    ).float().mean() > 0.9  # random weights: many tokens are nearly as likely
    assert (
        "has no adapter"
        in line.luna(
            "export", "G000", "--to", str(tmp_path / "none"), "--hf-adapter", code=2
        ).stderr
    )
    assert (
        "not several"
        in line.luna(
            "export", "G001", "--to", str(tmp_path / "none"), "--hf", "--ollama", code=2
        ).stderr
    )
    assert not (tmp_path / "none").exists() and not list((line.path / ".luna/rebuild").iterdir())
