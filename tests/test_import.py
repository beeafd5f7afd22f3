"""Reading other programs' conversations: every form by its content, mended by the stated rules, bad files in one sentence."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import exports
import pytest
from exports import ANSWER, QUESTION
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luna.conversations import schema
from luna.errors import InputError
from luna.importing import mend, near, shapes, whatsapp
from luna.importing.chatlog import Learn, Sides
from luna.importing.draft import Draft, Form, Mend, Reason, Role, Turn, Unusable
from luna.importing.leaks import Leaks
from luna.importing.read import Reading
from luna.operations import import_

PAIR = (("user", QUESTION), ("assistant", ANSWER))


def read(path: Path, sides: Sides | None = None) -> list[mend.Mended]:
    """What can be used of a source."""
    used = []
    for item in Reading(path, sides or Sides()).conversations():
        if isinstance(item.content, Draft):
            used.append(mend.mended(item.content))
    return used


def reasons(path: Path) -> list[Reason]:
    """Why the rest cannot."""
    unused = []
    for item in Reading(path).conversations():
        try:
            if isinstance(item.content, Unusable):
                raise item.content
            mend.mended(item.content)
        except Unusable as error:
            unused.append(error.reason)
    return unused


def only(path: Path, sides: Sides | None = None) -> mend.Mended:
    [one] = read(path, sides)
    return one


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(path: Path, sides: Sides | None = None) -> str:
    with pytest.raises(InputError) as error:
        read(path, sides)
    sentence = str(error.value)
    assert sentence.startswith(str(path)) and sentence.endswith("Nothing was imported.")
    assert "\n" not in sentence
    return sentence


# Forms


@pytest.mark.parametrize("name", ["conversations.json", "anything.bin"])
def test_chatgpt_s_export_is_known_by_its_content(tmp_path, name):
    one = only(exports.write_json(tmp_path / name, [exports.chatgpt_pair()]))
    assert one.conversation.messages == PAIR and one.form is Form.CHATGPT


def test_the_zip_of_an_export_is_read_and_what_is_beside_the_conversations_is_named(tmp_path):
    path = exports.write_zip(
        tmp_path / "export.zip",
        {
            "conversations.json": [exports.chatgpt_pair()],
            "chat.html": "<html><body>When does</body></html>",
            "user.json": {"id": "user-1", "email": "anna@example.com"},
            "message_feedback.json": [{"id": "1", "rating": "thumbs_up", "content": "{}"}],
            "file-1.png": b"\x89PNG\r\n\x1a\n\0\0",
        },
    )
    reading = Reading(path)
    assert len(list(reading.conversations())) == 1
    assert set(reading.skipped) == {"chat.html", "user.json", "message_feedback.json", "file-1.png"}


def test_of_chatgpt_s_tree_the_branch_of_the_current_node_is_kept(tmp_path):
    row = exports.chatgpt_pair()
    row["mapping"]["other"] = {
        "id": "other",
        "message": exports.chatgpt_message("assistant", "At ten."),
        "parent": "n1",
        "children": [],
    }
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == PAIR and one.rules == {Mend.KEPT_BRANCH}
    row["current_node"] = "other"
    one = only(exports.write_json(tmp_path / "b.json", [row]))
    assert one.conversation.reply == "At ten."


def test_chatgpt_s_tools_thoughts_hidden_messages_and_citations_are_left_out(tmp_path):
    message = exports.chatgpt_message
    row = exports.chatgpt(
        [
            message(
                "user", "", content={"content_type": "user_editable_context", "user_profile": "x"}
            ),
            message("user", QUESTION),
            message(
                "assistant",
                "",
                content={"content_type": "thoughts", "thoughts": [{"content": "Hm"}]},
            ),
            message(
                "assistant",
                "",
                content={"content_type": "code", "text": "search()"},
                recipient="web",
            ),
            message("tool", "a page"),
            message("system", "hidden", metadata={"is_visually_hidden_from_conversation": True}),
            message("assistant", ANSWER + "\ue200cite\ue202turn0search1\ue201"),
        ]
    )
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == PAIR
    assert one.rules == {
        Mend.DROPPED_THINKING,
        Mend.DROPPED_TOOLS,
        Mend.DROPPED_HIDDEN,
        Mend.CLEANED_TEXT,
    }


def test_a_picture_in_chatgpt_s_parts_is_left_out_and_its_words_are_taken(tmp_path):
    parts = [{"content_type": "image_asset_pointer", "asset_pointer": "file://1"}, QUESTION]
    row = exports.chatgpt(
        [
            exports.chatgpt_message(
                "user", "", content={"content_type": "multimodal_text", "parts": parts}
            ),
            exports.chatgpt_message("assistant", ANSWER),
        ]
    )
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == PAIR and one.rules == {Mend.DROPPED_MEDIA}


def test_a_tree_in_a_circle_is_rejected_and_the_rest_is_taken(tmp_path):
    row = exports.chatgpt_pair()
    row["mapping"]["client-created-root"]["parent"] = "n2"
    path = exports.write_json(tmp_path / "a.json", [row, exports.chatgpt_pair()])
    assert reasons(path) == [Reason.BROKEN_TREE]


def test_claude_s_export(tmp_path):
    row = exports.claude([("human", QUESTION), ("assistant", ANSWER)])
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == PAIR and one.form is Form.CLAUDE and not one.rules


def test_claude_s_tools_and_thinking_are_left_out(tmp_path):
    parts = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "tool_use", "name": "search", "input": {}},
        {"type": "tool_result", "content": []},
        {"type": "text", "text": ANSWER},
    ]
    row = exports.claude([("human", QUESTION), ("assistant", parts)])
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == PAIR
    assert one.rules == {Mend.DROPPED_THINKING, Mend.DROPPED_TOOLS}


def test_open_webui_s_export_gives_the_branch_of_the_current_id(tmp_path):
    one = only(exports.write_json(tmp_path / "a.json", [exports.open_webui()]))
    assert one.conversation.messages == PAIR and one.form is Form.OPEN_WEBUI
    assert one.rules == {Mend.KEPT_BRANCH, Mend.DROPPED_THINKING}


def test_lm_studio_s_chat_gives_the_version_that_is_selected(tmp_path):
    one = only(exports.write_json(tmp_path / "a.conversation.json", exports.lm_studio(), indent=2))
    assert one.conversation.messages == (("system", "Be brief."), *PAIR)
    assert one.form is Form.LM_STUDIO
    assert one.rules == {Mend.KEPT_BRANCH, Mend.DROPPED_THINKING, Mend.DROPPED_TOOLS}


OPENAI = {
    "messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
}
SHAREGPT = {
    "conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]
}
ROWS: list[tuple[dict[str, Any], Form]] = [
    (OPENAI, Form.MESSAGES),
    (SHAREGPT, Form.SHAREGPT),
    ({"instruction": QUESTION, "input": "", "output": ANSWER}, Form.ALPACA),
    ({"prompt": QUESTION, "completion": ANSWER}, Form.PAIRS),
    ({"Question": QUESTION, "Answer": ANSWER}, Form.PAIRS),
    ({"prompt": OPENAI["messages"][:1], "completion": OPENAI["messages"][1:]}, Form.PAIRS),
]


@pytest.mark.parametrize(("row", "form"), ROWS)
@pytest.mark.parametrize("how", ["array", "lines", "object", "pretty"])
def test_rows_in_an_array_in_lines_or_in_an_object(tmp_path, row, form, how):
    text = {
        "array": json.dumps([row, row]),
        "lines": f"{json.dumps(row)}\n\n{json.dumps(row)}\n",
        "object": json.dumps({"version": 1, "data": [row, row]}),
        "pretty": json.dumps([row, row], indent=2),
    }[how]
    both = read(write(tmp_path / "a", text))
    assert [one.conversation.messages for one in both] == [PAIR, PAIR]
    assert {one.form for one in both} == {form}


@pytest.mark.parametrize("row", [exports.chatgpt_pair(), OPENAI, SHAREGPT, exports.open_webui()])
def test_an_object_may_hold_its_conversations_under_that_name(tmp_path, row):
    path = exports.write_json(tmp_path / "a.json", {"account": {}, "conversations": [row, row]})
    assert [one.conversation.messages for one in read(path)] == [PAIR, PAIR]


def test_an_array_of_messages_alone_is_one_conversation(tmp_path):
    path = exports.write_json(tmp_path / "a.json", OPENAI["messages"])
    assert only(path).conversation.messages == PAIR


def test_a_system_field_beside_sharegpt_s_messages_goes_before_them(tmp_path):
    path = exports.write_json(
        tmp_path / "a.json", [SHAREGPT | {"system": "Be brief.", "tools": "[]"}]
    )
    one = only(path)
    assert one.conversation.messages == (("system", "Be brief."), *PAIR)
    assert one.rules == {Mend.DROPPED_TOOLS}


def test_alpaca_s_input_and_history_are_taken(tmp_path):
    row = {
        "instruction": "And back?",
        "input": "On Sundays.",
        "output": "At six.",
        "history": [[QUESTION, ANSWER]],
    }
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == (
        *PAIR,
        ("user", "And back?\n\nOn Sundays."),
        ("assistant", "At six."),
    )


def test_of_a_chosen_and_a_rejected_reply_the_chosen_one_is_taken(tmp_path):
    row = {"prompt": QUESTION, "chosen": ANSWER, "rejected": "No idea."}
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == PAIR and one.rules == {Mend.DROPPED_REJECTED}


def test_the_fields_of_luna_s_own_rows_stay(tmp_path):
    row = OPENAI | {"id": "one", "expect": ["nine"], "paraphrases": ["Ferry, when?"], "karma": 2}
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation == schema.parse(row)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_with_named_columns(tmp_path, delimiter):
    text = delimiter.join(("id", "Prompt", "Completion")) + "\r\n"
    text += delimiter.join(("7", f'"{QUESTION}\n""Say."""', f'"{ANSWER}"')) + "\r\n"
    one = only(write(tmp_path / "a.txt", "\ufeff" + text))
    assert one.conversation.messages == (("user", f'{QUESTION}\n"Say."'), ("assistant", ANSWER))
    assert one.conversation.id == "7"


