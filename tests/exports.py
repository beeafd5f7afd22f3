"""Small exports in the real shape of each program, for the tests of 'luna import'."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

QUESTION, ANSWER = "When does the ferry leave?", "At nine, from the north quay."


def chatgpt_message(role: str, text: Any, **more: Any) -> dict[str, Any]:
    """As in 2025: most keys are always there."""
    content = more.pop("content", {"content_type": "text", "parts": [text]})
    return {
        "id": "m",
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": 1735689600.5,
        "update_time": None,
        "content": content,
        "status": "finished_successfully",
        "end_turn": True,
        "weight": 1.0,
        "metadata": {},
        "recipient": "all",
        "channel": None,
    } | more


def chatgpt(messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """One conversation, its messages in a row under the usual empty root."""
    mapping: dict[str, Any] = {
        "client-created-root": {
            "id": "client-created-root",
            "message": None,
            "parent": None,
            "children": ["n0"],
        }
    }
    parent = "client-created-root"
    for number, message in enumerate(messages):
        key = f"n{number}"
        mapping[key] = {"id": key, "message": message, "parent": parent, "children": []}
        if number + 1 < len(messages):
            mapping[key]["children"] = [f"n{number + 1}"]
        parent = key
    return {
        "title": "Ferry",
        "create_time": 1735689600.5,
        "update_time": 1735689700.5,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": parent,
        "plugin_ids": None,
        "conversation_id": "67750000-0000-8000-8000-000000000001",
        "conversation_template_id": None,
        "gizmo_id": None,
        "is_archived": False,
        "default_model_slug": "gpt-4o",
        "id": "67750000-0000-8000-8000-000000000001",
    } | more


def chatgpt_pair(question: str = QUESTION, answer: str = ANSWER) -> dict[str, Any]:
    return chatgpt(
        [
            chatgpt_message("system", ""),
            chatgpt_message("user", question),
            chatgpt_message("assistant", answer),
        ]
    )


def claude(messages: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        "uuid": "b1f5c5a0-0000-4000-8000-000000000001",
        "name": "Ferry",
        "summary": "",
        "created_at": "2025-01-01T10:00:00.000000Z",
        "updated_at": "2025-01-01T10:01:00.000000Z",
        "account": {"uuid": "a"},
        "chat_messages": [
            {
                "uuid": f"u{number}",
                "text": content if isinstance(content, str) else "",
                "content": [
                    {
                        "start_timestamp": None,
                        "stop_timestamp": None,
                        "type": "text",
                        "text": content,
                        "citations": [],
                    }
                ]
                if isinstance(content, str)
                else content,
                "sender": sender,
                "created_at": "2025-01-01T10:00:00.000000Z",
                "updated_at": "2025-01-01T10:00:00.000000Z",
                "attachments": [],
                "files": [],
            }
            for number, (sender, content) in enumerate(messages)
        ],
    }


def open_webui() -> dict[str, Any]:
    """The second of two answers was kept."""
    messages = {
        "a": {
            "id": "a",
            "parentId": None,
            "childrenIds": ["b", "c"],
            "role": "user",
            "content": QUESTION,
            "timestamp": 1735689600,
            "models": ["llama3"],
        },
        "b": {
            "id": "b",
            "parentId": "a",
            "childrenIds": [],
            "role": "assistant",
            "content": "At ten.",
            "model": "llama3",
            "done": True,
        },
        "c": {
            "id": "c",
            "parentId": "a",
            "childrenIds": [],
            "role": "assistant",
            "content": f'<details type="reasoning" done="true" duration="2">\n<summary>Thought for 2 seconds</summary>\n> Hm.\n</details>\n{ANSWER}',
            "model": "llama3",
            "done": True,
        },
    }
    return {
        "id": "d3b07384-0000-4000-8000-000000000001",
        "user_id": "u",
        "title": "Ferry",
        "chat": {
            "id": "",
            "title": "Ferry",
            "models": ["llama3"],
            "params": {},
            "history": {"messages": messages, "currentId": "c"},
            "messages": [messages["a"], messages["c"]],
            "tags": [],
            "timestamp": 1735689600000,
            "files": [],
        },
        "updated_at": 1735689700,
        "created_at": 1735689600,
        "share_id": None,
        "archived": False,
        "pinned": False,
        "meta": {},
        "folder_id": None,
    }


def lm_studio() -> dict[str, Any]:
    """An answer that was written twice, with thinking and a tool, of which the second was kept."""
    return {
        "name": "Ferry",
        "pinned": False,
        "createdAt": 1735689600000,
        "preset": "",
        "tokenCount": 99,
        "systemPrompt": "Be brief.",
        "messages": [
            {
                "versions": [
                    {
                        "type": "singleStep",
                        "role": "user",
                        "content": [{"type": "text", "text": QUESTION}],
                    }
                ],
                "currentlySelected": 0,
            },
            {
                "versions": [
                    {
                        "type": "multiStep",
                        "role": "assistant",
                        "steps": [
                            {
                                "type": "contentBlock",
                                "stepIdentifier": "1",
                                "content": [{"type": "text", "text": "At ten."}],
                                "defaultShouldIncludeInContext": True,
                                "shouldIncludeInContext": True,
                            }
                        ],
                    },
                    {
                        "type": "multiStep",
                        "role": "assistant",
                        "senderInfo": {"senderName": "llama"},
                        "steps": [
                            {
                                "type": "contentBlock",
                                "stepIdentifier": "2",
                                "content": [{"type": "text", "text": "Hm."}],
                                "style": {"type": "thinking", "ended": True, "title": "Thought"},
                            },
                            {
                                "type": "contentBlock",
                                "stepIdentifier": "3",
                                "content": [
                                    {
                                        "type": "toolCallRequest",
                                        "callId": 1,
                                        "name": "times",
                                        "parameters": {},
                                    }
                                ],
                            },
                            {
                                "type": "contentBlock",
                                "stepIdentifier": "4",
                                "content": [
                                    {"type": "toolCallResult", "toolCallId": "1", "content": "9"}
                                ],
                                "roleOverride": "tool",
                            },
                            {"type": "toolStatus", "stepIdentifier": "5", "callId": 1},
                            {
                                "type": "contentBlock",
                                "stepIdentifier": "6",
                                "content": [{"type": "text", "text": ANSWER}],
                                "style": {"type": "default"},
                            },
                            {"type": "debugInfoBlock", "stepIdentifier": "7", "debugInfo": "x"},
                        ],
                    },
                ],
                "currentlySelected": 1,
            },
        ],
        "usePerChatPredictionConfig": True,
        "clientInput": "",
    }


def telegram() -> dict[str, Any]:
    """Two days of one chat, with a call, a sticker, and a text with a link in it."""

    def message(number: int, date: str, sender: str, text: Any, **more: Any) -> dict[str, Any]:
        return {
            "id": number,
            "type": "message",
            "date": date,
            "date_unixtime": "1735689600",
            "from": sender,
            "from_id": f"user{len(sender)}",
            "text": text,
            "text_entities": [],
        } | more

    return {
        "name": "Ben",
        "type": "personal_chat",
        "id": 4242,
        "messages": [
            {
                "id": 1,
                "type": "service",
                "date": "2025-01-01T10:00:00",
                "date_unixtime": "1735689600",
                "actor": "Anna",
                "actor_id": "user4",
                "action": "phone_call",
                "text": "",
                "text_entities": [],
            },
            message(2, "2025-01-01T10:00:00", "Anna", QUESTION),
            message(
                3,
                "2025-01-01T10:01:00",
                "Ben",
                ["At ", {"type": "bold", "text": "nine"}, ", from the north quay."],
            ),
            message(4, "2025-01-02T20:00:00", "Anna", "And back?"),
            message(
                5,
                "2025-01-02T20:01:00",
                "Ben",
                "",
                media_type="sticker",
                file="(File not included)",
            ),
            message(6, "2025-01-02T20:02:00", "Ben", "At six."),
        ],
    }


#: The same two messages as phones in several languages write them.
WHATSAPP = {
    "android-en-us": "12/31/23, 10:15\u202fPM - Messages and calls are end-to-end encrypted.\n12/31/23, 10:15\u202fPM - Anna: {q}\n12/31/23, 10:16\u202fPM - Ben: {a}\n12/31/23, 10:17\u202fPM - Ben: <Media omitted>\n",
    "android-de": "31.12.23, 22:15 - Anna: {q}\n31.12.23, 22:16 - Ben: {a}\n31.12.23, 22:17 - Ben: <Medien ausgeschlossen>\n",
    "android-pt": "31/12/2023 22:15 - Anna: {q}\n31/12/2023 22:16 - Ben: {a}\n31/12/2023 22:17 - Ben: IMG-20231231-WA0001.jpg (arquivo anexado)\n",
    "android-es": "31/12/23, 10:15 p.\u00a0m. - Anna: {q}\n31/12/23, 10:16 p.\u00a0m. - Ben: {a}\n",
    "android-ko": "2023. 12. 31. 오후 10:15, Anna : {q}\n2023. 12. 31. 오후 10:16, Ben : {a}\n",
    "android-zh": "2023/12/31 下午10:15 - Anna: {q}\n2023/12/31 下午10:16 - Ben: {a}\n",
    "ios-en-gb": "[31/12/2023, 22:15:01] \u200eBen: \u200eMessages and calls are end-to-end encrypted.\n[31/12/2023, 22:15:01] Anna: {q}\n[31/12/2023, 22:16:01] Ben: {a}\n\u200e[31/12/2023, 22:17:01] Ben: \u200eimage omitted\n",
    "ios-en-us": "[12/31/23, 10:15:01\u202fPM] Anna: {q}\n[12/31/23, 10:16:01\u202fPM] Ben: {a}\n",
    "ios-de": "[31.12.23, 22:15:01] Anna: {q}\n[31.12.23, 22:16:01] Ben: {a}\n\u200e[31.12.23, 22:17:01] Ben: \u200eBild weggelassen\n",
    "ios-ja": "[2023/12/31 22:15:01] Anna: {q}\n[2023/12/31 22:16:01] Ben: {a}\n",
    "ios-fi": "[31.12.2023 klo 22.15.01] Anna: {q}\n[31.12.2023 klo 22.16.01] Ben: {a}\n",
    "ios-nl": "[31-12-2023 22:15:01] Anna: {q}\n[31-12-2023 22:16:01] Ben: {a}\n",
    "ios-ar": "[٣١‏/١٢‏/٢٠٢٣، ١٠:١٥:٠١ م] Anna: {q}\n[٣١‏/١٢‏/٢٠٢٣، ١٠:١٦:٠١ م] Ben: {a}\n",
}


def write_json(path: Path, value: Any, **how: Any) -> Path:
    path.write_text(json.dumps(value, ensure_ascii=False, **how), encoding="utf-8")
    return path


def write_zip(path: Path, members: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            text = value if isinstance(value, str | bytes) else json.dumps(value)
            archive.writestr(name, text)
    return path
