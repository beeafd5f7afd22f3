"""luna export: the folder is the generation's, for each tool, whole or not at all."""

from __future__ import annotations

import hashlib


def test_the_folder_holds_the_sealed_bytes_and_a_modelfile_with_the_template(line, tmp_path):
    line.luna("export", "G003", "--to", str(tmp_path / "out"), "--ollama")
    told = (tmp_path / "out/weights.sha256").read_text().split()[0]
    assert hashlib.sha256((tmp_path / "out/model.gguf").read_bytes()).hexdigest() == told
    assert (tmp_path / "out/adapter/adapter_config.json").is_file() and (tmp_path / "out/EVAL.md").is_file()
    text = (tmp_path / "out/Modelfile").read_text()
    assert "FROM ./model.gguf" in text and 'PARAMETER stop "<|im_end|>"' in text and 'SYSTEM """You are Luna."""' in text
    assert '"system" }}<|im_start|>system\n{{ $m.Content }}<|im_end|>\n<|im_start|>user\n{{ else' in text
    assert "{{ $m.Content }}<|im_end|>\n<|im_start|>assistant\n{{ else }}" in text
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_lmstudio_and_refusals(line, tmp_path):
    line.luna("export", "G001", "--to", str(tmp_path / "models"), "--lmstudio")
    assert len(list((tmp_path / "models").glob("luna/Luna-G001-*/*.gguf"))) == 1
    assert "not empty" in line.luna("export", "G003", "--to", str(tmp_path / "models"), code=2).stderr
    assert "no generation" in line.luna("export", "G044", "--to", str(tmp_path / "new"), code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_template_that_cannot_be_followed_is_refused():
    import pytest

    from luna.answering.chat_template import ChatTemplate
    from luna.errors import ExportError
    from luna.sharing.ollama import template

    chatml = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    assert template(ChatTemplate(chatml, "", "<|im_end|>")).startswith('{{- range $i, $m := .Messages }}{{ if eq $m.Role "system" }}<|im_start|>system\n')
    with pytest.raises(ExportError, match="changes what it is given"):
        template(ChatTemplate("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "", ""))