def test_a_table_of_one_message_a_row_is_put_together_by_conversation(tmp_path):
    rows = [
        ("1", "user", QUESTION),
        ("2", "user", "And back?"),
        ("1", "assistant", ANSWER),
        ("2", "assistant", "At six."),
    ]
    text = "conversation_id,role,content\n" + "".join(f'{a},{b},"{c}"\n' for a, b, c in rows)
    both = read(write(tmp_path / "a.csv", text))
    assert [one.conversation.reply for one in both] == [ANSWER, "At six."]
    assert {one.form for one in both} == {Form.ROWS}


def test_parquet_and_a_folder_of_a_saved_dataset(tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([OPENAI, OPENAI])
    (tmp_path / "hub/data").mkdir(parents=True)
    parquet.write_table(table, tmp_path / "hub/data/train-00000-of-00001.parquet")
    write(tmp_path / "hub/README.md", "# A dataset\n")
    (tmp_path / "saved").mkdir()
    with pyarrow.ipc.new_stream(tmp_path / "saved/data-00000-of-00001.arrow", table.schema) as out:
        out.write_table(table)
    exports.write_json(
        tmp_path / "saved/state.json", {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    )
    exports.write_json(tmp_path / "saved/dataset_info.json", {"features": {"messages": []}})
    zipped = tmp_path / "hub.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(tmp_path / "hub/data/train-00000-of-00001.parquet", "train.parquet")
    for source in (tmp_path / "hub", tmp_path / "saved", zipped):
        assert [one.conversation.messages for one in read(source)] == [PAIR, PAIR], source


def test_plain_text_with_labels(tmp_path):
    text = f"User: {QUESTION}\nAssistant: At nine,\nfrom the north quay.\n---\n**Q:** And back?\n**A:** At six.\n"
    both = read(write(tmp_path / "a.txt", text))
    assert both[0].conversation.messages == (
        ("user", QUESTION),
        ("assistant", "At nine,\nfrom the north quay."),
    )
    assert both[1].conversation.messages == (("user", "And back?"), ("assistant", "At six."))


@pytest.mark.parametrize("rule", ["---", "***", "___", "====", "---\n\n"])
def test_a_rule_inside_a_reply_divides_nothing(tmp_path, rule):
    reply = f"Here:\n```yaml\n{rule}\nkey: value\n```\nThat is all."
    [one] = read(write(tmp_path / "a.txt", f"user: yaml, please\nassistant: {reply}\n---\n"))
    assert one.conversation.reply == reply


def test_what_the_model_thought_is_no_part_of_a_reply(tmp_path):
    row = {"prompt": "Why?", "completion": "<think>\nHm.\n</think>\n\nBecause."}
    [one] = read(write(tmp_path / "a.jsonl", json.dumps(row).encode() + b"\n"))
    assert one.conversation.reply == "Because." and Mend.DROPPED_THINKING in one.rules


@pytest.mark.parametrize(
    "line",
    [
        "See you <This message was edited>",
        "See you <Diese Nachricht wurde bearbeitet.>",
        "See you <Mensagem editada>",
        "IMG-1.jpg (arquivo anexado)\nSee you",
        "See you\n12/31/23, 10:17\u202fPM - Ben: Esta mensagem foi apagada",
        "See you\n12/31/23, 10:17\u202fPM - Ben: Waiting for this message. This may take a while.",
    ],
)
def test_whatsapp_s_own_marks_are_not_learnt_as_speech(tmp_path, line):
    text = f"12/31/23, 10:15\u202fPM - Anna: Bye\n12/31/23, 10:16\u202fPM - Ben: {line}\n"
    [one] = read(write(tmp_path / "a.txt", text), Sides("Anna"))
    assert one.conversation.messages == (("user", "Bye"), ("assistant", "See you"))


@pytest.mark.parametrize("me", [None, "Nobody"])
def test_a_chat_of_several_days_says_too_that_a_name_is_needed(tmp_path, me):
    path = exports.write_json(tmp_path / "result.json", exports.telegram())
    with pytest.raises(InputError, match="--me NAME"):
        list(Reading(path, Sides(me)).conversations())


def test_a_link_in_a_folder_is_named(tmp_path):
    write(tmp_path / "a.jsonl", json.dumps(OPENAI).encode() + b"\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/b.jsonl").symlink_to("../a.jsonl")
    with pytest.raises(InputError, match="b.jsonl is a link"):
        list(Reading(tmp_path / "folder").conversations())


def test_the_examples_of_a_survey_show_no_secret(empty, tmp_path):
    rows = [
        {"prompt": "What is the password?", "completion": "password: hunter2hunter2"},
        {"prompt": "When does it leave?", "completion": "At nine."},
    ]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    survey = import_.run(empty.path, [path], Sides(), dry_run=True).survey
    assert survey.secrets.kinds
    assert "hunter2" not in json.dumps(survey.examples) and "At nine." in json.dumps(
        survey.examples
    )


def test_the_repository_itself_is_no_source(empty):
    for source in (Path(), Path("..")):
        with pytest.raises(InputError, match="holds this repository itself"):
            import_.run(empty.path, [empty.path / source], Sides(), dry_run=True)


def test_a_packed_file_of_lines_is_read(tmp_path):
    path = write(tmp_path / "a.jsonl.gz", gzip.compress((json.dumps(OPENAI) + "\n").encode() * 2))
    assert [one.conversation.messages for one in read(path)] == [PAIR, PAIR]


def test_utf_16_is_read(tmp_path):
    path = write(tmp_path / "a.json", json.dumps([OPENAI]).encode("utf-16"))
    assert only(path).conversation.messages == PAIR


# Chats between people


@pytest.mark.parametrize("phone", exports.WHATSAPP)
def test_whatsapp_s_export_in_the_ways_of_several_phones(tmp_path, phone):
    text = exports.WHATSAPP[phone].format(q=QUESTION, a=ANSWER)
    one = only(write(tmp_path / "_chat.txt", text), Sides("anna"))
    assert one.conversation.messages == PAIR and one.form is Form.WHATSAPP


def test_a_message_of_whatsapp_s_may_have_several_lines(tmp_path):
    text = (
        f"31.12.23, 22:15 - Anna: {QUESTION}\n31.12.23, 22:16 - Ben: At nine,\n\n- from: the quay\n"
    )
    one = only(write(tmp_path / "a.txt", text), Sides("Anna"))
    assert one.conversation.reply == "At nine,\n\n- from: the quay"


def test_after_a_silence_another_conversation_begins(tmp_path):
    text = "".join(
        f"{date}, {time} - {who}\n"
        for date, time, who in (
            ("05.01.24", "09:00", f"Anna: {QUESTION}"),
            ("05.01.24", "09:01", f"Ben: {ANSWER}"),
            ("05.01.24", "18:00", "Anna: And back?"),
            ("05.01.24", "18:01", "Ben: At"),
            ("05.01.24", "18:01", "Ben: six."),
        )
    )
    both = read(write(tmp_path / "a.txt", text), Sides("Anna"))
    assert [one.conversation.reply for one in both] == [ANSWER, "At\nsix."]


def test_one_s_own_voice_is_learnt_where_that_is_said(tmp_path):
    text = exports.WHATSAPP["android-de"].format(q=QUESTION, a=ANSWER)
    one = only(write(tmp_path / "a.txt", text), Sides("Ben", Learn.ME))
    assert one.conversation.messages == PAIR


@pytest.mark.parametrize("name", [None, "Carl"])
def test_who_you_are_in_a_chat_must_be_said_and_the_names_are_told(tmp_path, name):
    path = write(tmp_path / "a.txt", exports.WHATSAPP["ios-de"].format(q=QUESTION, a=ANSWER))
    sentence = refused(path, Sides(name))
    assert "--me NAME" in sentence and "'Anna' (1)" in sentence and "'Ben' (1)" in sentence


@pytest.mark.parametrize("whole", [False, True])
def test_telegram_s_export_of_one_chat_and_of_an_account(tmp_path, whole):
    chat: dict[str, Any] = exports.telegram()
    if whole:
        chat = {
            "about": "Here is the data you requested.",
            "contacts": {"list": []},
            "chats": {"list": [chat]},
        }
    both = read(exports.write_json(tmp_path / "result.json", chat, indent=1), Sides("Anna"))
    assert [one.conversation.messages for one in both] == [
        PAIR,
        (("user", "And back?"), ("assistant", "At six.")),
    ]
    assert all(Mend.DROPPED_MEDIA in one.rules for one in both)


# Rules of mending


def turns(*pairs: tuple[str, str]) -> Draft:
    return Draft(Form.MESSAGES, [Turn(Role(role), text) for role, text in pairs])


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (turns(*PAIR, ("user", "And back?")), Mend.DROPPED_TAIL),
        (turns(("assistant", "Hello, how can I help?"), *PAIR), Mend.DROPPED_GREETING),
        (turns(PAIR[0], ("system", "Be brief."), PAIR[1]), Mend.DROPPED_SYSTEM),
        (turns(PAIR[0], ("assistant", " \n"), PAIR[1]), Mend.DROPPED_EMPTY),
        (turns(("user", f"\x1b[31m{QUESTION}\x1b[0m\x07"), PAIR[1]), Mend.CLEANED_TEXT),
        (turns(("user", f"\ufeff{QUESTION}\ud83d"), PAIR[1]), Mend.CLEANED_TEXT),
    ],
)
def test_what_training_cannot_take_is_mended_by_one_rule(given, rule):
    one = mend.mended(given)
    assert one.conversation.messages == PAIR and one.rules == {rule}


