"""Asks a sealed generation a question without touching the working tree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna import artifacts
from luna.conversations import schema
from luna.errors import ColdStorageError, ExportError, InputError
from luna.history.line import artifact, sealed_outs, sealed_params
from luna.repo.git import Git
from luna.storage import objects

_MAX_CHARACTERS = 4096
_CONTEXT_TOKENS = 512  # beside the question's own: the template, the system prompt


@dataclass(frozen=True)
class Reply:
    """What a generation answered, and whether it contains the expected text as whole words."""

    name: str
    has: bool
    answer: str


def checked(question: str, what: str = "The question") -> str:
    """The text as conversations hold it. Raises InputError when it is empty, too long, or no text."""
    try:
        conversation = schema.parse(
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": "-"},
                ]
            }
        )
    except ValueError as error:
        raise InputError(
            f"{what} cannot be used: {str(error).replace('message 1', 'it')}."
        ) from None
    text = conversation.messages[0][1]
    if len(text) > _MAX_CHARACTERS:
        raise InputError(f"{what} is longer than {_MAX_CHARACTERS} characters: shorten it.")
    return text


def whole_artifact(root: Path, name: str, path: Path) -> Path:
    """As ``artifact``, and its bytes were hashed: a damaged copy in the cache goes to quarantine/ and is fetched again.

    Raises:
        StateError: the generation has no such artifact.
        ColdStorageError: no intact copy is in the cache or in cold storage.
    """
    out = sealed_outs(root.resolve(), name).get(path.as_posix())
    if out and out.cached:
        return objects.whole(root, out.md5)[0]
    return artifact(root, name, path)


def _model(root: Path, name: str) -> Path:
    """Its model: from the cache, from cold storage, or rebuilt from base and adapters where neither has an intact one."""
    from luna.operations import restore

    try:
        return whole_artifact(root, name, artifacts.MODEL)
    except ColdStorageError as lost:
        try:
            restore.rebuild_into_cache(root, name)
        except (ColdStorageError, ExportError) as why:
            raise ColdStorageError(f"{lost} Nor can it be rebuilt: {why}") from None
    return artifact(root, name, artifacts.MODEL)


def ask(root: Path, name: str, question: str, expect: str) -> Reply:
    """Greedy, through the generation's own model, chat template and system prompt.

    Raises:
        StateError, ColdStorageError: no intact copy of its model is left, and it cannot be rebuilt.
        ExportError: llama.cpp cannot load it.
    """
    from evals.facts.text import contains
    from luna.answering.engine import Engine
    from luna.answering.limits import of_one

    settings = sealed_params(Git(root), name)
    model = _model(root, name)
    system = settings.chat.system_prompt
    # A token is at least one character.
    limit = of_one(settings.evaluate.max_tokens)
    context = _CONTEXT_TOKENS + len(question) + len(system) + limit
    with Engine(model, 1, context) as engine:
        [answer] = engine.answer(
            [engine.prompt((("user", question),), system)],
            limit,
        )
    return Reply(name, contains(answer.text, expect), answer.text)
