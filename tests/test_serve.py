"""luna serve, asked by the official client: the head moves under load, and bad requests."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from conftest import BIN

ASK = [{"role": "user", "content": "What is the harbour word number 1?"}]


@contextlib.contextmanager
def serving(repo, *arguments: str):
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    server = subprocess.Popen(
        ["luna", "serve", "--port", "0", *arguments],
        cwd=repo.path,
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told = server.stderr.readline()
        assert " at http" in told, told + server.stderr.read()
        yield told.split(" at ")[1].split(" ")[0]
    finally:
        server.terminate()
        server.communicate()


def client(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=120)


def test_200_requests_while_the_head_moves_and_none_fails(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    with serving(repo) as url, ThreadPoolExecutor(16) as workers:
        luna = client(url)
        assert [model.id for model in luna.models.list()][0] == "Luna-GHEAD"

        def ask(number: int) -> str:
            if number % 2:
                return luna.chat.completions.create(
                    model="Luna-GHEAD", messages=ASK, max_tokens=8
                ).model
            chunks = list(
                luna.chat.completions.create(
                    model="Luna-GHEAD", messages=ASK, max_tokens=8, stream=True
                )
            )
            assert (
                chunks[-1].choices[0].finish_reason == "length"
            )  # at random weights it does not end by itself
            return chunks[0].model

        asked = [workers.submit(ask, number) for number in range(200)]
        asked[10].result()
        repo.luna("rollback", "G001", "--reason", "a test", "--stay")
        names = {done.result()[:9] for done in asked}
        until = time.monotonic() + 30
        while not (answered := ask(1)).startswith("Luna-G001") and time.monotonic() < until:
            pass
        assert (
            answered.startswith("Luna-G001")
            and "Luna-G003" in names
            and names <= {"Luna-G001", "Luna-G003"}
        )
        assert luna.chat.completions.create(
            model="G000", messages=ASK, max_tokens=2
        ).model.startswith("Luna-G000")


def test_bad_requests_are_refused_and_serving_goes_on(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    with serving(repo, "--api-key", "secret") as url:
        luna = client(url, "secret")
        with pytest.raises(openai.AuthenticationError):
            client(url).models.list()
        with pytest.raises(openai.NotFoundError, match="G044"):
            luna.chat.completions.create(model="G044", messages=ASK)
        with pytest.raises(openai.BadRequestError, match="tokens long"):
            luna.chat.completions.create(
                model="Luna-GHEAD", messages=[{"role": "user", "content": "word " * 5000}]
            )
        with pytest.raises(openai.BadRequestError):
            luna.chat.completions.create(model="Luna-GHEAD", messages=[])
        with pytest.raises((openai.APIStatusError, openai.APIConnectionError)):
            luna.chat.completions.create(
                model="Luna-GHEAD", messages=[{"role": "user", "content": "x" * 10_000_000}]
            )
        luna.chat.completions.create(
            model="Luna-GHEAD", messages=ASK, max_tokens=500, stream=True
        ).close()  # hangs up
        assert (
            luna.chat.completions.create(model="Luna-GHEAD", messages=ASK, max_tokens=2)
            .choices[0]
            .message.content
            is not None
        )
        assert b'"ok"' in urllib.request.urlopen(url.replace("/v1", "/health")).read()


def test_a_port_in_use_is_one_sentence(line):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert "give another with --port" in line.luna("serve", "--port", port, code=2).stderr


def test_a_generation_deleted_while_served_goes_on_and_another_comes_from_cold_storage(
    line, tmp_path
):
    repo = line.copy(tmp_path / "repo")
    with serving(repo) as url:
        luna = client(url)

        def ask(model: str):
            return luna.chat.completions.create(model=model, messages=ASK, max_tokens=8)

        before = ask("Luna-GHEAD")
        streamed = luna.chat.completions.create(
            model="Luna-GHEAD", messages=ASK, max_tokens=8, stream=True
        )
        (repo.path / "models/model.gguf").unlink()
        shutil.rmtree(repo.path / ".dvc/cache")
        assert (
            "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
            == before.choices[0].message.content
        )
        after = ask("Luna-GHEAD")
        assert (
            after.model == before.model
            and after.choices[0].message.content == before.choices[0].message.content
        )
        assert ask("G001").model.startswith("Luna-G001")

        shutil.rmtree(repo.path / ".dvc/cache")
        repo.cold.rename(tmp_path / "away")
        with pytest.raises(openai.InternalServerError, match="G000|cold"):
            ask("G000")
        assert ask("Luna-GHEAD").choices[0].message.content == before.choices[0].message.content
