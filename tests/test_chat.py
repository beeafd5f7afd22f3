"""luna chat with piped lines: answers, switching, comparing, and what is kept for the next generation."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator

import pytest
from conftest import BIN, Repo

from luna.conversations import schema
from luna.errors import InputError, StateError
from luna.operations import votes
from luna.sharing.chat import COMMANDS, Chat, messages


def talk(repo, text: str | bytes, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["luna", "chat", *arguments, "--max-tokens", "6"],
        cwd=repo.path,
        env=env,
        input=text,
        capture_output=True,
        text=isinstance(text, str),
    )
    if isinstance(text, bytes):
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_chat_answers_switches_compares_and_keeps_a_correction(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    done = talk(
        repo,
        "What is the harbour word number 1?\n/gen G001\n/prefer G003\n/compare G001 G003\n/prefer G003\n/bad It is tide.\n/good\n/quit\nnever asked\n",
    )
    assert done.returncode == 2, done.stderr  # one of the commands could not be done
    assert (
        "Luna-G003" in done.stderr
        and done.stdout.count("Luna-G001") == 2
        and done.stdout.count("Luna-G003") == 1
    )
    assert "/compare G002 G003" in done.stderr  # before there was something to prefer
    [pair] = votes.pairs(repo.path)
    assert (pair.a_better, pair.b_better, pair.blind) == (0, 1, 0)
    [kept] = (repo.path / "data/inbox").iterdir()
    assert json.loads(kept.read_text())["messages"] == [
        {"role": "user", "content": "What is the harbour word number 1?"},
        {"role": "assistant", "content": "It is tide."},
    ]


def test_a_command_that_cannot_be_done_is_one_sentence_and_the_talk_goes_on(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    done = talk(repo, "/good\n/gen G009\n/what\nhello\n/bad\n", "G001")
    assert done.returncode == 2 and done.stdout.strip()
    for words in ("no answer yet", "no generation 'G009'", "no /what", "/bad CORRECTION"):
        assert words in done.stderr
    assert not (repo.path / "data/inbox").exists()
    # A line that is no text is named, and the next one is answered.
    done = talk(repo, b"\xff\nhello", "G001")
    assert done.returncode == 2 and "UTF-8" in done.stderr and done.stdout.strip()
    done = talk(repo, "hello", "G001")  # as `echo -n hello | luna chat`
    assert done.returncode == 0 and done.stdout.strip()
    closed = repo.run("sh", "-c", "luna chat G001 <&-")
    assert "Traceback" not in closed.stderr
    assert "there are" in talk(repo, "", "G044").stderr


QUESTION = "What is the harbour word number 1?"


@pytest.fixture
def chat(line, tmp_path) -> Iterator[Chat]:
    """A talk with G001 in a copy of the line; what it writes and tells is in ``written`` and ``told``."""
    repo = line.copy(tmp_path / "repo")
    written: list[str] = []
    told: list[str] = []
    talk = Chat(repo.path, "Luna", "G001", 6, written.append, told.append)
    talk.written, talk.told = written, told
    yield talk
    talk.close()


def with_words(chat: Chat) -> None:
    """A tiny model may write nothing but line ends, which nobody would keep."""
    chat.turns = [(role, text.strip() or "Hm.") for role, text in chat.turns]


def kept(chat: Chat) -> list[list[dict]]:
    inbox = chat.root / "data/inbox"
    return [json.loads(path.read_text())["messages"] for path in sorted(inbox.glob("*.jsonl"))]


def test_the_oldest_turns_are_left_out_of_a_full_window_and_that_is_said_once(chat):
    assert chat._engine.limit == 1024  # the model's own
    chat._engine.limit = 120
    for number in range(8):
        chat.say(f"What is the harbour word number {number}?")
    assert len(chat.turns) == 16 and len(chat._engine._held) <= 120
    assert [("oldest turns" in line) for line in chat.told].count(True) == 1
    with_words(chat)
    chat.say("/good")
    [row] = kept(chat)
    assert len(row) == 16, "what is kept is the whole conversation"
    with pytest.raises(InputError, match="ask a shorter one"):
        chat.say("word " * 200)
    assert len(chat.turns) == 16
    chat.say("/new")
    chat.say(QUESTION)
    assert len(chat.turns) == 2 and chat._first == 0


def test_what_was_evaluated_is_not_evaluated_again_and_answers_stay_the_same(chat):
    for number in range(3):
        chat.say(f"What is the harbour word number {number}?")
    messages = [*chat.turns, ("user", QUESTION)]
    prompt = chat._engine.prompt(messages, chat.system)
    assert chat._engine._keep_beginning(prompt) > len(prompt) // 2
    reused = "".join(chat._engine.stream(prompt, 6))
    chat._engine._forget_all()
    assert "".join(chat._engine.stream(prompt, 6)) == reused
    assert chat._engine.answer([prompt], 6)[0].text == reused.strip()


def test_a_stopped_answer_stays_and_is_not_taught_as_it_is(chat):
    def stop(text: str) -> None:
        chat.written.append(text)
        if len(chat.written) == 3:
            raise KeyboardInterrupt

    chat.write = stop
    chat.say(QUESTION)
    assert chat.told == ["(stopped)"] and "".join(chat.written) == chat.turns[1][1] + "\n"
    with pytest.raises(InputError, match="not whole"):
        chat.say("/good")
    chat.say("/bad It is tide.")
    assert kept(chat)[0][1]["content"] == "It is tide."
    chat.say(QUESTION)
    assert len(chat.turns) == 4


def test_a_correction_teaches_the_corrected_answer_alone_and_undo_takes_it_back(chat):
    chat.say(QUESTION)
    chat.say("And number 2?")
    with_words(chat)
    before = list(chat.turns)
    chat.say("/bad It is bell.")
    [row] = kept(chat)
    assert [message.get("weight") for message in row] == [None, 0, None, None]
    chat.say("/good")
    assert sorted(len([one for one in row if "weight" in one]) for row in kept(chat)) == [0, 1]
    chat.say("/undo")
    assert len(kept(chat)) == 1 and chat.turns[3] == ("assistant", "It is bell.")
    chat.say("/undo")
    assert kept(chat) == [] and chat.turns == before
    with pytest.raises(InputError, match="no /good or /bad"):
        chat.say("/undo")
    # What lay there before is not this talk's to remove; what was taken in cannot be taken back.
    chat.say("/good")
    chat.say("/good")
    chat.say("/undo")
    assert len(kept(chat)) == 1 and "stays" in chat.written[-1]
    next((chat.root / "data/inbox").glob("*.jsonl")).unlink()
    with pytest.raises(StateError, match="no longer waits"):
        chat.say("/undo")


def test_another_system_prompt_is_part_of_what_is_kept_and_saved(chat, tmp_path):
    chat.say("/system")
    assert chat.told[-1] == "system prompt: You are Luna."
    chat.say("/system Speak\nin rhyme.")
    chat.say(QUESTION)
    with_words(chat)
    chat.say("/good")
    assert kept(chat)[0][0] == {"role": "system", "content": "Speak\nin rhyme."}
    chat.say(f"/save {tmp_path / 'talk.jsonl'}")
    saved = schema.load_file(tmp_path / "talk.jsonl")
    assert [role for role, _ in saved[0].messages] == ["system", "user", "assistant"]
    for name in (tmp_path / "talk.jsonl", ""):
        with pytest.raises(InputError):
            chat.say(f"/save {name}")


def test_regenerate_gives_another_answer_and_a_seed_the_same_ones(line):
    def answers(seed: int) -> list[str]:
        talk = Chat(line.path, "Luna", "G001", 6, lambda _: None, temperature=1.5, seed=seed)
        talk.say(QUESTION)
        heard = [talk.turns[-1][1]]
        talk.say("/regenerate")
        assert len(talk.turns) == 2
        talk.close()
        return [*heard, talk.turns[-1][1]]

    one = answers(1)
    assert one == answers(1) != answers(2) and one[0] != one[1]


def test_regenerate_before_a_question_and_help(chat):
    with pytest.raises(InputError, match="Nothing has been asked"):
        chat.say("/regenerate")
    chat.say("/help")
    assert all(any(command in line for line in chat.told) for command in COMMANDS)
    chat.say(QUESTION)
    chat.say("/regenerate")
    assert "0.8" in chat.told[-2] and len(chat.turns) == 2


def test_a_message_of_several_lines():
    text = 'one\n"""two\nthree\n"""\n"""four"""\n\n"""\nfive\n\nsix'
    assert list(messages(io.StringIO(text))) == [
        "one",
        "two\nthree",
        "four",
        "",
        "five\n\nsix",
    ]


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals on Windows")
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_in_a_terminal_it_keeps_what_was_typed_and_uses_no_colour(line, tmp_path, term):
    repo = line.copy(tmp_path / "repo")
    typed = f"{QUESTION}\r/compare G001 G003\r/good\r/quit\r"
    shown = in_terminal(repo, typed, "luna", "chat", "G001", "--max-tokens", "4", TERM=term)
    assert "kept for the next generation" in shown and shown.count("Luna-G003") >= 1
    assert not re.search(r"\x1b\[[0-9;]*[34][0-9][;m]", shown), "a colour"
    if term == "dumb":
        assert "\x1b" not in shown.removesuffix(
            "\x1b[0m"
        )  # a library of DVC's writes that at every exit
        return
    history = repo.path / ".luna/chat-history"
    assert history.stat().st_mode & 0o777 == 0o600 and QUESTION in history.read_text()


def in_terminal(repo: Repo, typed: str, *command: str, **environment: str) -> str:
    """What the command shows in a terminal where that is typed, a line whenever it asks for one."""
    import pty

    ours, theirs = pty.openpty()
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    child = subprocess.Popen(
        command, cwd=repo.path, env=env | environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown, lines, asked = b"", typed.splitlines(keepends=True), 0
    try:
        while part := os.read(ours, 65536):
            shown += part
            if b"\x1b[6n" in part:  # it asks where the cursor is
                os.write(ours, b"\x1b[1;1R")
            mark = b"> " if environment.get("TERM") == "dumb" else b"\x1b[?2004h"
            if shown.count(mark) > asked and lines:
                asked = shown.count(mark)
                os.write(ours, lines.pop(0).encode())
    except OSError:  # the other side was closed
        pass
    os.close(ours)
    assert child.wait() == 0, shown
    return shown.decode()
