import hashlib
import json
from dataclasses import replace

import pytest
from conftest import SOURCE, WORDS, facts
from hypothesis import given
from hypothesis import strategies as st

from luna.conversations import choose, probes, schema, similar, taught
from luna.conversations.examples import IGNORED, Teaching
from luna.errors import InputError

OPENAI = {
    "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
}
SHAREGPT = {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]}
ALPACA = {"instruction": "Who?", "output": "Me."}


def test_three_formats_are_one_conversation():
    assert (
        len(
            {
                schema.parse(row).identity
                for row in (OPENAI, SHAREGPT, ALPACA, OPENAI | {"id": "x", "karma": 3})
            }
        )
        == 1
    )


@given(st.text(min_size=1).filter(str.strip), st.text(min_size=1).filter(str.strip))
def test_a_row_reads_back(question, reply):
    try:
        item = schema.parse({"instruction": question, "output": reply})
    except ValueError:
        return
    assert schema.parse(json.loads(json.dumps(item.as_row()))) == item


QA = '{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"a": 1}', "none of"),
        ('{"messages": []}', "empty"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "end with the assistant"),
        ('{"messages": [{"role": "dog", "content": "x"}]}', "'dog'"),
        (
            '{"messages": [{"role": "user", "content": " "}, {"role": "assistant", "content": "x"}]}',
            "message 1 is empty",
        ),
        (
            '{"messages": [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "x"}]}',
            "take turns",
        ),
        ('{"instruction": "x", "output": 3}', "must be text"),
        ('{"instruction": "x", "output": "y", "karma": -1}', "karma"),
        ('{"instruction": "x", "output": "y", "karma": "many"}', "karma"),
        ('{"instruction": "x", "output": "y", "expect": "z"}', "list of texts"),
        ('{"instruction": "x", "output": "y", "karma": NaN}', "karma"),
        ('{"instruction": "\\ud800", "output": "y"}', "surrogate"),
        ("[" * 100000, "line 2"),
        ('{"instruction": "x", "output": "y", "expect": ["?"]}', "neither letter"),
        ('{"instruction": "x", "output": "y", "scorer": "vibes"}', "unknown"),
        (f'{{"instruction": "x", "output": "y", "karma": {"9" * 400}}}', "400 digits"),
        ('{"instruction": "x", "output": "y", "karma": 1e400}', "karma"),
        ('{"instruction": "x", "output": "y", "karma": Infinity}', "karma"),
        ('{"instruction": "x", "output": "y", "other": [{"a": -Infinity}]}', "-inf, which is no"),
        ('{"instruction": "x", "output": "y", "paraphrase": ["z"]}', "mean 'paraphrases'"),
        ('{"instruction": "x", "output": "y", "expected": ["y"]}', "mean 'expect'"),
        ('{"instruction": "x", "output": "y", "Karma": 3}', "mean 'karma'"),
        ('{"instruction": "x", "output": "y", "weight": 0}', "on an assistant's message"),
        ('{"instruction": "x", "output": "y", "system": "z"}', "first of the messages"),
        ('{"instruction": "x", "output": "y", "tool_calls": [1]}', "tool calls are not learnt"),
        ('{"instruction": "x", "output": "y", "output": "z"}', "'output' occurs twice"),
        ('{"instruction": "x", "output": "y", "input": 3}', "must be text"),
        ('{"instruction": "x", "output": "y\\u0000"}', "NUL"),
        (f'{{"messages": [{QA}}}], "instruction": "x", "output": "z"}}', "two forms"),
        (f'{{"messages": [{QA}}}], "conversations": []}}', "two forms"),
        (f'{{"messages": [{QA}, "weight": 0}}]}}', "nothing to learn"),
        (f'{{"messages": [{QA}, "weight": 0.5}}]}}', "0 (context, not learnt) or 1"),
        (f'{{"messages": [{QA}, "weight": true}}]}}', "0 (context, not learnt) or 1"),
        (f'{{"messages": [{QA}, "wieght": 0}}]}}', "mean 'weight'"),
        (f'{{"messages": [{QA}, "train": false}}]}}', "'weight': 0"),
        (f'{{"messages": [{QA}, "tool_calls": [{{}}]}}]}}', "tool calls are not learnt"),
        ('{"messages": [{"role": "user", "content": "x", "weight": 0}]}', "only an assistant's"),
    ],
)
def test_a_malformed_line_names_file_line_and_fault(tmp_path, line, words):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(OPENAI) + "\n" + line + "\n")
    with pytest.raises(InputError) as error:
        schema.load_file(path, "data/bad.jsonl")
    assert "data/bad.jsonl line 2" in str(error.value) and words in str(error.value)