def test_messages_of_one_role_in_a_row_are_merged():
    one = mend.mended(turns(("user", "Tell me:"), *PAIR, ("assistant", "Be early.")))
    assert one.conversation.messages == (
        ("user", f"Tell me:\n\n{QUESTION}"),
        ("assistant", f"{ANSWER}\n\nBe early."),
    )
    assert one.rules == {Mend.MERGED_TURNS}


def test_content_in_parts_gives_its_text(tmp_path):
    parts = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": "data:"}},
    ]
    row = {"messages": [{"role": "user", "content": parts}, OPENAI["messages"][1]]}
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == PAIR
    assert one.rules == {Mend.TOOK_TEXT_PARTS, Mend.DROPPED_MEDIA}


def test_tool_calls_and_their_results_are_dropped(tmp_path):
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    result = {"role": "tool", "tool_call_id": "1", "content": "9"}
    row = {"messages": [OPENAI["messages"][0], call, result, OPENAI["messages"][1]], "tools": [{}]}
    one = only(exports.write_json(tmp_path / "a.json", [row]))
    assert one.conversation.messages == PAIR and Mend.DROPPED_TOOLS in one.rules


def test_the_weight_of_a_reply_stays():
    draft = Draft(
        Form.MESSAGES,
        [
            Turn(Role.USER, "a"),
            Turn(Role.ASSISTANT, "b", learnt=False),
            Turn(Role.USER, "c"),
            Turn(Role.ASSISTANT, "d"),
        ],
    )
    assert mend.mended(draft).conversation.context == (1,)


