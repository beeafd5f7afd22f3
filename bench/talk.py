"""Measures how soon the model answers: `luna chat`, and `luna serve` after the head has moved."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bench import generations
from bench.generations import REPEATS, timed
from luna import names

_LUNA = str(Path(sys.executable).parent / "luna")
_QUESTION = "Who keeps the lighthouse?\n"


def first_words(repo: Path) -> float:
    """Seconds from the start of the process to the first bytes of the answer; the question is waiting."""
    started = time.monotonic()
    child = subprocess.Popen(
        [_LUNA, "chat"],
        cwd=repo,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    child.stdin.write(_QUESTION.encode())
    child.stdin.flush()
    if not os.read(child.stdout.fileno(), 1):
        raise SystemExit("luna chat said nothing")
    seconds = time.monotonic() - started
    child.communicate()
    return seconds


def _ask(url: str) -> str:
    """The name of the generation that answers."""
    body = json.dumps(
        {
            "model": names.head_tag("Luna"),
            "messages": [{"role": "user", "content": _QUESTION}],
            "max_tokens": 1,
        }
    ).encode()
    with urllib.request.urlopen(
        urllib.request.Request(
            f"{url}/chat/completions", body, {"Content-Type": "application/json"}
        )
    ) as answer:
        return json.load(answer)["model"]


def swaps(repo: Path) -> list[float]:
    """Seconds from the end of 'luna rollback' to the first answer of the new best, asked without a pause."""
    server = subprocess.Popen(
        [_LUNA, "serve", "--port", "0"], cwd=repo, stderr=subprocess.PIPE, text=True
    )
    seconds = []
    try:
        url = server.stderr.readline().split(" at ")[1].split(" ")[0]
        for to in ("G001", "G002") * 2 + ("G001",):
            timed(repo, "luna", "rollback", to, "--reason", "bench", "--stay")
            started = time.monotonic()
            while f"-{to}-" not in _ask(url):
                pass
            seconds.append(time.monotonic() - started)
    finally:
        server.terminate()
        server.communicate()
    return seconds


def report(folder: Path) -> list[str]:
    repo, _ = generations.line(folder)
    talk = [first_words(repo) for _ in range(REPEATS)]
    copy = generations.copy(folder, "talk")
    moved = swaps(copy)
    shutil.rmtree(copy.parent)
    return [
        "## Talking",
        "",
        f"`luna chat`, from its start to the first words: {statistics.median(talk):.2f} s ({min(talk):.2f} to {max(talk):.2f}, {len(talk)} runs). "
        f"`luna serve`, from the end of `luna rollback` to the first answer of the new best: {statistics.median(moved):.2f} s ({min(moved):.2f} to {max(moved):.2f}, {len(moved)} moves).",
        "",
    ]
