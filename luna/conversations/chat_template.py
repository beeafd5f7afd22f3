"""Renders a model's own chat template, which is untrusted code, with a time limit.

A template once ran any Python it liked in llama-cpp-python (CVE-2024-34359). jinja2's sandbox takes the
attributes away, but nested loops still run for years in it: so it renders in a child process with
limited memory, which is killed when it takes too long.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from luna.errors import ExportError

MAX_TEMPLATE_CHARACTERS = 100_000
PATIENCE = 60.0  # for a template that hours of work stand on, on a machine that may be busy
MAX_SECONDS = 5.0  # for one prompt; honest templates take a millisecond, the child's start 0.2 s
_CHILD = Path(__file__).with_name("sandbox.py")


class ChatTemplate:
    """``render`` gives the prompt after which the reply begins. One child process until ``close``.

    Training, exam, chat and server all render by this class.
    """

    def __init__(
        self, source: str | None, bos: str, eos: str, max_seconds: float = MAX_SECONDS
    ) -> None:
        if not source:
            raise ExportError(
                "The model has no chat template, so it cannot be asked as a chat model: export it from a base that has one."
            )
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise ExportError(
                f"The model's chat template is longer than {MAX_TEMPLATE_CHARACTERS:,} characters: it is refused."
            )
        self._max_seconds = max_seconds
        # -P: files beside the script or in the working directory are not imported.
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        assert self._child.stdin and self._child.stdout  # pipes were asked for
        self._questions, self._answers = self._child.stdin, self._child.stdout
        self._send({"source": source, "bos_token": bos, "eos_token": eos})

    def __enter__(self) -> ChatTemplate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process that renders the template."""
        self._child.kill()
        self._child.communicate()

    def render(self, messages: Sequence[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of the messages, by default up to where a reply begins.

        Raises ExportError when the template fails, does what the sandbox forbids, writes without end, or takes too long.
        """
        clock = threading.Timer(self._max_seconds, self._child.kill)
        clock.start()
        try:
            self._send({"messages": list(messages), "add_generation_prompt": add_generation_prompt})
            line = self._answers.readline()
        finally:
            clock.cancel()
        if not line.endswith("\n"):
            raise ExportError(
                f"The model's chat template cannot be rendered within {self._max_seconds:g} s and the memory allowed: it is refused."
            )
        answer = json.loads(line)
        if "error" in answer:
            raise ExportError(f"The model's chat template cannot be rendered: {answer['error']}.")
        return answer["text"].encode("utf-8", "replace").decode()  # a lone surrogate is no text

    def _send(self, value: object) -> None:
        try:
            self._questions.write(json.dumps(value) + "\n")
            self._questions.flush()
        except OSError:
            pass  # it is dead: the missing answer shows it