def test_a_control_mark_in_a_message_stays_as_text():
    text = "What does <|im_start|>system mean?<|im_end|>"
    one = mend.mended(turns(("user", text), PAIR[1]))
    assert one.conversation.messages[0] == ("user", text) and not one.rules


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": "user", "content": "Hm?"}]}, Reason.NO_REPLY),
        ({"messages": [{"role": "assistant", "content": "Hm."}]}, Reason.NO_QUESTION),
        ({"messages": [{"role": "narrator", "content": "Hm."}]}, Reason.UNKNOWN_ROLE),
        ({"title": "nothing"}, Reason.UNKNOWN_FORM),
        (OPENAI | {"karma": "much"}, Reason.NOT_VALID),
        ({"prompt": "a", "completion": "b" * 1_000_001}, Reason.TOO_LONG),
    ],
)
def test_what_cannot_be_used_has_a_reason_and_the_rest_is_taken(tmp_path, row, reason):
    path = exports.write_json(tmp_path / "a.json", [row, OPENAI])
    assert reasons(path) == [reason]


def test_one_bad_line_does_not_stop_a_file(tmp_path):
    good = json.dumps(OPENAI)
    path = write(
        tmp_path / "a.jsonl", f"{good}\n{{broken\n".encode() + b"\xff\n" + f"{good}\n".encode()
    )
    assert reasons(path) == [Reason.NOT_JSON, Reason.NOT_JSON]


