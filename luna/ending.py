"""Treats SIGTERM (a service manager, a container, a cluster's time limit) like Ctrl-C.

By itself SIGTERM ends Python on the spot, and temporary files stay. Here it unwinds the program, so that what
was being written is removed, and the same command resumes from what is complete.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

TERMINATED = 128 + signal.SIGTERM  # the exit code by the shell's convention
_GRACE_SECONDS = 20  # a step of training, or the writing of a file, may have to end first
_ORDER_SECONDS = 3


def on_sigterm(who: str) -> None:
    """From now on SIGTERM says where ``who`` stopped and leaves by SystemExit. For the main thread."""

    def leave(number: int, frame: object) -> None:
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # once is enough: a second must not cut the cleaning up
        print(f"{who}: stopped; run the same command again to resume", file=sys.stderr, flush=True)
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, leave)


#: In the environment of a command that shall end when the program that started it does.
WITH_INPUT = "LUNA_ENDS_WITH_INPUT"


def with_input() -> None:
    """Where the environment says so, end by SIGTERM at the end of standard input.

    A pipe whose other end only the starting program holds ends with that program, also when it is killed.
    """
    if os.environ.pop(WITH_INPUT, None) is None:
        return

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def child(command: list[str], **options):
    """A running process (as subprocess.Popen makes it) that does not outlive the block, nor do its own children.

    Those below it are asked by SIGTERM to clean up; it sees them end, and ends in its own order.
    """
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen) -> None:
    import psutil  # a command that ends nothing starts sooner without it

    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, _GRACE_SECONDS)
    for member in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    # A process with children sees them end; without children, or if it still runs, it gets the signal itself.
    if not family:
        process.terminate()
    for tell in (process.terminate, process.kill):
        try:
            process.wait(_ORDER_SECONDS)
            return
        except subprocess.TimeoutExpired:
            tell()
    process.wait()
