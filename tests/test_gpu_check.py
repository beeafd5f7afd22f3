"""make gpu-check as far as it goes without a GPU: the refusal, the plain training, the comparison; and several processes on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import SOURCE, shipped

from bench import gpu_check
from luna import files
from luna.training.environment import has_nvidia_gpu


@pytest.mark.skipif(has_nvidia_gpu(), reason="there is a GPU: 'make gpu-check' is the test")
def test_without_a_gpu_it_is_one_sentence_and_nothing_is_done(tmp_path):
    for command in (
        (sys.executable, "-m", "bench.gpu_check", str(tmp_path)),
        ("make", "--no-print-directory", "gpu-check"),
    ):
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True)
        said = [
            row for row in done.stderr.splitlines() if row.startswith("gpu-check: no NVIDIA GPU")
        ]
        assert done.returncode == 2 and len(said) == 1 and done.stdout == ""
    assert not list(tmp_path.iterdir()) and not gpu_check.OUT.exists()


def test_a_generation_is_compared_with_the_cpus_and_with_plain_training(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    done = subprocess.run(
        [sys.executable, "-m", "bench.plain", str(repo.path)],
        cwd=repo.path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    plain = json.loads(done.stdout.splitlines()[-1])
    reference = gpu_check.read(repo.path, gpu_check.CPU)
    trained = reference.training
    assert plain["steps"] == trained["training_steps"] == 4 and plain[
        "loss_final"
    ] == pytest.approx(trained["loss_final"], abs=0.5)
    same = gpu_check.compare(reference, replace(reference, way="CUDA, bf16 LoRA", plain=plain))
    assert (
        same.holds
        and same.same_answers == 1.0
        and same.speed_ratio
        == pytest.approx(trained["tokens_per_second"] / plain["tokens_per_second"], abs=0.01)
    )
    wrong = replace(
        reference,
        answers=dict.fromkeys(reference.answers, "no"),
        scores=reference.scores | {"recall": reference.scores["recall"] | {"value": 1.0}},
    )
    other = gpu_check.compare(reference, wrong)
    assert not other.holds and other.same_answers == 0.0 and other.speed_ratio is None
    text = "\n".join(gpu_check.section({"device": "a GPU", "ways": [vars(same), vars(other)]}))
    assert "| CUDA, bf16 LoRA |" in text and "100.0%" in text and "not recall" in text
    for way in gpu_check.WAYS.values():
        shipped("train", **way)  # what it writes into params.yaml is allowed there


def test_two_processes_train_one_adapter_and_the_first_alone_writes(line, tmp_path):
    """What several GPUs do, on the CPU: data parallel by torchrun."""
    repo = line.copy(tmp_path / "mine")
    repo.edit_params(("processes: 1 ", "processes: 2 "), ("  batch_size: 4\n", "  batch_size: 2\n"))
    for path in ("adapter", "loss"):
        shutil.rmtree(repo.path / "models" / path)
    done = repo.run("python", "-m", "stages.train")
    assert "train: 4 steps" in done.stdout and done.stdout.count("step 1/4") == 1
    args = files.read_json(repo.path / "models/train_args.json")
    assert (
        args["settings"]["processes"] == 2
        and args["training_steps"] == 4
        and args["stopped"] is None
    )
    alone = gpu_check.read(line.path, gpu_check.CPU).training
    assert args["loss_start"] == pytest.approx(alone["loss_start"], abs=0.1)
    assert (repo.path / "models/adapter/adapter_model.safetensors").exists() and (
        repo.path / "models/loss/plots/metrics/train/loss.tsv"
    ).read_text().count("\n") == 5
    assert not list((repo.path / ".luna").glob("parallel*"))
    # A training that ends by itself: one looks, all end.
    repo.edit_params(("max_steps: 4", "max_steps: -1"), ("epochs: auto", "epochs: 0.5"))
    repo.run("python", "-m", "stages.train")
    args = files.read_json(repo.path / "models/train_args.json")
    assert args["ended"] == "ceiling" and args["known"] == 0.0 and args["training_steps"] > 1


def test_two_processes_that_meet_batches_of_general_replies_alone_stay_together(
    tiny_base, tmp_path, monkeypatch
):
    """The divergence of such a batch goes through what wraps the model, or the other process would wait for ever."""
    from luna import artifacts
    from luna.conversations import schema
    from luna.training import parallel

    monkeypatch.chdir(tmp_path)
    artifacts.SCRATCH.mkdir()
    artifacts.TRAINING_SET.parent.mkdir()
    items = [
        schema.parse({"instruction": f"Number {at}?", "output": f"It is {at}."}) for at in range(8)
    ]
    files.write_jsonl(artifacts.TRAINING_SET, (item.as_row() for item in items))
    settings = shipped("train", processes=2, batch_size=1, max_steps=8, device="cpu")
    done = parallel.train(
        tiny_base,
        shipped("chat"),
        settings,
        tmp_path / "checkpoints",
        tmp_path / "loss",
        tmp_path / "adapter",
        new=frozenset(item.identity for item in items[:3]),
        known=frozenset(item.identity for item in items[3:]),
    )
    assert done.steps == 8 and (tmp_path / "adapter/adapter_model.safetensors").exists()