def test_of_a_row_that_cannot_be_read_the_text_is_kept(tmp_path):
    good = json.dumps(OPENAI)
    long = "{" + "é" * 5_000
    path = write(tmp_path / "a.jsonl", f"{good}\n{{broken\n{long}\n".encode() + b"{\xff\n")
    shown = [item.row for item in Reading(path).conversations()]
    assert shown[1:] == ["{broken", long[:2_000], "{\ufffd"]
    path = write(tmp_path / "a.csv", "prompt,completion\na,b\nc,d,e\n")
    assert [item.row for item in Reading(path).conversations()][1] == "c,d,e"
    message = json.dumps({"role": "user", "content": QUESTION})
    path = write(tmp_path / "b.jsonl", f"{message}\n{{broken\n{message}\n")
    assert [item.row for item in Reading(path).conversations()][0] == "{broken"


# Bad input


@pytest.mark.parametrize("name", ["chat_template.jinja", "a.json"])
def test_a_file_beside_the_others_that_begins_like_json_and_is_none_is_passed_over(tmp_path, name):
    folder = tmp_path / "set"
    folder.mkdir()
    exports.write_json(folder / "data.json", [OPENAI])
    other = write(folder / name, "{%- for message in messages %}\n{{ message.content }}\n")
    reading = Reading(folder)
    assert len(list(reading.conversations())) == 1
    assert "not valid JSON" in reading.skipped[name]
    assert "not valid JSON" in refused(other)
    (folder / "data.json").unlink()
    assert name in refused(folder)


