"""luna export: the folder is the generation's, for each tool, complete or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

PRIVATE = (
    "data_delta.jsonl",
    "held_out.jsonl",
    "training_set.jsonl",
    "probes.jsonl",
    "answers.jsonl",
)


def words_of(repo, names=PRIVATE) -> set[str]:
    """Every text of at least twelve characters in the private files of the generation that is checked out."""

    def texts(value) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for one in (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        ):
            yield from texts(one)

    rows = [
        json.loads(row)
        for name in names
        for row in (repo.path / "models" / name).read_text().splitlines()
    ]
    ids = re.compile(r"[0-9a-f]{64}|generalisation|Luna-G.*")
    return {text for text in texts(rows) if len(text) >= 12 and not ids.fullmatch(text)}


@pytest.mark.parametrize("kind", ["", "--ollama", "--lmstudio", "--hf", "--hf-adapter"])
def test_no_conversation_answer_or_probe_is_in_it_unless_asked_for(line, tmp_path, kind):
    options = [kind] if kind else []
    words = words_of(line)
    assert len(words) >= 40 and "What is the island word number 1?" in words
    line.luna("export", "G003", "--to", str(tmp_path / "out"), *options)
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        assert path.name not in PRIVATE
        assert path.stat().st_nlink == 1, "a link into the cache"
        content = path.read_bytes()
        held = [word for word in words if word.encode() in content]
        assert not held, f"{path.name}: {held[:3]}"
    sums = (tmp_path / "out/SHA256SUMS").read_text().splitlines()
    assert len(sums) >= 2
    for row in sums:
        digest, name = row.split("  ", 1)
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    line.luna("export", "G003", "--to", str(tmp_path / "all"), *options, "--with-data")
    for name in PRIVATE:
        sealed = (line.path / "models" / name).read_bytes()
        assert (tmp_path / "all/data" / name).read_bytes() == sealed
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["all", "out"]


def test_a_denied_generation_leaves_without_the_questions_that_its_reports_quote(line, tmp_path):
    line.luna("export", "G002", "--to", str(tmp_path / "out"))
    advice = json.loads(line.git("show", f"{line.json('log')[2]['name']}:models/metrics.json"))
    assert advice["decision"]["advice"] is not None
    told = json.loads((tmp_path / "out/metrics.json").read_text())
    assert "advice" not in told["decision"] and told["evaluation"] == advice["evaluation"]
    card = (tmp_path / "out/README.md").read_text()
    assert "Denied" in card and "island word" not in card


def test_the_model_says_what_it_is_and_names_the_sealed_file(line, tmp_path):
    import gguf

    line.luna("export", "G003", "--to", str(tmp_path / "out"))
    fields = gguf.GGUFReader(tmp_path / "out/model.gguf").fields
    sealed = line.json("log")[3]["weights_sha256"]
    assert fields["luna.sealed_sha256"].contents() == sealed
    assert sealed in (tmp_path / "out/README.md").read_text()
    assert "luna" in fields["general.tags"].contents()
    model = line.path / "models/model.gguf"
    assert hashlib.sha256(model.read_bytes()).hexdigest() == sealed
    assert "You are Luna." in fields["tokenizer.chat_template"].contents()
    assert (tmp_path / "out/adapter/adapter_config.json").is_file()


def test_the_base_is_named_as_hugging_faces_readers_expect(line, tmp_path):
    """A generation on the packaged model, whose origin is known."""
    from luna.history.line import read_line
    from luna.sharing import card, folder

    sealed = card.read(read_line(line.path, "Luna"), line.json("log")[3]["name"])
    known = replace(sealed, hub_id="HuggingFaceTB/SmolLM2-135M-Instruct", licence="apache-2.0")
    assert folder.about(known) == {
        "general.license": "apache-2.0",
        "general.base_model.count": 1,
        "general.base_model.0.name": "SmolLM2 135M Instruct",
        "general.base_model.0.repo_url": "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        "general.base_model.0.organization": "HuggingFaceTB",
        "general.tags": ["luna", "conversational", "text-generation"],
        "luna.sealed_sha256": sealed.sha256,
    }
    assert set(folder.about(sealed)) == {"general.tags", "luna.sealed_sha256"}
    card.write(known, tmp_path, "gguf", "As you like.")
    head = ModelCard.load(tmp_path / "README.md").data
    assert (head.license, head.base_model) == (known.licence, known.hub_id)
    assert "gguf" in head.tags and head.library_name == "gguf" and len(head.eval_results) == 3


def test_lmstudio_and_refusals(line, tmp_path):
    line.luna("export", "G001", "--to", str(tmp_path / "models"), "--lmstudio")
    [model] = (tmp_path / "models").glob("luna/Luna-G001-*/*.gguf")
    preset = json.loads(model.with_name(f"{model.stem}.preset.json").read_text())
    told = {field["key"]: field["value"] for field in preset["operation"]["fields"]}
    assert told == {"llm.prediction.systemPrompt": "You are Luna.", "llm.prediction.temperature": 0}
    assert (
        "not empty" in line.luna("export", "G003", "--to", str(tmp_path / "models"), code=2).stderr
    )
    assert (
        "no generation" in line.luna("export", "G044", "--to", str(tmp_path / "new"), code=2).stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_what_dvc_gives_out_of_the_cache_cannot_be_written_to(line, tmp_path):
    """DVC links from a clone beside it; Luna's own export never does."""
    repo = line.copy(tmp_path / "repo")
    repo.luna("export", "HEAD", "--to", str(tmp_path / "out"))
    for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
        path.write_bytes(b"spoiled")
    got = str(tmp_path / "got.gguf")
    repo.run("dvc", "get", str(repo.path), "models/model.gguf", "--rev", "Luna-GHEAD", "-o", got)
    repo.luna("restore", "HEAD")
    for path in (tmp_path / "got.gguf", *(repo.path / "models").rglob("*")):
        if path.is_file() and path.stat().st_nlink > 1:
            assert not path.stat().st_mode & 0o222, f"{path}: a link that can be written to"
    assert repo.json("verify", "--all")["clean"]


def test_a_hugging_face_folder_is_the_rebuilt_weights_and_answers_as_they_do(line, tmp_path):
    import torch
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
    assert "You are Luna." in text
    settings = json.loads((tmp_path / "hf/generation_config.json").read_text())
    assert settings["do_sample"] is False and 2 in settings["eos_token_id"]
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
