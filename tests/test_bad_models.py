"""Models and probes that are wrong on purpose: a clear error or a failing score, never a pass, never a hang."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import controls
import numpy as np
import pytest
from conftest import SOURCE, Repo, facts, shipped, write_jsonl

from evals import suite
from luna import params
from luna.conversations import probes, schema
from luna.conversations.chat_template import ChatTemplate
from luna.errors import ExportError, InputError
from luna.promotion.rule import decide

LOOPS = "".join(f"{{% for {name} in range(1000) %}}" for name in "abcdef") + "{% endfor %}" * 6
USER = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    "source",
    [
        None,
        "x" * 200_000,
        "{% for",
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ raise_exception('no') }}",
        "{{ messages[99].content }}",
        "{% for x in range(999999999) %}x{% endfor %}",
        "{{ 'x' * 99999999999 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'x' * 150000 }}{{ 'x' * 150000 }}",
        "{% for i in range(900) %}{% for j in range(900) %}y{% endfor %}{% endfor %}",
    ],
)
def test_a_missing_or_hostile_template_is_refused(source):
    with pytest.raises(ExportError):
        ChatTemplate(source, "", "").render(USER)


@pytest.mark.parametrize(
    "source",
    [
        LOOPS,  # writes nothing, loops 10^18 times
        "{% set n = namespace(x=999999999) %}{% for i in range(999) %}{% set n.x = n.x * n.x %}{% endfor %}",  # one multiplication that never ends
        "{{ '%*d' % (999999999999, 1) }}",
        "{{ '{:>9999999999}'.format(1) }}",
        "{{ ('x' * 190000)|replace('x', 'y' * 190000) }}",
    ],
)
def test_a_template_that_takes_all_time_or_memory_is_killed(source):
    template = ChatTemplate(source, "", "", max_seconds=1.0)
    with pytest.raises(ExportError):
        template.render(USER)
    template.close()
    assert template._child.poll() is not None


def test_one_child_renders_many_prompts_and_survives_a_template_error():
    template = ChatTemplate(
        "{% if messages|length > 1 %}{{ raise_exception('one only') }}{% endif %}{{ bos_token }}{{ messages[0].content }}",
        "<s>",
        "</s>",
    )
    assert template.render(USER) == "<s>hi"
    with pytest.raises(ExportError, match="one only"):
        template.render(USER * 2)
    assert (
        template.render([{"role": "user", "content": "日本\n\u2028{{ 7 * 7 }}"}])
        == "<s>日本\n\u2028{{ 7 * 7 }}"
    )
    template.close()


@pytest.fixture(scope="module")
def constant(tiny_base, module_folder) -> Path:
    """A GGUF whose hidden state is the same whatever it reads: its output rows alone decide what it says."""
    import torch

    def same(model):
        for name, weight in model.named_parameters():
            if "embed_tokens" in name:
                torch.nn.init.ones_(weight)
            elif "norm" not in name:
                torch.nn.init.zeros_(weight)

    return controls.export(
        controls.untaught(tiny_base, module_folder / "model", change=same),
        "BF16",
    )


def altered(path: Path, out: Path, says: int | None = None, nan: bool = False) -> Path:
    """A copy of the constant model that says one token always, or whose output weights are no numbers."""
    import gguf

    shutil.copy(path, out)
    reader = gguf.GGUFReader(out, "r+")
    head = next(tensor for tensor in reader.tensors if tensor.name == "output.weight").data.view(
        np.uint16
    )
    if nan:
        head[:] = 0x7FC0  # bfloat16's NaN
    if says is not None:
        head[says] = 0x3F80  # bfloat16's 1
    head.base.flush() if hasattr(head.base, "flush") else None
    del head, reader
    return out


ASKED = [
    probe
    for row in facts("harbour", range(24))
    for item in [schema.parse(row)]
    for probe in (
        *(probes.recall_probe(one, 1) for one in probes.lessons([item])),
        *probes.paraphrase_probes(item, 1),
    )
]
CHOSEN = probes.choice_probes({1: [schema.parse(row) for row in facts("island", range(6))]}, 7)


@pytest.mark.parametrize(
    ("what", "check"),
    [
        ({"nan": True}, lambda answer: answer.failed),
        ({"says": 2}, lambda answer: answer.ended and not answer.text),  # 2 is the end of the turn
        ({"says": 30}, lambda answer: not answer.ended and answer.tokens == 8),
        (
            {},
            lambda answer: answer.ended and not answer.text,
        ),  # every token is as likely as any other: the first, which ends it
    ],
    ids=["nan", "silent", "endless", "undecided"],
)
def test_a_broken_model_scores_nothing_and_is_denied(constant, tmp_path, what, check: Callable):
    model = altered(constant, tmp_path / "x.gguf", **what)
    marked = suite.examine(
        model, ASKED + CHOSEN, controls.SYSTEM, shipped("evaluate", max_tokens=8), 512
    )
    free = [item for item in marked if not item.probe.distractors]
    assert all(check(item.answer) for item in free), free[0].answer
    assert not any(item.correct for item in free)
    chosen = [item for item in marked if item.probe.distractors]
    assert chosen and not any(item.correct for item in chosen)
    scores = {name: asdict(score) for name, score in suite.scores(marked, 1, 7).items()}
    decision = decide(scores, params.load(SOURCE).promotion, is_ancestor=False)
    assert not decision.promoted and not any(verdict.passed for verdict in decision.verdicts)
    json.dumps(suite.as_rows(marked), allow_nan=False)


def replaced(path: Path, out: Path, template: bytes | None) -> Path:
    """A copy with another chat template of the same length in bytes, or with none."""
    data, key = path.read_bytes(), b"tokenizer.chat_template"
    start = data.index(key)
    if template is None:
        data = data[:start] + key[:-1] + b"X" + data[start + len(key) :]
    else:
        at = start + len(key) + 4  # the value's type; then its length in 8 bytes
        length = int.from_bytes(data[at : at + 8], "little")
        data = data[: at + 8] + template.ljust(length) + data[at + 8 + length :]
    out.write_bytes(data)
    return out


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "no chat template"),
        (b"{{ ''.__class__.__mro__ }}", "cannot be rendered"),
        (LOOPS.encode(), "within 5 s"),
    ],
    ids=["none", "escape", "loops"],
)
def test_luna_eval_refuses_a_gguf_without_template_or_with_a_hostile_one(
    line, constant, tmp_path, template, says
):
    model = replaced(constant, tmp_path / "x.gguf", template)
    done = line.luna("eval", str(model), code=2)
    assert says in done.stderr and not done.stdout


def with_number(path: Path, out: Path, key: str, value: int) -> Path:
    """A copy whose header says another number."""
    data = bytearray(path.read_bytes())
    at = data.index(key.encode()) + len(key) + 4  # behind the value's type, a 32-bit number
    data[at : at + 4] = value.to_bytes(4, "little")
    out.write_bytes(data)
    return out


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.block_count", 0xFFFFFFFF),
        ("llama.block_count", 0),
        ("llama.attention.head_count", 0),
        ("llama.embedding_length", 0x7FFFFFFF),
    ],
)
def test_a_gguf_with_absurd_numbers_is_one_sentence(line, constant, tmp_path, key, value):
    model = with_number(constant, tmp_path / "x.gguf", key, value)
    with pytest.raises(ExportError, match="crashes on|cannot load"):
        suite.examine(model, ASKED[:1], controls.SYSTEM, shipped("evaluate", max_tokens=8), 512)
    if value == 0xFFFFFFFF:
        done = line.luna("eval", str(model), code=2)
        assert "crashes" in done.stderr and done.stderr.count("\n") == 1 and not done.stdout
        assert line.luna("diff", str(model), str(constant), code=None).returncode in (0, 1, 2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no conversation"),
        ("{oops\n", "line 1: it is not valid JSON"),
        ('{"instruction": "x"}\n', "line 1: it has none of"),
        (
            '{"instruction": "x", "output": "y", "scorer": "vibes"}\n',
            "'vibes' is unknown; allowed are expect, chrf",
        ),
        ('{"instruction": "x", "output": "y", "scorer": "expect"}\n', "needs accepted answers"),
        (
            '{"instruction": "x", "output": "y", "expect": ["y"], "scorer": "chrf"}\n',
            "leave out 'expect'",
        ),
        ('{"instruction": "x", "output": "y", "expect": [" "]}\n', "is empty"),
        ('{"instruction": "x", "output": "y", "expect": ["?!"]}\n', "neither letter nor digit"),
    ],
)
def test_luna_eval_refuses_bad_probe_files(line, tmp_path, text, says):
    (tmp_path / "mine.jsonl").write_text(text)
    done = line.luna("eval", "3", "--probes", str(tmp_path / "mine.jsonl"), code=2)
    assert says in done.stderr and "mine.jsonl" in done.stderr and not done.stdout


def test_a_probe_without_accepted_answers_is_scored_by_its_reply(line, tmp_path):
    row = {key: value for key, value in facts("harbour", range(1))[0].items() if key != "expect"}
    write_jsonl(tmp_path / "mine.jsonl", [row | {"scorer": "chrf"}])
    found = json.loads(
        line.luna(
            "eval", "3", "--probes", str(tmp_path / "mine.jsonl"), "--answers", "--json"
        ).stdout
    )
    assert [answer["marked_by"] for answer in found["answers"]] == ["facts", "facts"] and found[
        "scores"
    ]["recall"]["value"] == 0
    assert not any(
        verdict["passed"] for verdict in found["verdicts"]
    )  # two probes are too few for any clause


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row | {"kind": "vibes"},
        lambda row: row | {"expect": ["anything"]},
        lambda row: {"probe": row["probe"]},
        lambda row: [],
    ],
)
def test_a_probe_set_that_was_tampered_with_is_refused(line: Repo, tmp_path, change):
    rows = [
        json.loads(text) for text in (line.path / "models/probes.jsonl").read_text().splitlines()
    ]
    write_jsonl(tmp_path / "probes.jsonl", [rows[0], change(rows[1])])
    with pytest.raises(InputError, match="line 2 is not a probe"):
        probes.load(tmp_path / "probes.jsonl")
