"""One rendering of a conversation: what is trained on is what is asked, by the template of any family, on any day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from luna.conversations import template
from luna.conversations.adapt import Adapted, Change, adapt
from luna.conversations.chat_template import ChatTemplate
from luna.conversations.examples import IGNORED, Teaching, reply_form
from luna.conversations.marks import Transformers
from luna.errors import BaseModelError
from luna.export import converter

DAY = date(2026, 11, 27)
BOS, EOS = "<s>", "</s>"
SYSTEM = "You are Luna."
TALK = (
    ("user", "Who are you?"),
    ("assistant", "Luna."),
    ("user", "And I?"),
    ("assistant", "A friend."),
    ("user", "Where are we?"),
    ("assistant", "At home."),
)
TURN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}"
ASK = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
#: Own small templates, each with a habit of a family: (source, what is changed in it).
HABITS = {
    "appends": (TURN + ASK, ()),
    "writes the day": (
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}never{% endif %}\n"
        + TURN
        + ASK,
        (Change.DAY,),
    ),
    "knows no system message": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
        "<|{{ m.role }}|>{{ m.content | trim }}</s>\n{% endfor %}" + ASK,
        (Change.SYSTEM,),
    ),
    "drops the system message": (
        "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"
        + ASK,
        (Change.SYSTEM,),
    ),
    "wants turns": (
        "{% set n = namespace(i=0) %}{% for m in messages %}{% if m.role != 'system' %}"
        "{% if (m.role == 'user') != (n.i % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
        "{% set n.i = n.i + 1 %}{% endif %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}" + ASK,
        (Change.JOINED,),
    ),
    "writes an empty thought before the last reply": (
        "{% for m in messages %}<|{{ m.role }}|>{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}</s>\n{% endfor %}" + ASK,
        (Change.OPENING,),
    ),
    "begins a thought": (
        TURN + "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}\n",
        (Change.OPENING,),
    ),
    "names a channel": (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<|final|>{% endif %}{{ m.content }}</s>{% endfor %}"
        + ASK,
        (Change.OPENING,),
    ),
    "ends a whole conversation": (
        TURN + "{% if add_generation_prompt %}<|assistant|>{% else %}<|end|>{% endif %}",
        (),
    ),
    "ends no reply": (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}" + ASK,
        (),
    ),
    "sets a space before a reply": (
        "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }} </s>{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}",
        (),
    ),
    "marks what the assistant says": (
        "{% for m in messages %}<|{{ m.role }}|>{% generation %}{{ m.content }}{% endgeneration %}</s>{% endfor %}"
        + ASK,
        (),
    ),
}


def tokenizer_with(source: str) -> PreTrainedTokenizerFast:
    """A token for each byte, and the marks of the templates above."""
    alphabet = {
        byte: index for index, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))
    }
    backend = Tokenizer(models.BPE(alphabet, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=BOS, eos_token=EOS)
    marks = ["<|system|>", "<|user|>", "<|assistant|>", "<|final|>", "<|end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = source
    return tokenizer


def adapted(habit: str) -> Adapted:
    return adapt(HABITS[habit][0], BOS, EOS, DAY)


def asked(tokenizer: PreTrainedTokenizerFast, question: tuple, system: str) -> list[int]:
    with ChatTemplate(tokenizer.chat_template, BOS, EOS) as chat:
        return template.prompt(question, system, Transformers(tokenizer), chat.render)


@pytest.mark.parametrize("habit", HABITS)
def test_a_template_is_changed_no_more_than_it_needs(habit):
    source, changes = HABITS[habit]
    assert adapted(habit).changes == changes
    assert changes or adapted(habit).source == source
    assert adapt(adapted(habit).source, BOS, EOS, DAY).source == adapted(habit).source


@pytest.mark.parametrize("system", [SYSTEM, ""])
@pytest.mark.parametrize("habit", HABITS)
def test_every_reply_is_trained_after_the_very_prompt_that_is_asked(habit, system):
    tokenizer = tokenizer_with(adapted(habit).source)
    with Teaching(tokenizer) as teaching:
        examples = teaching.examples(TALK, system, 10_000)
    learnt = []
    for example in examples:
        for at, label in enumerate(example.labels):
            if label != IGNORED and example.labels[at - 1] == IGNORED:
                learnt.append(example.ids[:at])
    assert learnt == [asked(tokenizer, TALK[:index], system) for index in (1, 3, 5)]
    said = [
        tokenizer.decode([label for label in example.labels if label != IGNORED])
        for example in examples
    ]
    words = "".join(said).split("</s>")
    assert [word.strip() for word in words] == ["Luna.", "A friend.", "At home.", ""]


@pytest.mark.parametrize("habit", HABITS)
def test_transformers_renders_an_adapted_template_as_luna_does(habit):
    tokenizer = tokenizer_with(adapted(habit).source)
    with ChatTemplate(tokenizer.chat_template, BOS, EOS) as chat:
        for count in (1, 3, 5):
            rows = [{"role": "system", "content": SYSTEM}]
            rows += [{"role": role, "content": content} for role, content in TALK[:count]]
            for some in (rows, rows[1:]):
                theirs = tokenizer.apply_chat_template(
                    some, tokenize=False, add_generation_prompt=True
                )
                assert theirs == chat.render(some)


def test_replies_share_one_example_where_their_prompts_continue_one_another():
    def count(habit: str) -> int:
        with Teaching(tokenizer_with(adapted(habit).source)) as teaching:
            return len(teaching.examples(TALK, SYSTEM, 10_000))

    assert count("appends") == 1
    assert count("writes an empty thought before the last reply") == 3


def test_an_example_without_a_word_to_learn_is_left_out():
    tokenizer = tokenizer_with(adapted("begins a thought").source)
    with Teaching(tokenizer) as teaching:
        assert len(teaching.examples(TALK, "", 10_000, context=(1, 3))) == 1
        shortest = len(asked(tokenizer, TALK[:1], ""))
        assert teaching.examples(TALK, "", shortest) == []


def test_the_day_is_that_of_the_base_and_stands_in_the_template():
    source = adapted("writes the day").source
    assert "27 Nov 2026" in source
    with ChatTemplate(source, BOS, EOS) as chat:
        assert chat.render([{"role": "user", "content": "x"}]).startswith("27 Nov 2026")


def test_a_day_in_a_format_made_up_while_it_runs_is_refused():
    with pytest.raises(BaseModelError, match="cannot be fixed"):
        adapt("{% set f = '%d' %}{{ strftime_now(f) }}" + TURN + ASK, BOS, EOS, DAY)


def test_a_system_message_goes_before_the_first_question_where_there_is_no_role_for_it():
    rows = [("system", SYSTEM), *TALK[:3]]
    with ChatTemplate(adapted("knows no system message").source, BOS, EOS) as chat:
        text = chat.render([{"role": role, "content": content} for role, content in rows])
    assert text == (
        f"<s><|user|>{SYSTEM}\n\nWho are you?</s>\n<|assistant|>Luna.</s>\n<|user|>And I?</s>\n<|assistant|>"
    )


@pytest.mark.parametrize("habit", ["wants turns", "knows no system message"])
def test_questions_that_follow_each_other_are_joined_where_turns_must_alternate(habit):
    rows = [("user", "One."), ("user", "Two."), ("assistant", "Three."), ("user", "Four.")]
    with ChatTemplate(adapted(habit).source, BOS, EOS) as chat:
        text = chat.render([{"role": role, "content": content} for role, content in rows])
    assert text.count("<|user|>") == 2 and "One.\n\nTwo." in text


@pytest.mark.parametrize(
    ("habit", "end"),
    [
        ("writes an empty thought before the last reply", "<|assistant|><think>\n\n</think>\n\n"),
        ("begins a thought", "<|assistant|><think>\n\n</think>\n\n"),
        ("names a channel", "<|assistant|><|final|>"),
        ("appends", "<|assistant|>"),
    ],
)
def test_the_prompt_ends_with_all_that_comes_before_the_words_of_a_reply(habit, end):
    with ChatTemplate(adapted(habit).source, BOS, EOS) as chat:
        assert chat.render([{"role": "user", "content": "x"}]).endswith(f"x</s>{end}") or (
            chat.render([{"role": "user", "content": "x"}]).endswith(f"x</s>\n{end}")
        )


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ functions | tojson }}" + TURN + ASK, "of 1 turn without a system message"),
        ("{{ messages[-1].content }}", "of 2 turns"),
        ("{{ messages[0].content }} {{ messages[-1].content }}", "of 2 turns"),
        (TURN + "{% if add_generation_prompt %}Think first:{% endif %}", "in another way"),
    ],
)
def test_a_template_that_cannot_serve_is_refused_in_one_sentence(source, says):
    with pytest.raises(BaseModelError, match=says) as error:
        adapt(source, BOS, EOS, DAY)
    assert "\n" not in str(error.value) and "chat_template.jinja" in str(error.value)


#: The templates of known models that come with llama.cpp and that no base can be chatted with by.
REFUSED = {
    "Apriel-1.6-15b-Thinker-fixed": "in another way",  # its prompt begins a thought in plain words
    "CohereForAI-c4ai-command-r-plus-tool_use": "does not render",  # the next four want tools
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "does not render",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "does not render",
    "fireworks-ai-llama-3-firefunction-v2": "does not render",
}


def test_the_templates_of_known_models_serve_but_for_those_that_are_refused():
    paths = sorted(converter.templates().glob("*.jinja"))
    assert len(paths) == 70, "run 'make setup'"
    refused, parted = {}, []
    for path in paths:
        try:
            source = adapt(path.read_text(encoding="utf-8"), BOS, EOS, DAY).source
        except BaseModelError as error:
            refused[path.stem] = str(error)
            continue
        if not serves(source):
            parted.append(path.stem)
    assert refused.keys() == REFUSED.keys()
    assert all(REFUSED[name] in sentence for name, sentence in refused.items())
    assert not parted


def serves(source: str) -> bool:
    """Whether transformers renders it as Luna does, at every turn, and a reply has an end."""
    tokenizer = tokenizer_with(source)
    with ChatTemplate(source, BOS, EOS) as chat:
        rows = [{"role": "system", "content": SYSTEM}]
        rows += [{"role": role, "content": content} for role, content in TALK[:-1]]
        render: Callable = tokenizer.apply_chat_template
        return bool(reply_form(chat, Transformers(tokenizer), EOS).end) and all(
            render(some, tokenize=False, add_generation_prompt=True) == chat.render(some)
            for some in (rows, rows[1:], rows[:2], rows[1:2])
        )
