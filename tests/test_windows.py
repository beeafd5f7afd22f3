"""Long conversations: every reply is learnt once, whole, and asked after the very words after which it was learnt."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from conftest import facts, write_jsonl
from hypothesis import given
from hypothesis import strategies as st
from test_templates import BOS, EOS, HABITS, SYSTEM, adapted, tokenizer_with

from luna.conversations import probes, schema, windows
from luna.conversations.chat_template import ChatTemplate
from luna.conversations.examples import IGNORED, Rendering, Teaching
from luna.conversations.marks import Transformers


def room(tokenizer, turns: int = 4) -> int:
    """Tokens of a window in which so many turns fit."""
    with Teaching(tokenizer) as teaching:
        return max(len(example.ids) for example in teaching.examples(talk(turns), SYSTEM, 10_000))


def talk(turns: int, words: int = 3) -> list[tuple[str, str]]:
    """Each message says which one it is."""
    return [
        (role, " ".join([f"{role[0]}{turn}"] * words))
        for turn in range(turns)
        for role in ("user", "assistant")
    ]


def learnt(tokenizer, examples) -> list[tuple[list[int], str]]:
    """Prompt and text of each run of learnt tokens."""
    runs = []
    for example in examples:
        at = 0
        for ignored, group in itertools.groupby(example.labels, lambda label: label == IGNORED):
            size = len(list(group))
            if not ignored:
                runs.append((example.ids[:at], tokenizer.decode(example.ids[at : at + size])))
            at += size
    return runs


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=12),
    st.integers(5, 100),
    st.integers(0, 8),
)
def test_a_window_holds_its_reply_and_as_many_turns_as_fit(sizes, limit, fixed):
    """Tokens of question and reply; ``fixed``: those of the system prompt."""
    messages = [(role, "x") for _ in sizes for role in ("user", "assistant")]
    flat = [size for pair in sizes for size in pair]

    def length(start: int, reply: int) -> int:
        return fixed + sum(flat[start : reply + 1])

    begins = windows.starts(messages, limit, length)
    assert list(begins) == list(range(1, len(messages), 2))
    for reply, start in begins.items():
        if start is None:
            assert length(reply - 1, reply) > limit
        else:
            assert start % 2 == 0 and length(start, reply) <= limit
            # Nothing is left away that half a window would have held.
            assert start == 0 or length(start - 2, reply) > limit // 2


@pytest.mark.parametrize("habit", HABITS)
def test_every_reply_of_a_long_talk_is_learnt_once_with_its_end_mark(habit):
    tokenizer = tokenizer_with(adapted(habit).source)
    messages, limit = talk(12), room(tokenizer)
    with Teaching(tokenizer) as teaching:
        examples = teaching.examples(messages, SYSTEM, limit)
        assert teaching.too_long(messages, SYSTEM, limit) == 0
    assert max(len(example.ids) for example in examples) <= limit
    replies = [text.replace(EOS, "").strip() for _, text in learnt(tokenizer, examples)]
    assert replies == [content for role, content in messages if role == "assistant"]
    assert all(EOS in text for _, text in learnt(tokenizer, examples))


@pytest.mark.parametrize("habit", HABITS)
def test_a_reply_of_a_long_talk_is_asked_after_what_it_was_learnt_after(habit):
    tokenizer = tokenizer_with(adapted(habit).source)
    messages, limit = talk(12), room(tokenizer)
    with Teaching(tokenizer) as teaching:
        prompts = [
            prompt for prompt, _ in learnt(tokenizer, teaching.examples(messages, SYSTEM, limit))
        ]
    with ChatTemplate(tokenizer.chat_template, BOS, EOS) as chat:
        rendering = Rendering(chat, Transformers(tokenizer), EOS)
        asked = [
            rendering.asked(messages[:index], messages[index][1], SYSTEM, limit)
            for index in range(1, len(messages), 2)
        ]
    assert asked == prompts


def test_a_reply_that_fits_in_no_window_is_counted_and_the_others_are_learnt():
    tokenizer = tokenizer_with(adapted("appends").source)
    messages, limit = talk(4), room(tokenizer)
    messages[3] = ("assistant", "long " * limit)
    with Teaching(tokenizer) as teaching:
        examples = teaching.examples(messages, SYSTEM, limit)
        assert teaching.too_long(messages, SYSTEM, limit) == 1
        assert teaching.too_long(messages, SYSTEM, limit, context=(3,)) == 0
    texts = [text.replace(EOS, "").strip() for _, text in learnt(tokenizer, examples)]
    assert texts == [messages[index][1] for index in (1, 5, 7)]


def test_the_system_message_of_a_long_talk_stays():
    tokenizer = tokenizer_with(adapted("appends").source)
    messages = [("system", "Be short."), *talk(12)]
    with Teaching(tokenizer) as teaching:
        examples = teaching.examples(messages, "", room(tokenizer))
    assert len(examples) > 1
    assert all("Be short." in tokenizer.decode(example.ids) for example in examples)


def test_every_reply_that_is_taught_can_be_asked_for(tmp_path):
    rows = [
        {"messages": [{"role": role, "content": content} for role, content in talk(3)]},
        {"messages": [{"role": role, "content": content} for role, content in talk(1)]},
    ]
    rows[0]["messages"][3]["weight"] = 0
    write_jsonl(tmp_path / "x.jsonl", rows)
    items = schema.load_file(tmp_path / "x.jsonl")
    asked = probes.build({1: items}, [], 100, 7)
    whole = items[0].messages
    assert (
        {(probe.messages, probe.reference) for probe in asked}
        == {
            (whole[:1], whole[1][1]),  # taught by both
            (whole[:5], whole[5][1]),
        }
    )
    assert len(asked) == 3 and {probe.kind for probe in asked} == {probes.RECALL}


def test_what_fits_in_no_window_is_named_before_the_training_and_neither_taught_nor_asked(
    line, tmp_path
):
    repo = line.copy(tmp_path / "mine")
    path = repo.path / "params.yaml"
    path.write_text(re.sub(r"max_seq_length: \d+", "max_seq_length: 96", path.read_text()))
    long = {"role": "assistant", "content": "A very long word indeed. " * 40}
    rows = facts("harbour", range(6))
    rows[0]["messages"] += [{"role": "user", "content": "Tell me all."}, long]
    rows[1]["messages"] = [
        {"role": role, "content": f"{content} {content}"} for role, content in talk(8)
    ]
    for row in rows[:2]:
        del row["expect"], row["paraphrases"]
    write_jsonl(repo.path / "data/conversations/harbour.jsonl", rows)
    shown = repo.luna("evolve", code=None).stderr
    assert "1 reply is too long for train.max_seq_length (96 tokens)" in shown
    assert "learnt part by part" in shown
    args = json.loads((repo.path / "models/eval_args.json").read_text())
    assert args["left_out"] == 1
    assert "1 reply was neither taught nor asked for" in (repo.path / "models/EVAL.md").read_text()
    answers = (repo.path / "models/answers.jsonl").read_text().splitlines()
    assert len(answers) == args["probes"] and not any("very long" in row for row in answers)
