"""Measures `luna serve` beside bare llama-server, and under load while the head moves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from bench import generations
from bench.generations import timed
from luna import names
from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.sharing.server import llama_server

CONCURRENCY = (1, 4, 16)
_ROUNDS = 3  # of both servers in turn, so that what else the machine does hits both
_TOKENS = 48  # of each answer
_MOVES = 10
_LUNA = str(Path(sys.executable).parent / "luna")
_QUESTIONS = (
    "Who keeps the lighthouse?",
    "What is the ferry called?",
    "Tell me about the harbour.",
)
_HEAD = names.head_tag("Luna")


@dataclass(frozen=True)
class Load:
    """Of one load: tokens of all answers per second of wall clock, and seconds to each answer's first word."""

    rate: float
    first: list[float]


@contextlib.contextmanager
def bare(model: Path) -> Iterator[str]:
    """llama-server by itself, with the options that `luna serve` gives it."""
    with GgufVocabulary(model, vocabulary_only=True) as vocabulary:
        free = psutil.virtual_memory().available
        shape = llama_server.window(vocabulary, None, llama_server.PARALLEL, free)
    port = "8977"
    command = [llama_server.program(), "--model", model, "--port", port]
    child = subprocess.Popen(
        [*map(str, command), *llama_server.options(shape)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        child.terminate()
        child.wait()


@contextlib.contextmanager
def fronted(repo: Path) -> Iterator[str]:
    server = subprocess.Popen(
        [_LUNA, "serve", "--port", "0"], cwd=repo, stderr=subprocess.PIPE, text=True
    )
    try:
        yield server.stderr.readline().split(" at ")[1].split(" ")[0]
    finally:
        server.terminate()
        server.communicate()


async def _one(session: aiohttp.ClientSession, url: str, number: int) -> tuple[float, int, str]:
    """Seconds to the first word, the tokens of the answer, and who gave it."""
    body = {
        "model": _HEAD,
        "messages": [
            {"role": "system", "content": "You are Luna."},
            {"role": "user", "content": f"{_QUESTIONS[number % 3]} ({number})"},
        ],
        "max_tokens": _TOKENS,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, tokens, who = time.monotonic(), 0.0, 0, ""
    async with session.post(f"{url}/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise SystemExit(f"an answer ended: {event}")
            who = event["model"]
            if event["choices"] and event["choices"][0]["delta"].get("content") and not first:
                first = time.monotonic() - began
            tokens = event.get("usage", {}).get("completion_tokens", tokens)
    return first, tokens, who


async def _wait(session: aiohttp.ClientSession, url: str) -> None:
    """Until the server is up, and has answered once."""
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            await _one(session, url, -1)
            return
        await asyncio.sleep(0.1)


async def _patiently(
    session: aiohttp.ClientSession, url: str, number: int
) -> tuple[float, int, str]:
    """Asks again where the connection is closed before anything comes, as bare llama-server does now and then under load."""
    while True:
        with contextlib.suppress(aiohttp.ClientConnectionError):
            return await _one(session, url, number)
        await asyncio.sleep(0.05)


async def _load(url: str, concurrency: int, count: int) -> Load:
    """``count`` requests, so many at a time, each on a connection of its own."""
    results, numbers = [], iter(range(count))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        await _wait(session, url)
        began = time.monotonic()

        async def worker() -> None:
            for number in numbers:
                results.append(await _patiently(session, url, number))

        await asyncio.gather(*(worker() for _ in range(concurrency)))
        seconds = time.monotonic() - began
    return Load(
        sum(tokens for _, tokens, _ in results) / seconds, [first for first, _, _ in results]
    )


def beside(repo: Path) -> list[str]:
    """A row for each concurrency: both servers, their ratio, and the times to the first word."""
    rows = []
    with bare((repo / "models/model.gguf").resolve()) as alone, fronted(repo) as ours:
        for concurrency in CONCURRENCY:
            loads: dict[str, list[Load]] = {alone: [], ours: []}
            for _ in range(_ROUNDS):
                for url, seen in loads.items():
                    seen.append(asyncio.run(_load(url, concurrency, max(4, 2 * concurrency))))
            rates = {
                url: statistics.median(load.rate for load in seen) for url, seen in loads.items()
            }
            ratio = statistics.median(
                mine.rate / theirs.rate
                for mine, theirs in zip(loads[ours], loads[alone], strict=True)
            )
            cells = [f"{rates[alone]:.1f}", f"{rates[ours]:.1f}", f"{ratio:.2f}"]
            for url in (alone, ours):
                firsts = sorted(first for load in loads[url] for first in load.first)
                p95 = firsts[min(len(firsts) - 1, int(0.95 * len(firsts)))]
                cells.append(f"{statistics.median(firsts):.2f}, {p95:.2f}")
            rows.append(f"| {concurrency} | " + " | ".join(cells) + " |")
    return rows


async def _while_moving(repo: Path, url: str) -> tuple[int, list[float]]:
    """200 requests, 16 at a time, while the head moves: how many were answered, and seconds to each new head's first answer."""
    seconds: list[float] = []
    answered = 0
    numbers = iter(range(200))
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def worker() -> None:
            nonlocal answered
            for number in numbers:
                await _one(session, url, number)
                answered += 1

        async def move() -> None:
            for count in range(_MOVES):
                to = f"G00{count % 2}"
                command = ("luna", "rollback", to, "--reason", "bench", "--stay")
                await asyncio.to_thread(timed, repo, *command)
                began = time.monotonic()
                while f"-{to}-" not in await _who(session, url):
                    pass
                seconds.append(time.monotonic() - began)

        await asyncio.gather(move(), *(worker() for _ in range(16)))
    return answered, seconds


async def _who(session: aiohttp.ClientSession, url: str) -> str:
    body = {"model": _HEAD, "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 1}
    async with session.post(f"{url}/chat/completions", json=body) as answer:
        return (await answer.json())["model"]


def report(folder: Path) -> list[str]:
    repo, _ = generations.line(folder)
    before = os.getloadavg()
    rows = beside(repo)
    copy = generations.copy(folder, "serving")
    with fronted(copy) as url:
        answered, moved = asyncio.run(_while_moving(copy, url))
    shutil.rmtree(copy.parent)
    after = os.getloadavg()
    return [
        "## Serving",
        "",
        f"`luna serve` beside bare llama-server with the same options and the same GGUF, in turns ({_ROUNDS} rounds, "
        f"answers of {_TOKENS} tokens, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}). The load average of the machine was {before[0]:.1f} before and {after[0]:.1f} after.",
        "",
        "| requests at a time | bare, tokens/s | luna serve, tokens/s | ratio | bare, first word p50, p95 (s) | luna serve, first word p50, p95 (s) |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        f"200 requests, 16 at a time, while the head moved {_MOVES} times: {200 - answered} failed. From the end of `luna rollback` to "
        f"the first answer of the new best: {statistics.median(moved):.2f} s ({min(moved):.2f} to {max(moved):.2f}).",
        "",
    ]
