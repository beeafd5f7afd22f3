"""The rails of training: what is estimated before, watched meanwhile, and said when memory runs out."""

from __future__ import annotations

import json
import random

import pytest
import torch
from conftest import facts, shipped, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from luna import stage
from luna.errors import InputError
from luna.history.line import sealed_outs
from luna.params import Train
from luna.repo.running import Training
from luna.training import memory
from luna.training.watch import DIVERGED, NOT_FINITE, PLATEAU, SETTLED, Watch

SMALL = memory.Shape(
    parameters=134_515_008,
    layers=30,
    hidden=576,
    intermediate=1536,
    heads=9,
    key_value=192,
    vocabulary=49152,
)
LARGE = memory.Shape(
    parameters=8_030_261_248,
    layers=32,
    hidden=4096,
    intermediate=14336,
    heads=32,
    key_value=1024,
    vocabulary=128256,
)


def watched(losses: list[float], factor: float = 2.0, plateau: int = 0):
    watch = Watch(factor, plateau)
    return next(
        (stop for step, loss in enumerate(losses, 1) if (stop := watch.see(step, loss))), None
    )


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_at_once(loss):
    stop = watched([3.0, loss])
    assert (stop.kind, stop.step, stop.failed) == (NOT_FINITE, 2, True)


def test_a_loss_that_climbs_is_divergence_and_one_that_falls_or_jumps_is_not():
    chance = random.Random(7)
    falling = [3 * 0.97**step + chance.uniform(0, 0.6) for step in range(300)]
    assert watched(falling) is None
    assert watched([*falling[:100], 9.0, *falling[100:]]) is None  # one odd batch
    assert watched([0.05, *falling]) is None  # the first batch was all replay
    stop = watched([*falling[:60], *(3.0 + step for step in range(20))])
    assert stop.kind == DIVERGED and stop.failed and 60 < stop.step < 70
    assert (
        watched([3.0] * 30 + [10.8] * 60).kind == DIVERGED
    )  # gone to chance: ln of the vocabulary
    assert watched([3.0] * 30 + [10.8] * 60, factor=4.0) is None
    assert watched([9.0] * (SETTLED - 1)) is None  # too short to be judged
    assert (
        watched([1.0] * 30 + [0.01] * 100 + [0.2] * 100) is None
    )  # far above its lowest, far below its start


def test_a_plateau_ends_a_run_that_asks_for_it_and_is_no_failure():
    losses = [max(1.0, 3 - 0.05 * step) for step in range(400)]
    assert watched(losses) is None
    stop = watched(losses, plateau=50)
    assert stop.kind == PLATEAU and not stop.failed and 90 < stop.step < 200


settings = st.builds(
    Train,
    epochs=st.just("auto"),
    batch_size=st.integers(1, 64),
    gradient_accumulation=st.integers(1, 8),
    max_seq_length=st.integers(64, 8192),
    lora_rank=st.integers(1, 128),
    load_in_4bit=st.booleans(),
)


@given(settings, st.integers(64, 9000), st.booleans())
def test_less_work_at_a_time_never_needs_more_memory(given_settings, longest, cuda):
    def peak(**change) -> int:
        found = memory.need(SMALL, given_settings.model_copy(update=change), longest, cuda)
        return found.gpu if cuda else found.machine

    assert (
        peak(batch_size=1) <= peak()
        and peak(max_seq_length=64) <= peak()
        and peak(lora_rank=1) <= peak()
        and peak(load_in_4bit=True) <= peak()
    )


def test_the_estimate_is_near_what_is_known():
    rank16 = shipped("train", lora_rank=16)
    assert (
        SMALL.adapter(rank16) == 4_884_480
    )  # as unsloth counts the trainable weights of the 135M base
    config = {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
    }
    assert (
        memory.Shape.of(config, 134_515_008) == SMALL
        and memory.Shape.of({"model_type": "strange"}, 1) is None
    )
    four = shipped("train", batch_size=2, max_seq_length=2048, load_in_4bit=True)
    sixteen = four.model_copy(update={"load_in_4bit": False})
    assert (
        5e9 < memory.need(LARGE, four.model_copy(update={"batch_size": 1}), 1024, True).gpu < 12e9
    )  # 8B QLoRA runs on a card of 12 GB
    assert 17e9 < memory.need(LARGE, sixteen, 2048, True).gpu < 32e9


def test_activations_are_computed_twice_only_where_the_card_is_too_small():
    large = shipped("train", batch_size=4, max_seq_length=1024)
    assert not memory.checkpoints(SMALL, large, 1024, 24 << 30)
    assert memory.checkpoints(LARGE, large, 1024, 24 << 30)
    assert not memory.checkpoints(LARGE, large, 1024, 140 << 30)
    assert not memory.checkpoints(LARGE, large, 64, 40 << 30), "the longest example counts"
    assert memory.checkpoints(None, large, 64, 80 << 30)  # an architecture of unknown shape
    assert memory.checkpoints(SMALL, large, 64, None)  # the driver says nothing
    most = memory.need(LARGE, large, 1024, True, checkpointed=False).gpu
    assert most > memory.need(LARGE, large, 1024, True).gpu


