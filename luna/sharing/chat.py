"""`luna chat`: a conversation with a generation, and corrections that go to the inbox."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luna import artifacts, files
from luna.answering.engine import Engine
from luna.conversations import inbox
from luna.errors import InputError
from luna.history.line import artifact, read_line, sealed_params
from luna.operations import votes
from luna.sharing import keeping

HELP = "/help shows what you can type"
COMMANDS = {
    "/help": "this list",
    "/good": "keep the conversation so far for the next generation",
    "/bad CORRECTION": "keep it with the last answer corrected; the earlier ones are context, not learnt",
    "/undo": "take the last /good or /bad back",
    "/regenerate": "another answer to the last question",
    "/compare G002 G003": "let both answer the last question, side by side",
    "/prefer G002": "after /compare: its answer was better (or none); the vote is kept for the report",
    "/gen G002": "switch to that generation; the conversation stays",
    "/system TEXT": "another system prompt for this conversation; alone, it shows the one that holds",
    "/save FILE": "write the conversation as a line of JSON",
    "/new": "start a new conversation",
    "/quit": "leave; so does Ctrl-D",
}
#: For /regenerate where answers are otherwise the likeliest words, so that it is another one.
REGENERATE_TEMPERATURE = 0.8
#: What stays of the window when the oldest turns are left out, so that this does not happen again with each question.
_KEPT = 0.75
Turns = list[tuple[str, str]]


@dataclass(frozen=True)
class _Judged:
    """A /good or /bad: the file in the inbox (None: it lay there before), and what it changed."""

    path: Path | None
    turns: Turns
    good: frozenset[int]


class Chat:
    """One model is loaded at a time, two while they are compared.

    ``write`` gets every piece of an answer as it comes, ``tell`` each line about it.
    """

    temperature = 0.0
    _first = 0  # the turn with which the model's window begins
    _noted = False
    _own_system: str | None = None  # None: the one that the generation was taught under

    def __init__(
        self,
        root: Path,
        prefix: str,
        reference: str,
        max_tokens: int,
        write: Callable[[str], None],
        tell: Callable[[str], None] = lambda line: None,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.root, self.prefix, self.max_tokens = root, prefix, max_tokens
        self.write, self.tell, self.temperature = write, tell, temperature
        self._chance = random.Random(seed)
        self._forget()
        self.name, self._engine, self.system = self._load(reference)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def _forget(self) -> None:
        self.turns: Turns = []
        self._first, self._noted = 0, False
        self._good: frozenset[int] = frozenset()
        self._stopped = False
        self._judged: list[_Judged] = []
        self._compared: tuple[str, dict[str, str]] | None = (
            None  # a question, and who answered what
        )

    def _load(self, reference: str) -> tuple[str, Engine, str]:
        """Raises ColdStorageError when the bytes are neither in the cache nor intact in cold storage."""
        line = read_line(self.root, self.prefix)
        name = line.resolve(reference)
        system = sealed_params(line.git, name).chat.system_prompt
        return name, Engine(artifact(self.root, name, artifacts.MODEL), 1, None), system

    def switch(self, reference: str) -> None:
        """Answer with another generation from now on; the conversation so far stays. Raises InputError when there is none."""
        name, engine, system = self._load(reference)
        self.close()
        self.name, self._engine, self.system = name, engine, system

    def say(self, text: str) -> bool:
        """Take what the person typed, of one line or several; False when they want to leave.

        Raises LunaError for a command that cannot be done; then nothing has changed.
        """
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError("A line that is no text in UTF-8 is not asked.")
        word, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        if not word.startswith("/"):
            if text.strip():
                self._ask(text.strip())
            return True
        act = {
            "/help": lambda: self._help(),
            "/new": self._forget,
            "/gen": lambda: self._switch(rest),
            "/compare": lambda: self._compare(rest.split()),
            "/prefer": lambda: self._prefer(rest),
            "/good": lambda: self._keep(None),
            "/bad": lambda: self._correct(rest),
            "/undo": self._undo,
            "/regenerate": self._regenerate,
            "/save": lambda: self._save(rest),
            "/system": lambda: self._system(rest),
        }.get(word)
        if word == "/quit":
            return False
        if act is None:
            raise InputError(f"There is no {word}: {HELP}.")
        act()
        return True

    def _help(self) -> None:
        wide = max(map(len, COMMANDS))
        for command, meaning in COMMANDS.items():
            self.tell(f"  {command:<{wide}}  {meaning}")
        self.tell(
            '  """ begins a message of several lines, and """ ends it; Alt-Enter begins a new line'
        )
        self.tell("  Ctrl-C stops an answer")

    # -- asking

    def _messages(self, turns: Sequence[tuple[str, str]]) -> Turns:
        system = [] if self._own_system is None else [("system", self._own_system)]
        return [*system, *turns]

    def _answer(self, turns: Turns, temperature: float | None = None) -> Generator[str, None, str]:
        heat = self.temperature if temperature is None else temperature
        prompt = self._engine.prompt(turns, self.system)
        return self._engine.stream(
            prompt, self.max_tokens, heat, self._chance.random if heat else None
        )

    def _window(self, turns: Turns) -> Turns:
        """The messages for the model: the oldest turns are left out where its window does not hold them all.

        Raises InputError where it does not even hold the last question.
        """
        limit = self._engine.limit
        room = min(self.max_tokens, limit // 2)
        size = self._size(turns[self._first :])
        if size + room > limit:
            questions = [at for at, (role, _) in enumerate(turns) if role == "user"]
            later = [at for at in questions if at > self._first]
            fits = (at for at in later if self._size(turns[at:]) + room <= limit * _KEPT)
            first = next(fits, later[-1] if later else self._first)
            if self._size(turns[first:]) + room > limit:
                raise InputError(
                    f"The question is {self._size(turns[first:])} tokens long with the system prompt, and the model's window "
                    f"holds {limit} with the answer: ask a shorter one."
                )
            self._first = first
            if not self._noted:
                self._noted = True
                self.tell(
                    f"(The conversation is longer than the model's window of {limit} tokens: from now on its oldest turns are "
                    "left out. /good and /save still keep all of it.)"
                )
        return self._messages(turns[self._first :])

    def _size(self, turns: Turns) -> int:
        return len(self._engine.prompt(self._messages(turns), self.system))

    def _ask(self, question: str, temperature: float | None = None) -> None:
        turns = [*self.turns, ("user", question)]
        pieces = self._answer(self._window(turns), temperature)
        text, finish = "", ""
        try:
            while True:
                piece = next(pieces)
                text += piece
                self.write(piece)
        except StopIteration as end:
            finish = end.value
        except KeyboardInterrupt:
            if not text:
                self.write("\n")
                self.tell(
                    "(stopped before the first word: the question is not part of the conversation)"
                )
                return
        finally:
            pieces.close()
        self.write("\n")
        self._stopped = not finish
        if self._stopped:
            self.tell("(stopped)")
        elif finish == "length":
            self.tell(f"(cut off at {self.max_tokens} tokens: --max-tokens allows more)")
        self.turns = [*turns, ("assistant", text)]

    def _question(self) -> tuple[Turns, str]:
        """What came before the last question, and that question."""
        asked = [at for at, (role, _) in enumerate(self.turns) if role == "user"]
        if not asked:
            raise InputError("Nothing has been asked yet: type a question first.")
        return self.turns[: asked[-1]], self.turns[asked[-1]][1]

    def _regenerate(self) -> None:
        before, question = self._question()
        turns, first = self.turns, self._first
        if not self.temperature:
            self.tell(f"(at temperature {REGENERATE_TEMPERATURE}, since at 0 it would be the same)")
        self.turns, self._first = before, min(first, len(before))
        try:
            self._ask(question, self.temperature or REGENERATE_TEMPERATURE)
        finally:
            if len(self.turns) == len(before):
                self.turns = turns

    def _switch(self, reference: str) -> None:
        if not reference:
            raise InputError("Name a generation: /gen G002.")
        self.switch(reference)
        self.write(f"{self.name}\n")

    def _compare(self, references: list[str]) -> None:
        if len(references) != 2 or not self.turns:
            raise InputError("Ask something first, then name two generations: /compare G002 G003.")
        with contextlib.ExitStack() as stack:
            sides = []
            for reference in references:
                name, engine, system = self._load(reference)
                stack.callback(engine.close)
                sides.append((name, engine, system))
            before, question = self._question()
            messages = self._messages([*before[self._first :], ("user", question)])
            answers = [
                engine.stream(
                    engine.prompt(messages, system),
                    self.max_tokens,
                    self.temperature,
                    self._chance.random if self.temperature else None,
                )
                for _, engine, system in sides
            ]
            for answer in answers:
                stack.callback(answer.close)
            names, texts = [name for name, _, _ in sides], [""] * len(sides)
            self.beside(names, [_noting(answer, texts, at) for at, answer in enumerate(answers)])
            self._compared = question, dict(zip(names, texts, strict=True))

    def _prefer(self, reference: str) -> None:
        if self._compared is None or not reference:
            raise InputError(
                "Compare first: /compare G002 G003, then /prefer G002, or /prefer none."
            )
        question, answers = self._compared
        none = reference == "none"
        best = None if none else read_line(self.root, self.prefix).resolve(reference)
        votes.add(self.root, question, answers, best, blind=False)
        self._compared = None
        self.write(f"vote kept: {votes.FILE.as_posix()}\n")

    def beside(self, names: Sequence[str], answers: Sequence[Iterator[str]]) -> None:
        """Show the answers, one after the other as they come; a terminal can do better."""
        for name, answer in zip(names, answers, strict=True):
            self.write(f"{name}: ")
            for piece in answer:
                self.write(piece)
            self.write("\n")

    # -- keeping

    def _correct(self, correction: str) -> None:
        if self.turns and not correction:
            raise InputError("Give the answer that was right: /bad CORRECTION.")
        self._keep(correction)

    def _keep(self, correction: str | None) -> None:
        if not self.turns:
            word = "/good" if correction is None else "/bad"
            raise InputError(f"There is no answer yet for {word}: ask something first.")
        if correction is None and self._stopped:
            raise InputError(
                "The last answer was stopped, so it is not whole: /regenerate it, or correct it by /bad CORRECTION."
            )
        kept = keeping.keep(self.root, self.turns, self._good, correction, self._own_system)
        self._judged.append(_Judged(kept.path if kept.new else None, self.turns, self._good))
        self.turns, self._good, self._stopped = kept.turns, kept.good, False
        self.write(f"kept for the next generation: {kept.path.relative_to(self.root)}\n")

    def _undo(self) -> None:
        if not self._judged:
            raise InputError("There is no /good or /bad to take back in this conversation.")
        last = self._judged[-1]
        if last.path is not None:
            inbox.take_back(last.path)
        self._judged.pop()
        longer = self.turns[len(last.turns) :]
        self.turns, self._good = [*last.turns, *longer], last.good
        self.write(
            "taken back\n"
            if last.path
            else "taken back here; the same conversation lay in data/inbox before, and stays\n"
        )

    def _save(self, name: str) -> None:
        if not name or not self.turns:
            raise InputError("Ask something first, then name a new file: /save talk.jsonl.")
        path = Path(name).expanduser()
        try:
            with files.creating(path) as scratch:
                files.write_jsonl(scratch, [keeping.row(self.turns, None, self._own_system)])
        except FileExistsError:
            raise InputError(f"{path} is there already: give the name of a new file.") from None
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}): give another."
            ) from None
        self.write(f"saved: {path}\n")

    def _system(self, text: str) -> None:
        if text:
            self._own_system = text
        holds = self.system if self._own_system is None else self._own_system
        self.tell(f"system prompt: {holds or '(none)'}")


def _noting(answer: Iterator[str], texts: list[str], at: int) -> Iterator[str]:
    """The same pieces, which are also put together in ``texts``."""
    for piece in answer:
        texts[at] += piece
        yield piece


def messages(lines: Iterable[str]) -> Iterator[str]:
    """What is asked: each line, or the lines from one that begins with three quotation marks to the next three."""
    gathered: list[str] | None = None
    for line in lines:
        text = line.rstrip("\n")
        if gathered is None:
            start = text.lstrip()
            if not start.startswith('"""'):
                yield text
                continue
            gathered, text = [], start.removeprefix('"""')
        if text.rstrip().endswith('"""'):
            gathered.append(text.rstrip().removesuffix('"""'))
            yield "\n".join(gathered).strip("\n")
            gathered = None
        else:
            gathered.append(text)
    if gathered:
        yield "\n".join(gathered).strip("\n")