@pytest.mark.parametrize(
    "text",
    [
        "Frage;Antwort\nWann fährt die Fähre?;Um neun.\n",
        'When, and where?;At nine.\n"Is it, say, late?";No.\n',
        "prompt\tAntwort\r\na\tb\r\n",
    ],
)
def test_a_table_whose_columns_are_not_known_is_told_which_are(tmp_path, text):
    sentence = refused(write(tmp_path / "a.csv", text))
    for word in ("none of the forms", "first line", "question", "answer", "completion", "role"):
        assert word in sentence


@pytest.mark.parametrize(
    "text",
    [
        'a,b\n"c,d\ne,f\ng,h\n',  # to the end of the file
        '"a","b"\n"c","d\n"e","f"\n"g","h"\n',  # closed by the quote that opens the next row
    ],
)
def test_a_quote_that_is_not_closed_is_named_with_its_line(tmp_path, text):
    path = write(tmp_path / "a.csv", "prompt,completion\n" + text)
    assert "line 3" in refused(path) and "quote" in refused(path)


def test_a_quote_inside_a_line_of_a_table_stops_nothing(tmp_path):
    text = 'prompt,completion\n"a" said she,b\n"c\n""d""\ne",f\ng,h "i" j\n'
    path = write(tmp_path / "a.csv", text)
    assert [one.conversation.messages[0][1] for one in read(path)] == [
        "a said she",
        'c\n"d"\ne',
        "g",
    ]


def test_a_truncated_zip_is_refused(tmp_path):
    path = exports.write_zip(
        tmp_path / "a.zip", {"conversations.json": [exports.chatgpt_pair()] * 50}
    )
    write(path, path.read_bytes()[:-300])
    assert "cut off or damaged" in refused(path)