def test_out_of_memory_is_one_sentence_with_settings_that_take_less():
    given_settings = shipped("train", batch_size=8, gradient_accumulation=2, max_seq_length=2048)
    with pytest.raises(InputError) as error, memory.explained(given_settings):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    for words in (
        "The GPU's memory",
        "batch_size: 4 with train.gradient_accumulation: 4",
        "load_in_4bit: true",
        "max_seq_length: 1024",
        "run the same command again",
    ):
        assert words in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError) as error, memory.explained(given_settings):
        torch.empty(1 << 60, dtype=torch.uint8)  # torch's own words for the CPU
    assert str(error.value).startswith("The memory") and "4bit" not in str(error.value)
    with pytest.raises(InputError), memory.explained(given_settings):
        bytearray(1 << 60)
    with pytest.raises(RuntimeError, match="shapes"), memory.explained(given_settings):
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_advice_names_only_what_fits():
    given_settings = shipped("train", batch_size=8, max_seq_length=2048)

    def fits(other: Train, gigabytes: float) -> bool:
        return memory.need(LARGE, other, 4096, True).gpu < gigabytes * 1e9

    assert memory.advice(given_settings, True, lambda other: fits(other, 24)).startswith(
        "train.batch_size: "
    )
    assert memory.advice(given_settings, True, lambda other: fits(other, 12)).startswith(
        "all of train.batch_size: 1, train.gradient_accumulation: 8, train.load_in_4bit: true, "
    )
    assert "smaller base" in memory.advice(given_settings, True, lambda other: False)
    assert "smaller base" in memory.advice(shipped("train", batch_size=1, max_seq_length=64), False)


def test_too_little_memory_or_disk_starts_nothing_and_says_the_numbers(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    done = repo.luna("doctor", "--json", code=None)
    assert (
        "GB free"
        in {check["name"]: check["detail"] for check in json.loads(done.stdout)}["next generation"]
    )
    for old, new, words in (
        ("  batch_size: 4\n", "  batch_size: 4000000\n", ("GB of memory", "train.batch_size:")),
        ("lora_rank: 16", "lora_rank: 400000000", ("GB of disk",)),
    ):
        repo.edit_params((old, new))
        before = repo.snapshot()
        for command in ("new", "evolve"):
            said = repo.luna(command, code=2).stderr
            assert all(word in said for word in (*words, "nothing was started")), said
        assert repo.snapshot() == before
        repo.edit_params((new, old))
    md5 = sealed_outs(repo.path, repo.json("status")["head"])["models/model.gguf"].md5
    lost = repo.cold / "files/md5" / md5[:2] / md5[2:]
    lost.rename(tmp_path / "away")
    # Before hours of training, not after: cold storage must hold the parent.
    said = repo.luna("new", code=2).stderr
    assert "'cold' lacks models/model.gguf of Luna-G003" in said and "luna archive --all" in said, (
        said
    )
    (tmp_path / "away").rename(lost)
    said = repo.luna("new")
    assert (
        "preflight: disk " in said.stderr
        and "memory " in said.stderr
        and "are in cold storage, and its row is in the ledger" in said.stderr
    )


def test_a_training_that_breaks_is_denied_and_sealed_like_any_other(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("meadow", range(6)))
    repo.edit_params(
        ("lora_alpha: 32", f"lora_alpha: {10**20}"),
        ("learning_rate: 0.002", "learning_rate: 1.0"),
        ("max_steps: 4", "max_steps: 8"),
    )
    done = repo.luna("evolve", code=1)
    assert "denied by the rule" in done.stdout
    args = json.loads((repo.path / "models/train_args.json").read_text())
    assert (
        args["stopped"]["kind"] == NOT_FINITE
        and args["stopped"]["failed"]
        and args["training_steps"] < 8
    )
    metrics = json.loads((repo.path / "models/metrics.json").read_text())
    assert (
        metrics["decision"]["notes"].startswith("Training failed: the loss became nan at step")
        and metrics["training"]["stopped"] == args["stopped"]
    )
    for name in ("EVAL.md", "MODEL_CARD.md", "CHECKLIST.md"):
        assert "the loss became nan" in (repo.path / "models" / name).read_text(), name
    newest = repo.json("log")[-1]
    assert not newest["promoted"] and newest["gen"] == 4
    assert json.loads((repo.path / "models/adapter/adapter_config.json").read_text())[
        "note"
    ].startswith("training failed")
    assert not (repo.path / "models/adapter/adapter_model.safetensors").exists()
    assert not (repo.path / ".luna/checkpoints").exists()
    repo.luna("verify", "4", "--remote")
    assert repo.json("rebuild", "4", "--check")["same"]
    repo.luna("diff", "3", "4")
    assert repo.json("status")["head"].startswith("Luna-G003")


def test_the_curve_has_memory_and_disk_beside_the_loss(line):
    folder = line.path / "models/loss/plots/metrics"
    assert (folder / "train/loss.tsv").read_text().count("\n") == 5
    for name in ("memory", "free_disk"):
        rows = [
            row.split("\t") for row in (folder / f"resources/{name}.tsv").read_text().splitlines()
        ]
        assert rows[0] == ["step", name] and float(rows[-1][1]) > 0 and int(rows[-1][0]) == 4
    far = Training(**json.loads((line.path / stage.TRAINING).read_text()))  # for 'luna status'
    assert (far.step, far.last, len(far.curve), far.seconds_left) == (4, 4, 4, 0)
    assert far.memory_gb > 0.1 and far.curve[-1][1] == far.loss
    text = (line.path / "models/CHECKLIST.md").read_text()
    assert (
        "- [x] Monitor loss (catch divergence early): each step was watched" in text
        and "- [x] Clean up temp files" in text
        and "[ ]" not in text
    )
