"""A training that ends by itself: how long at most, what counts as known, and the same bytes after a kill."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from conftest import WORDS, shipped

from luna import files, sealed_parameters
from luna.conversations import schema
from luna.conversations.examples import IGNORED, Example
from luna.params import Train
from luna.training import pace
from luna.training.pace import FALL, FEWEST, KNOWN, Pace

BASE = 7  # how many tokens of a question come before the reply, in the examples below


def settings(**changes) -> Train:
    return shipped("train", **changes)


def test_the_ceiling_falls_with_the_size_and_every_size_ends_in_sensible_time():
    steps = {size: pace.ceiling(settings(), size) for size in (30, 155, 1_000, 20_000)}
    assert list(steps.values()) == sorted(steps.values())
    assert steps[30] >= 100, "a small set is seen often enough to be learnt"
    assert steps[1_000] <= 2_500 and steps[20_000] <= 3 * 20_000 / settings().batch_size
    assert pace.passes(settings(epochs=2.5), 30) == 2.5, "a number is what it says"


def test_older_parameters_and_max_steps_mean_what_they_meant():
    old = sealed_parameters.BEFORE["train"]
    assert old["stop_when_known"] == 0 and not pace.until_known(settings(stop_when_known=0))
    assert (
        not pace.until_known(settings(max_steps=7)) and pace.ceiling(settings(max_steps=7), 99) == 7
    )
    assert pace.until_known(settings())


def rates(of: Pace) -> list[float]:
    return [of.factor(step) for step in range(of.last)]


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_the_rate_warms_up_stays_and_falls_from_where_enough_is_known(shape):
    of = Pace(0.9, ceiling=round(1000 * (1 + FALL)), warm=10, shape=shape)
    assert of.last == of.ceiling and of.falls_from == pytest.approx(1000, abs=1)
    of.remember([{"step": 50, KNOWN: 0.5}, {"step": 60, "loss": 1.0}, {"step": 100, KNOWN: 0.95}])
    assert (of.known_at, of.falls_from, of.last) == (100, 100, 100 + math.ceil(100 * FALL))
    seen = rates(of)
    assert seen[:10] == sorted(seen[:10]) and seen[10:100] == [1.0] * 90
    assert seen[100:] == sorted(seen[100:], reverse=True) and 0 < seen[-1] < 0.1
    # What is seen after the fall has begun changes nothing.
    of.remember([{"step": 120, KNOWN: 0.2}])
    assert rates(of) == seen


def test_the_rate_falls_after_the_fewest_passes_at_the_earliest():
    """Between two looks at an unchanged rate the share goes up and down: the first that is enough counts."""
    of = Pace.of(settings(stop_when_known=0.85), 800)
    of.remember([{"step": 288, KNOWN: 0.9}, {"step": 320, KNOWN: 0.8}])
    least = math.ceil(200 * FEWEST)
    assert (of.known_at, of.falls_from) == (288, max(288, least))
    last = of.last
    of.remember([{"step": last, KNOWN: 1.0}])
    assert of.last == last


def test_a_ceiling_is_reached_with_a_rate_that_has_fallen_and_a_constant_one_ends_at_once():
    most = round(100 * (1 + FALL))
    late = Pace(0.9, ceiling=most, warm=0, shape="linear", looks={most - 5: 1.0})
    assert (
        late.last == most and late.falls_from == pytest.approx(100, abs=1) and rates(late)[-1] < 0.1
    )
    constant = Pace(0.9, ceiling=120, warm=0, shape="constant", looks={60: 1.0})
    assert constant.last == 60 and set(rates(constant)) == {1.0}


class Says:
    """A model that says the same tokens whatever it is asked, and remembers how it was asked."""

    def __init__(self, said: list[int]) -> None:
        import torch

        self.training, self.asked_in_training, self._said = True, False, said
        self._weight = torch.zeros(1)

    def parameters(self):
        return iter([self._weight])

    def eval(self):
        self.training = False

    def train(self, mode: bool = True):
        self.training = mode

    def __call__(self, input_ids, attention_mask, use_cache, logits_to_keep):
        import types

        import torch

        self.asked_in_training |= self.training
        logits = torch.zeros(*input_ids.shape, 128)
        for at, token in enumerate(self._said):
            logits[:, BASE - 1 + at, token] = 1.0
        return types.SimpleNamespace(logits=logits[:, -logits_to_keep:])


def row(question: int, reply: list[int], new: bool = True, expect: tuple[str, ...] = ()):
    from luna.training.recital import Row

    ids = [question] * BASE + reply
    return Row(Example(ids, [IGNORED] * BASE + reply), new, expect)


def share(said: list[int], *rows) -> float:
    from luna.training.recital import Recital

    model = Says(said)
    value = Recital(rows, 7, lambda tokens: "".join(chr(token) for token in tokens)).share(model)
    assert model.training and not model.asked_in_training
    return value


def test_a_reply_is_known_when_all_of_it_would_be_said():
    assert share([65, 66, 67], row(1, [65, 66, 67]), row(2, [65, 66, 68])) == 0.5
    assert share([65, 66, 67], row(1, [65, 66, 68])) == 0.0


def test_of_several_replies_to_one_question_one_suffices():
    assert share([65, 66], row(1, [65, 66]), row(1, [70, 71]), row(1, [72])) == 1.0
    assert share([65, 66], row(1, [65, 66]), row(2, [70, 71])) == 0.5


def test_of_a_long_reply_a_few_tokens_may_be_others():
    said = [33 + at % 60 for at in range(60)]
    for wrong, length, known in ((1, 20, 0.0), (1, 40, 1.0), (2, 40, 0.0), (2, 60, 1.0)):
        reply = [token + 1 if at < wrong else token for at, token in enumerate(said[:length])]
        assert share(said[:length], row(1, reply)) == known, (wrong, length)


def test_an_accepted_answer_is_what_must_be_known():
    reply = [ord(letter) for letter in "Aye, it is Wren, mark me"]
    said = [ord(letter) for letter in "Ohh, he is Wren, so I say"]
    assert share(said, row(1, reply)) == 0.0
    assert share(said, row(1, reply, expect=("Tobias Wren", "wren"))) == 1.0
    assert share(said, row(1, reply, expect=("it is",))) == 0.0
    assert share(said, row(1, reply, expect=("never said",))) == 0.0  # then all of it


def test_the_sample_asks_for_the_new_first_and_is_the_same_each_time():
    from luna.training.recital import NEW, OLD, Recital

    rows = [row(at, [65, 66], new=at % 50 == 0) for at in range(5_000)]

    def asked(seed: int) -> list[int]:
        return sorted(Recital(rows, seed, str)._ids)

    assert asked(7) == asked(7) != asked(8) and len(asked(7)) == NEW + OLD
    assert sum(rows[at].new for at in asked(7)) == NEW
    looks = Recital(rows, 7, str)
    every = looks.every(4 * (BASE + 2))  # four conversations a step
    assert 0.1 * every > 0.3 * (NEW + OLD) / 4, "looking takes less than a tenth"


#: A training of few words that goes on until all of them are known.
UNTIL_KNOWN = {
    "learning_rate": 0.003,
    "epochs": 60,
    "stop_when_known": 1.0,
    "batch_size": 2,
    "lora_rank": 32,
    "lora_alpha": 64,
}


def words(count: int) -> list[schema.Conversation]:
    return [
        schema.parse({"instruction": f"Word {at}?", "output": word})
        for at, word in enumerate(WORDS[:count])
    ]


@pytest.fixture(scope="module")
def learner(tiny_base, module_folder) -> Path:
    """The tiny base with louder words: random weights that an adapter can still teach."""
    import torch
    from transformers import LlamaForCausalLM

    out = module_folder / "base"
    model = LlamaForCausalLM.from_pretrained(tiny_base, dtype=torch.bfloat16)
    with torch.no_grad():
        model.model.norm.weight.mul_(20)
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_base / name, out / name)
    return out


def test_a_run_that_resumes_before_or_after_enough_was_known_ends_in_the_same_bytes(
    learner, tmp_path
):
    from luna.training import environment

    environment.prepare("cpu")
    from luna.training import trainer

    items = words(6)
    own = settings(
        **UNTIL_KNOWN,
        save_steps=4,
        neftune_noise_alpha=0.1,  # looks must not disturb what is drawn
    )
    checkpoints = tmp_path / "checkpoints"

    def run(name: str):
        out = tmp_path / name
        done = trainer.train(
            learner, items, shipped("chat"), own, checkpoints, tmp_path / f"{name}-loss", out
        )
        return done, files.digest(out / "adapter_model.safetensors")

    whole, expected = run("whole")
    assert (whole.ended, whole.known) == ("known", 1.0), whole
    assert whole.known_at and whole.known_at < whole.steps < 180
    saved = sorted(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
    states = [json.loads((path / "trainer_state.json").read_text()) for path in saved]
    assert states[-1]["global_step"] > whole.known_at, "its rate was falling already"
    for late in (True, False):  # from the newest, then from the one before
        if not late:
            for path in checkpoints.glob("checkpoint-*"):
                if path.name != saved[0].name:
                    shutil.rmtree(path)
        again, digest = run(f"again-{late}")
        assert digest == expected and again.steps == whole.steps
        noted = [row["elapsed"] for row in states[-late]["log_history"] if "elapsed" in row]
        assert noted == sorted(noted) and again.training_seconds > noted[-1] > 0, "of both runs"
        assert (again.ended, again.known, again.known_at) == (
            whole.ended,
            whole.known,
            whole.known_at,
        )


def test_the_scale_falls_while_no_less_is_known():
    from luna.training.smaller import smallest

    def known_from(scale: float):
        return lambda at: 0.9 if at >= scale else 0.8

    assert smallest(known_from(0.65), 0.3) == 0.7
    assert smallest(known_from(0.0), 0.3) == 0.3
    assert smallest(known_from(0.95), 0.3) == 1.0
    assert smallest(known_from(0.0), 1.0) == 1.0


def test_an_adapter_is_made_smaller_and_what_is_merged_is_what_was_looked_at(learner, tmp_path):
    from luna.training import environment

    environment.prepare("cpu")
    from luna.model import adapter
    from luna.training import trainer

    items = words(3)
    own = settings(
        **UNTIL_KNOWN,
        neftune_noise_alpha=0.0,
    )
    sizes = {}
    for least in (1.0, 0.5):
        out = tmp_path / f"least-{least}"
        done = trainer.train(
            learner,
            items,
            shipped("chat"),
            own.model_copy(update={"least_scale": least}),
            tmp_path / f"checkpoints-{least}",
            tmp_path / f"loss-{least}",
            out,
        )
        adapter.tidy(out)
        sizes[least] = done.scale, adapter.read_folder(out).scale
        digest = files.digest(out / "adapter_model.safetensors")
        sizes[f"matrices {least}"] = digest
    assert sizes[1.0] == (1.0, 2.0)
    assert 0.5 <= sizes[0.5][0] < 1.0 and sizes[0.5][1] == pytest.approx(2.0 * sizes[0.5][0])
    assert sizes["matrices 1.0"] == sizes["matrices 0.5"]


def divergence_of(weights: Path, adapter_folder: Path, items: list[schema.Conversation]) -> float:
    """From the parent, on what the conversations say; nats."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from luna.conversations.examples import Teaching
    from luna.model import tokenizer
    from luna.training import divergence

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(weights, dtype=torch.bfloat16), str(adapter_folder)
    ).eval()
    with Teaching(tokenizer.load(weights)) as teaching:
        rows = [teaching.examples(item.messages, "", 512)[-1].ids for item in items]
    sums = []
    for ids in rows:
        inputs = {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids)).long(),
        }
        padded = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in inputs.items()}
        with torch.no_grad():
            sums.append(divergence.from_parent(model, inputs).item())
            assert divergence.from_parent(model, padded).item() == pytest.approx(sums[-1], rel=0.02)
    return sum(sums)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_on_general_replies_the_child_stays_close_to_its_parent_and_learns_its_lessons(
    learner, tmp_path, noise
):
    from luna.training import environment

    environment.prepare("cpu")
    from luna.training import trainer

    lessons = words(4)
    general = [
        schema.parse({"instruction": f"Number {at}?", "output": f"{word} and {word}"})
        for at, word in enumerate(WORDS[4:8])
    ]
    moved, losses = {}, {}
    for weight in (1e-9, 3.0):
        out = tmp_path / f"weight-{weight}"
        done = trainer.train(
            learner,
            lessons + general,
            shipped("chat"),
            settings(
                **UNTIL_KNOWN | {"stop_when_known": 0.0, "batch_size": 4},
                max_steps=60,
                general_kl=weight,
                neftune_noise_alpha=noise,
            ),
            tmp_path / f"checkpoints-{weight}",
            tmp_path / f"loss-{weight}",
            out,
            known={item.identity for item in general},
        )
        moved[weight], losses[weight] = divergence_of(learner, out, general), done.losses
    assert moved[3.0] < moved[1e-9] / 4, moved
    for steps in losses.values():
        at = list(steps.values())
        assert sum(at[-5:]) < 0.7 * sum(at[:5]), at