def test_a_zip_with_a_flipped_byte_is_refused(tmp_path):
    path = exports.write_zip(
        tmp_path / "a.zip", {"conversations.json": [exports.chatgpt_pair()] * 50}
    )
    data = bytearray(path.read_bytes())
    data[400] ^= 0xFF
    assert "cut off or damaged" in refused(write(path, bytes(data)))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = exports.write_zip(tmp_path / "a.zip", {"conversations.json": b"[" + b" " * 120_000_000})
    assert "zip bomb" in refused(path)


def test_a_packed_file_that_grows_without_end_is_refused(tmp_path, monkeypatch):
    from luna.importing import source

    monkeypatch.setattr(source, "FREE_BYTES", 1_000_000)
    path = write(tmp_path / "a.json.gz", gzip.compress(b'[{"a": "' + b" " * 5_000_000))
    assert "zip bomb" in refused(path)


@pytest.mark.parametrize("value", [[OPENAI] * 3, {"data": [OPENAI] * 3}])
def test_json_that_is_cut_off_is_refused(tmp_path, value):
    path = write(tmp_path / "a.json", json.dumps(value, indent=1)[:-40])
    assert "not valid JSON" in refused(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html>\n<html></html>", "HTML"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "picture"),
        (b"%PDF-1.7\n", "PDF"),
        (bytes(range(256)) * 10, "binary"),
        (b"", "empty"),
        ("id,prompt,completion\n1,Wie heißt du?,Luna\n".encode("latin-1"), "UTF-8"),
        (b"just a sentence, and nothing more", "none of the forms"),
        (b'[{"title": "a"}, {"title": "b"}]', "none of the forms"),
        (b'[{"prompt": "a", "completion": "b", "n": ' + b"1" * 5000 + b"}]", "not valid JSON"),
        (b" \n\n", "empty"),
        (b"PAR1 and nothing more", "cut off or damaged"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\xffabc", "cut off or damaged"),
    ],
)
def test_a_file_that_is_something_else_is_refused_in_one_sentence(tmp_path, data, words):
    assert words in refused(write(tmp_path / "a.json", data))


def test_an_encrypted_zip_and_an_office_document_are_refused(tmp_path):
    path = exports.write_zip(
        tmp_path / "a.zip", {"[Content_Types].xml": "<Types/>", "xl/a.xml": ""}
    )
    assert "CSV" in refused(path)
    path = exports.write_zip(tmp_path / "b.zip", {"conversations.json": [OPENAI]})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "encrypted" in refused(write(path, bytes(data)))


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.json cannot be read"):
        read(tmp_path / "nowhere.json")


# Promises for any input

TEXT = st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "conversations",
                    "mapping",
                    "current_node",
                    "parent",
                    "message",
                    "author",
                    "role",
                    "content",
                    "parts",
                    "chat",
                    "history",
                    "currentId",
                    "chat_messages",
                    "sender",
                    "text",
                    "versions",
                    "currentlySelected",
                    "steps",
                    "prompt",
                    "completion",
                    "from",
                    "value",
                    "weight",
                    "id",
                    "n",
                    "system",
                    "instruction",
                    "output",
                    "input",
                    "chosen",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_any_row_gives_a_conversation_or_a_reason(value):
    located = shapes.located(shapes.Row("", value))
    if isinstance(located.content, Draft):
        try:
            one = mend.mended(located.content)
        except Unusable:
            return
        assert schema.parse(json.loads(one.line)) == one.conversation


def sources() -> dict[str, bytes]:
    """A small source of every kind of file."""
    import pyarrow
    from pyarrow import parquet

    line = (json.dumps(OPENAI) + "\n").encode()
    packed, table = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", json.dumps([exports.chatgpt_pair()]))
    parquet.write_table(pyarrow.Table.from_pylist([OPENAI]), table)
    return {
        "array": json.dumps([exports.chatgpt_pair(), exports.open_webui()]).encode(),
        "object": json.dumps(exports.lm_studio()).encode(),
        "lines": line * 2,
        "gzip": gzip.compress(line * 2),
        "zip": packed.getvalue(),
        "parquet": table.getvalue(),
        "table": b'prompt,completion\n"a, b",c\n',
        "telegram": json.dumps(exports.telegram()).encode(),
        "whatsapp": exports.WHATSAPP["ios-de"].format(q=QUESTION, a=ANSWER).encode(),
        "text": b"user: a\nassistant: b\n",
    }


