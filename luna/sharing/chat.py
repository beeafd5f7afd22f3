"""`luna chat`: a conversation with a generation, and corrections that go to the inbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from luna.answering.engine import Engine
from luna.conversations import inbox
from luna.errors import InputError
from luna.sharing import models

HELP = "/gen G002 | /compare G002 G003 | /good | /bad CORRECTION | /new | /quit"


class Chat:
    """One model is loaded at a time; ``write`` gets every piece of text as it comes."""

    def __init__(
        self, root: Path, prefix: str, reference: str, max_tokens: int, write: Callable[[str], None]
    ) -> None:
        self.root, self.prefix, self.max_tokens, self.write = root, prefix, max_tokens, write
        self.turns: list[tuple[str, str]] = []
        self.name, self._engine, self.system = self._load(reference)

    def close(self) -> None:
        """Free the model."""
        self._engine.__exit__()

    def _load(self, reference: str) -> tuple[str, Engine, str]:
        name = models.resolve(self.root, self.prefix, reference)
        return name, *models.load(self.root, self.prefix, name)

    def switch(self, reference: str) -> None:
        """Answer with another generation from now on; the conversation so far stays. Raises InputError when there is none."""
        name, engine, system = self._load(reference)
        self.close()
        self.name, self._engine, self.system = name, engine, system

    def say(self, line: str) -> bool:
        """Take one line from the person; False when they want to leave. Raises LunaError for a command that cannot be done."""
        if "\0" in line or any("\ud800" <= character <= "\udfff" for character in line):
            raise InputError("A line that is no text in UTF-8 is not asked.")
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if not word:
            return True
        if not word.startswith("/"):
            self._ask(line.strip())
        elif word == "/quit":
            return False
        elif word == "/new":
            self.turns = []
        elif word == "/gen":
            self.switch(rest)
            self.write(f"{self.name}\n")
        elif word == "/compare":
            self._compare(rest.split())
        elif word in ("/good", "/bad"):
            self._judge(word, rest)
        else:
            raise InputError(f"There is no {word}: {HELP}.")
        return True

    def _answer(self, turns: list[tuple[str, str]]) -> Iterator[str]:
        return self._engine.stream(self._engine.prompt(turns, self.system), self.max_tokens)

    def _ask(self, question: str) -> None:
        turns = [*self.turns, ("user", question)]
        pieces = []
        for piece in self._answer(turns):
            pieces.append(piece)
            self.write(piece)
        self.write("\n")
        self.turns = [*turns, ("assistant", "".join(pieces))]

    def _judge(self, word: str, correction: str) -> None:
        if not self.turns:
            raise InputError(f"There is no answer yet for {word}: ask something first.")
        if word == "/bad":
            if not correction:
                raise InputError("Give the answer that was right: /bad CORRECTION.")
            self.turns[-1] = ("assistant", correction)
        row = {"messages": [{"role": role, "content": content} for role, content in self.turns]}
        path = inbox.add(self.root, row)
        self.write(f"kept for the next generation: {path.relative_to(self.root)}\n")

    def _compare(self, references: list[str]) -> None:
        asked = [index for index, (role, _) in enumerate(self.turns) if role == "user"]
        if len(references) != 2 or not asked:
            raise InputError("Ask something first, then name two generations: /compare G002 G003.")
        names = [models.resolve(self.root, self.prefix, reference) for reference in references]
        back = self.name
        for name in names:
            self.switch(name)
            self.write(f"{name}: ")
            for piece in self._answer(self.turns[: asked[-1] + 1]):
                self.write(piece)
            self.write("\n")
        self.switch(back)