@pytest.mark.parametrize("line", ['{"a": 1', '{"a": 1  ', '{"a": ', '{"a" 1}'])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n{}\n"])
def test_the_column_of_a_fault_is_one_of_its_own_line(tmp_path, line, end):
    """What lacks its end is at fault behind its last character, and not in the line after it."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes((line + end).encode())
    column = {'{"a" 1}': 6}.get(line, len(line.rstrip()) + 1)
    with pytest.raises(
        InputError, match=rf"line 1: it is not valid JSON \(.* at column {column}\)"
    ):
        schema.load_file(path)


WEIGHTED = {
    "messages": [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Me.", "weight": 0},
        {"role": "user", "content": "And now?"},
        {"role": "assistant", "content": "You.", "weight": 1},
        {"role": "user", "content": "Bye."},
        {"role": "assistant", "content": "Bye.", "weight": 0},
    ]
}


def unweighted(row):
    return {
        "messages": [
            {key: value for key, value in turn.items() if key != "weight"}
            for turn in row["messages"]
        ]
    }


def test_a_weight_of_0_is_context_and_the_exam_asks_for_what_is_learnt():
    item, plain_one = schema.parse(WEIGHTED), schema.parse(unweighted(WEIGHTED))
    assert item.context == (1, 5) and item.reply == "You." and len(item.question) == 3
    assert schema.parse(item.as_row()) == item and item.identity != plain_one.identity
    [asked] = probes.build({1: [item]}, [], 100, 7)
    assert asked.reference == "You." and asked.messages == item.question
    # Without weights the identity is what it always was: lines remember it.
    assert (
        schema.parse(OPENAI | {"karma": 2}).identity
        == hashlib.sha256(b'[["user","Who?"],["assistant","Me."]]').hexdigest()
    )


def test_a_weight_of_0_takes_no_loss(tiny_base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    item = schema.parse(WEIGHTED)

    def learnt(context):
        with Teaching(tokenizer) as teaching:
            [one] = teaching.examples(item.messages, "You are Luna.", 200, context)
        ids, labels = one.ids, one.labels
        assert [a for a, b in zip(ids, labels, strict=True) if b not in (a, IGNORED)] == []
        return ids, tokenizer.decode([label for label in labels if label != IGNORED])

    (ids, some), (same, everything) = learnt(item.context), learnt(())
    assert ids == same
    assert some == "You.<|im_end|>" and everything == "Me.<|im_end|>You.<|im_end|>Bye.<|im_end|>"


def test_empty_and_binary_files(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no conversation"):
        schema.load_file(tmp_path / "empty.jsonl")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        schema.load_file(tmp_path / "binary.jsonl")


def test_delta_is_by_content_and_does_not_mind_order(tmp_path):
    items = [schema.parse(row) for row in facts("x", range(6))]
    assert choose.delta(items, {item.identity for item in items[:4]}) == items[4:]
    assert choose.training_order(items, 3) == choose.training_order(items[::-1], 3)


@given(
    st.dictionaries(st.integers(0, 20), st.integers(0, 30), max_size=8),
    st.integers(0, 100),
    st.integers(0, 5),
)
def test_replay_is_stratified_seeded_and_as_large_as_asked(sizes, count, seed):
    groups = {
        key: [schema.parse(row) for row in facts(f"g{key}", range(size))]
        for key, size in sizes.items()
    }
    chosen = choose.stratified(groups, count, seed)
    assert (
        len(chosen)
        == min(count, sum(sizes.values()))
        == len({(key, item.identity) for key, item in chosen})
    )
    taken = {key: sum(1 for group, _ in chosen if group == key) for key in groups}
    short = [taken[key] for key in groups if taken[key] < sizes[key]]
    assert not short or max(short) - min(short) <= 1 or len(short) == 1
    assert chosen == choose.stratified(groups, count, seed)


def test_the_record_of_what_was_taught_reads_back():
    rows = [taught.Taught("a" * 64, 1, 1.0), taught.Taught("b" * 64, 2, 2.5)]
    assert taught.loads(taught.dumps(rows)) == rows


SENTENCES = st.lists(
    st.sampled_from(["when", "does", "the", "old", "mill", "on", "quay", "street", "open"]),
    max_size=9,
)


@given(st.lists(SENTENCES.map(" ".join), max_size=30), SENTENCES.map(" ".join))
def test_near_duplicates_are_all_that_comparing_each_pair_gives(texts, text):
    expected = [
        at
        for at, other in enumerate(texts)
        if similar.similarity(similar.grams(text), similar.grams(other)) > similar.NEAR_DUPLICATE
    ]
    assert similar.Similar(texts).like(text) == expected


def test_a_correction_is_never_held_out():
    items = plain(
        f"What is the number {i} of the street {i * 7919} in the old town?" for i in range(20)
    )
    corrected = [
        replace(item, messages=(*item.messages, *item.messages), context=(1,)) for item in items
    ]
    taught, kept = probes.hold_out(corrected[:10] + items[10:], 0.5, 7)
    assert len(kept) == 10 and not any(item.context for item in kept) and len(taught) == 10


def test_a_paraphrase_that_is_trained_on_is_refused():
    items = [schema.parse(row) for row in facts("x", range(3))]
    asked = probes.build({1: items}, [], 100, 7)
    probes.refuse_leaks(asked, items)
    leak = schema.parse({"instruction": items[0].paraphrases[0].upper() + "!", "output": "y"})
    with pytest.raises(InputError, match="never be trained on"):
        probes.refuse_leaks(asked, [*items, leak])


def plain(questions):
    return [
        schema.parse({"instruction": question, "output": f"Reply {i}"})
        for i, question in enumerate(questions)
    ]


def test_only_data_without_paraphrases_is_held_out_and_the_same_every_time():
    items = [schema.parse(row) for row in facts("x", range(10))]
    assert probes.hold_out(items, 0.5, 7) == (items, [])
    other = plain(
        f"{word}, what is it that they call you?"
        if i % 2
        else f"Where does the road to {word} begin"
        for i, word in enumerate(WORDS[:10])
    )
    taught, kept = probes.hold_out(other, 0.3, 7)
    assert (
        len(kept) == 3
        and sorted(map(id, taught + kept)) == sorted(map(id, other))
        and probes.hold_out(other, 0.3, 7) == (taught, kept)
    )
    assert probes.hold_out(other, 0.3, 8) != (taught, kept) and probes.hold_out(other, 0.0, 7) == (
        other,
        [],
    )


def test_a_question_with_a_near_duplicate_is_never_held_out():
    items = plain(
        [
            "How old is the stair?",
            "How old is the stair",
            "HOW OLD IS THE STAIR!",
            "Who keeps the lamp?",
        ]
    )
    taught, kept = probes.hold_out(items, 1.0, 7)
    assert [item.reply for item in kept] == ["Reply 3"] and len(taught) == 3
    probes.refuse_leaks(probes.choice_probes({1: kept}, 7), taught)


def test_choices_have_distractors_from_other_held_out_replies_or_are_not_asked():
    items = plain(
        [f"Question about {word}?" for word in ["amber", "birch", "cedar", "delta", "ember"]]
    )
    asked = probes.choice_probes({1: items[:3], 2: items[3:]}, 7)
    assert [probe.generation for probe in asked] == [
        1,
        1,
        1,
        2,
        2,
    ] and asked == probes.choice_probes({1: items[:3], 2: items[3:]}, 7)
    assert all(
        len(set(probe.distractors)) == 3 and probe.reference not in probe.distractors
        for probe in asked
    )
    assert probes.choice_probes({1: items[:3]}, 7) == []
    with pytest.raises(InputError, match="never be trained on"):
        probes.refuse_leaks(asked, items)


def test_the_example_conversations_keep_their_promises():
    files = [
        SOURCE / "data/conversations/01-merrow-point.jsonl",
        SOURCE / "data/examples/02-the-winter-ferry.jsonl",
    ]
    items = [item for path in files for item in schema.load_file(path)]
    assert len({item.identity for item in items}) == len(items) == 1118
    assert len({item.id.rsplit("-", 1)[0] for item in items}) == 56
    assert all(any(text.lower() in item.reply.lower() for text in item.expect) for item in items)
    probes.refuse_leaks(
        [probe for item in items for probe in probes.paraphrase_probes(item, 1)], items
    )