SOURCES = sources()
CUTS = st.tuples(st.floats(0, 1), st.floats(0, 0.1), st.binary(max_size=3))


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\r" + SOURCES["whatsapp"],
        b"prompt\r,completion\n",
        "{}".encode("utf-16") + b"\n",
        ('{"messages": "\ud800"}').encode("utf-16", "surrogatepass"),
        ('{"a": 1}\n{"b": "\ud800"}\n').encode("utf-16", "surrogatepass"),
        ('[{"a": 1}, "\ud800"]').encode("utf-16", "surrogatepass"),
        ("prompt,completion\na,\ud800\n").encode("utf-16", "surrogatepass"),
        ("user: a\nassistant: \ud800\n").encode("utf-16", "surrogatepass"),
    ],
    ids=repr,
)
def test_of_bytes_that_no_program_writes_one_sentence_is_said(tmp_path, data):
    with pytest.raises(InputError) as raised:
        list(Reading(write(tmp_path / "source", data), Sides("Anna")).conversations())
    assert "\n" not in str(raised.value)


def test_a_name_inside_a_zip_breaks_no_line(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a\nb.json", b"[{" * 3)
    with pytest.raises(InputError) as raised:
        list(Reading(write(tmp_path / "source", packed.getvalue()), Sides()).conversations())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", SOURCES)
@given(cuts=st.lists(CUTS, min_size=1, max_size=3))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_source_gives_conversations_or_one_sentence(tmp_path, kind, cuts):
    """A piece at any place is replaced by other bytes; what comes out is never a traceback."""
    data = SOURCES[kind]
    for place, length, other in cuts:
        begin = int(place * len(data))
        data = data[:begin] + other + data[begin + int(length * len(data)) :]
    path = write(tmp_path / "source", data)
    try:
        for item in Reading(path, Sides("Anna")).conversations():
            assert isinstance(item.content, Draft | Unusable)
    except InputError as error:
        assert "\n" not in str(error)


@given(st.lists(st.tuples(st.sampled_from(Role), TEXT), max_size=8))
@settings(max_examples=300, deadline=None)
def test_what_is_mended_takes_turns_and_mending_it_again_changes_nothing(pairs):
    draft = Draft(
        Form.MESSAGES, [Turn(role, text) for role, text in pairs if role is not Role.TOOL]
    )
    try:
        one = mend.mended(draft)
    except Unusable:
        return
    again = mend.mended(turns(*one.conversation.messages))
    assert again.conversation == one.conversation and not again.rules


@given(
    st.lists(
        st.tuples(st.sampled_from(["Anna", "Ben K.", "+49 170 123"]), TEXT), min_size=1, max_size=6
    )
)
@settings(max_examples=200, deadline=None)
def test_whatsapp_s_messages_are_read_back_as_they_were_written(pairs):
    pairs = [(name, " ".join(text.split()) or "x") for name, text in pairs]
    lines = [f"31.12.23, 22:15 - {name}: {text}" for name, text in pairs]
    got = list(whatsapp.messages(lines, "\n".join(lines)))
    assert [message.sender for message in got] == [name for name, _ in pairs]
    for message, (_, text) in zip(got, pairs, strict=True):
        assert message.text in (text, "")  # empty: it looks like the program's own words


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("my password: hunter2hunter2", "Secret Keyword"),
        ("use " + "AKIA" + "QYLPMN5HHHFPZAM2 for it", "AWS Access Key"),
        ("postgres://anna:s3cret@example.org/db", "Basic Auth Credentials"),
        ("The password is on the note: look there, in room 12.", None),
        ("See https://example.org/a/b/c/d/e/f/g/1234567890", None),
    ],
)
def test_likely_secrets_are_named_by_kind_and_place(text, kind):
    leaks = Leaks()
    leaks.add(["Hello\n" + text], "item 1")
    leaks.finish()
    assert leaks.kinds == ({kind: 1} if kind else {})
    assert leaks.where == (["item 1"] if kind else []) and leaks.complete


def test_near_duplicates_are_counted_and_others_are_not():
    kept = near.NearDuplicates()
    long = "The ferry leaves at nine from the north quay, and comes back at six in the evening. "
    kept.add(near.plain(long))
    kept.add(near.plain(long.upper() + "!"))
    kept.add(near.plain(long.replace("nine", "ten")))
    kept.add(
        near.plain("Bread is sold at the harbour from seven in the morning, but never on a Sunday.")
    )
    assert kept.count == 2
