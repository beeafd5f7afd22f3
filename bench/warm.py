"""A python that has loaded what is slow to load: what it is given to run, it runs in a fork of itself.

A stage of a tiny model takes a second, and its imports ten. `Warm` starts a server that has done the imports, and a command that takes
python's place: put ``bin`` first in the PATH, and the stages that `dvc repro` starts by `python -m stages.train` become forks.
Luna's own modules are not loaded before the fork, so each runs as it lies in its repository. Training has a server of its own,
since unsloth changes the modules that it is imported with.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

_LOADED = (
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "peft",
    "safetensors.torch",
    "tokenizers",
    "huggingface_hub",
    "sentencepiece",
    "llama_cpp",
    "pydantic",
    "ruamel.yaml",
    "psutil",
    "dvc.cli",
    "dvc.repo",
    "dvc.commands.repro",
    "dvc_data.hashfile.build",
)
_TRAINER = ("unsloth", "datasets", "trl", "dvclive")
_TRAIN_STAGE = "stages.train"
_SECONDS = "seconds"  # a line for each run
_PATIENCE = 600.0  # seconds for the imports, on a machine that is busy
#: What is run by its name as well, through the program of that name beside python.
_PROGRAMS = ("luna", "dvc")
_CLIENT = """\
#!{python} -SEs
import json, os, socket, sys
args = {before!r} + sys.argv[1:]
if not {before!r} and (not args or args[0] not in ("-m", "-c") and not args[0].endswith(".py")):
    os.execv({python!r}, [{python!r}, *args])  # with switches of its own, or nothing to run
try:
    os.fstat(0)
except OSError:
    os.open(os.devnull, os.O_RDONLY)  # a closed input cannot be handed on, and its number would be the socket's
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({sockets!r} + ("/train" if {stage!r} in args else "/plain"))
    question = {{"argv": args, "cwd": os.getcwd(), "env": dict(os.environ), "python": {own!r}}}
    socket.send_fds(asked, [json.dumps(question).encode() + b"\\n"], [0, 1, 2])
    answer = asked.makefile().readline()
sys.exit(int(answer or 134))  # without an answer it crashed
"""


class Warm:
    """``bin`` holds a `python`, a `luna` and a `dvc`; they work until the end of the ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self._sockets = folder / "sockets"

    def __enter__(self) -> Warm:
        self.bin.mkdir(parents=True)
        self._sockets.mkdir()
        python = self.bin / "python"
        here = Path(sys.executable).parent
        programs = {"python": [], **{name: [str(here / name)] for name in _PROGRAMS}}
        for name, before in programs.items():
            client = self.bin / name
            client.write_text(
                _CLIENT.format(
                    python=sys.executable,
                    own=str(python),
                    before=before,
                    sockets=str(self._sockets),
                    stage=_TRAIN_STAGE,
                ),
                encoding="utf-8",
            )
            client.chmod(0o755)
        self._server = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-m", __name__, str(self._sockets)],
            cwd=Path(__file__).resolve().parents[1],
            start_new_session=True,
        )
        began = time.monotonic()
        while not all((self._sockets / name).exists() for name in ("plain", "train")):
            if self._server.poll() is not None or time.monotonic() - began > _PATIENCE:
                self.__exit__(None, None, None)
                raise RuntimeError("the warm python did not start")
            time.sleep(0.05)
        return self

    def seconds(self) -> float:
        """Of a processor, used by all that was run so far, each with the processes that it started itself."""
        path = self._sockets / _SECONDS
        return sum(map(float, path.read_text().split())) if path.is_file() else 0.0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()


def _listen(path: Path) -> None:
    """Run each question in a fork, for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path.with_suffix(".new")))
        server.listen(16)
        path.with_suffix(".new").rename(path)  # there is one to be seen when it listens
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _answer(connection, path.with_name(_SECONDS))
            connection.close()


def _answer(connection: socket.socket, seconds: Path) -> None:
    """Run what is asked in this process, note what it took in ``seconds``, say its exit status and end."""
    before = sum(os.times()[:4])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    question = json.loads(data)
    for own, given in enumerate(descriptors):
        os.dup2(given, own)
        os.close(given)
    for name, stream in (("stdout", 1), ("stderr", 2)):
        setattr(
            sys,
            name,
            os.fdopen(
                stream,
                "w",
                encoding="utf-8",
                errors="backslashreplace" if stream == 2 else "strict",
                buffering=1 if stream == 2 else -1,
                closefd=False,
            ),
        )
    os.chdir(question["cwd"])
    os.environ.clear()
    os.environ.update(question["env"])
    sys.executable = question["python"]
    code = 1
    try:
        _run(question["argv"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    with contextlib.suppress(OSError), seconds.open("a") as file:
        file.write(f"{sum(os.times()[:4]) - before:.2f}\n")
    with contextlib.suppress(OSError):
        connection.sendall(f"{code}\n".encode())
    os._exit(code & 0xFF)


def _run(argv: list[str]) -> None:
    own = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    rest = [path for path in sys.path if path not in own]
    if argv[0] == "-m":
        sys.argv = argv[1:]
        sys.path[:] = [str(Path.cwd()), *own, *rest]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        sys.argv = ["-c", *argv[2:]]
        sys.path[:] = ["", *own, *rest]
        exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = argv
        sys.path[:] = [str(Path(argv[0]).parent), *own, *rest]
        runpy.run_path(argv[0], run_name="__main__")


def _serve(sockets: Path) -> None:
    from luna.training import environment

    environment.prepare("cpu")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("luna", "bench")]:
        del sys.modules[name]  # each fork loads its own
    sys.path[:] = [path for path in sys.path[1:] if path]
    trainer = os.fork() == 0  # torch must not have started threads before
    for name in (*(_TRAINER if trainer else ()), *_LOADED):
        importlib.import_module(name)
    _listen(sockets / ("train" if trainer else "plain"))


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
