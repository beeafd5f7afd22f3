"""One llama-server: llama.cpp's own server as a child process, on a socket of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import llama_cpp

from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.errors import InputError, StateError
from luna.text import last_line

PARALLEL = 16  # answers written at the same time, where not given
_SECONDS_BETWEEN_LOOKS = 0.02  # while it loads its model
_SECONDS_TO_END = 5.0
_MEMORY_SHARE = 4  # a server's cells take at most this part of the memory that is free at its start
_WINDOWS = 4  # whole conversations that fit into the cells together
_SMALLEST_WINDOW = 2048
_CACHE_MEGABYTES = 512  # for the beginnings of conversations that may go on
_UNKNOWN_WINDOW = 4096  # tokens, of a model that does not say what it was made for


@dataclass(frozen=True)
class Window:
    """``tokens`` of one conversation with its answer; ``cells``: tokens of all conversations together; ``parallel`` answers."""

    tokens: int
    cells: int
    parallel: int


def window(vocabulary: GgufVocabulary, context: int | None, parallel: int, free: int) -> Window:
    """What a server of the model gets: the model's own window or ``context`` tokens, and ``free`` bytes at most in part.

    A window that was not asked for is made smaller where its cells would take too much memory. Raises InputError for one
    that the model cannot read.
    """
    own = vocabulary.context_length or _UNKNOWN_WINDOW
    affordable = free // _MEMORY_SHARE // cell_bytes(vocabulary)
    if context and context > own:
        raise InputError(
            f"The model was made for {own} tokens and cannot read {context}: give at most so many with --context, or in serve.context of params.yaml."
        )
    tokens = min(own, context or max(_SMALLEST_WINDOW, affordable))
    return Window(tokens, tokens * max(1, min(_WINDOWS, parallel, affordable // tokens)), parallel)


def cell_bytes(vocabulary: GgufVocabulary) -> int:
    """Bytes that a token of context takes: a key and a value of 16 bits in each head of each layer."""

    def number(key: str, otherwise: int) -> int:
        text = vocabulary.metadata(f"{architecture}.{key}") or ""
        return int(text) if text.isdigit() else otherwise

    architecture = vocabulary.metadata("general.architecture")
    heads = number("attention.head_count", 32)
    size = number("embedding_length", 4096) // heads
    length = number("attention.key_length", size) + number("attention.value_length", size)
    return 2 * number("block_count", 32) * number("attention.head_count_kv", heads) * length


def program() -> Path:
    """Where 'make setup' put llama.cpp's server. Raises StateError where it is not."""
    package = importlib.util.find_spec("llama_cpp")
    if package and package.origin:
        name = "llama-server.exe" if os.name == "nt" else "llama-server"
        path = Path(package.origin).parent / "lib" / name
        if path.is_file():
            return path
    raise StateError(
        "llama.cpp's server is not in this environment: run 'make setup', which builds it."
    )


class LlamaServer:
    """A running server of one model. ``ask`` is an HTTP session with it; ``url`` goes before a path.

    ``knows_tools``: whether the model's chat template says what tools there are.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, ask: aiohttp.ClientSession, url: str
    ) -> None:
        self._process, self.ask, self.url = process, ask, url
        self.knows_tools = False

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.returncode is None

    async def ended(self, seconds: float) -> bool:
        """Whether its process ends, or has ended, within so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)
        return not self.alive

    async def stop(self) -> None:
        """End the process, whatever it does."""
        await self.ask.close()
        for tell in (self._process.terminate, self._process.kill):
            if self.alive:
                with contextlib.suppress(ProcessLookupError):
                    tell()
            if await self.ended(_SECONDS_TO_END):
                break


async def start(model: Path, name: str, shape: Window, folder: Path) -> LlamaServer:
    """Start a server of the file and wait until it answers; its socket and its log are in ``folder``.

    Raises StateError, with its last words, when it ends instead.
    """
    address, url, connector = _address(folder / f"{name[-20:]}.sock")
    log = folder / f"{name}.log"
    with log.open("ab") as words:
        process = await asyncio.create_subprocess_exec(
            *(str(program()), "--model", str(model), "--alias", name, *address, *options(shape)),
            # It ends when its standard input does: also when this process is killed.
            stdin=subprocess.PIPE,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the front, which then ends it
        )
    session = aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
    )
    server = LlamaServer(process, session, url)
    try:
        while not await _answers(server):
            if await server.ended(_SECONDS_BETWEEN_LOOKS):
                raise StateError(
                    f"llama.cpp's server of {name} ended at its start ({ending(process)}): "
                    f"{last_line(log.read_text('utf-8', 'replace')) or 'it said nothing'}."
                )
        async with session.get(f"{url}/props") as answer:
            server.knows_tools = (await answer.json())["chat_template_caps"]["supports_tools"]
    except BaseException:
        await server.stop()
        raise
    return server


def ending(process: asyncio.subprocess.Process) -> str:
    """How a process ended, in words."""
    code = process.returncode or 0
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def options(shape: Window) -> list[str]:
    """What llama-server is told beside its model and its address."""
    threads = _threads()
    return [
        *("--parallel", str(shape.parallel), "--kv-unified"),
        *("--kv-unified-per-slot", str(shape.tokens), "--ctx-size", str(shape.cells)),
        *("--cache-ram", str(_CACHE_MEGABYTES)),
        *(("--threads", str(threads)) if threads else ()),
        # On a processor it sums in 16 bits, in an order that depends on where in memory a conversation lies: then what somebody
        # else asked before would change an answer.
        *(() if llama_cpp.llama_supports_gpu_offload() else ("--flash-attn", "off")),
        *("--temp", "0"),  # as in the exam, where the request does not say otherwise
        *("--embeddings", "--pooling", "mean", "--metrics", "--no-slots"),
        # Repacked weights take other kernels on other machines, and the one for AMX crashes on some.
        *("--jinja", "--no-repack", "--no-warmup", "--offline", "--verbosity", "1"),
    ]


def _threads() -> int | None:
    """Where the process has fewer cores than the machine, or OMP_NUM_THREADS says so; else llama.cpp knows better.

    More threads than free cores wait for one another at every step.
    """
    count = os.environ.get("OMP_NUM_THREADS", "")
    if count.isdigit():
        return int(count)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cores if cores != os.cpu_count() else None


def _environment() -> dict[str, str]:
    """Without what would set llama-server's options; the variable makes it end with its standard input."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LLAMA_", "AIP_"))
    }
    return kept | {"LLAMA_SERVER_ROUTER_PORT": "0"}


def _address(path: Path) -> tuple[list[str], str, aiohttp.BaseConnector]:
    """A Unix socket, which only this user reaches; on Windows, a free port of the loopback interface.

    A connection serves one request: llama-server closes an idle one while the next request is on its way.
    """
    if os.name != "nt":
        path.unlink(missing_ok=True)
        return (
            ["--host", str(path)],
            "http://llama-server",
            aiohttp.UnixConnector(str(path), limit=0),
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    at = ["--host", "127.0.0.1", "--port", str(port)]
    return at, f"http://127.0.0.1:{port}", aiohttp.TCPConnector(limit=0, force_close=True)


async def _answers(server: LlamaServer) -> bool:
    try:
        async with server.ask.get(f"{server.url}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
