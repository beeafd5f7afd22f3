"""luna chat with piped lines: answers, switching, comparing, and what is kept for the next generation."""

from __future__ import annotations

import json
import os
import subprocess

from conftest import BIN


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
        "What is the harbour word number 1?\n/gen G001\n/compare G001 G003\n/bad It is tide.\n/good\n/quit\nnever asked\n",
    )
    assert done.returncode == 0, done.stderr
    assert (
        "Luna-G003" in done.stderr
        and done.stdout.count("Luna-G001") == 2
        and done.stdout.count("Luna-G003") == 1
    )
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
