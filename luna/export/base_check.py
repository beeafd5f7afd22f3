"""Finds out in seconds whether a base can be taught, exported and asked as one and the same model.

Needs the base's small files (config, tokenizer and chat template) and the headers of its weights. No weights are read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from luna import files
from luna.answering.gguf_vocabulary import GgufVocabulary
from luna.conversations.adapt import Change, adapt
from luna.conversations.schema import Conversation, parse
from luna.errors import BaseModelError, ExportError
from luna.export import converter, parity, shipping
from luna.model import architecture, base
from luna.model import folder as model_folder
from luna.model import tokenizer as tokenizers

_TEMPLATE, _CONFIG = "chat_template.jinja", "tokenizer_config.json"
#: What llama.cpp's converter reads from SentencePiece's own file alone, by model_type.
_NEEDS_SENTENCEPIECE = ("gemma", "gemma2", "gemma3_text", "phi3")
_EXAMPLES = (
    {
        "messages": [
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "I am here to help you."},
            {"role": "user", "content": "What is 2 + 2?\n\nSay why."},
            {"role": "assistant", "content": "4, since:\n- two and two are four."},
        ]
    },
)


@dataclass(frozen=True)
class Checked:
    """``changes`` were made in the chat template; ``parted`` are texts, none of the data, that llama.cpp cuts otherwise than training.

    ``beside_experts``: in a mixture of experts, the modules that learn; none where it is no mixture.
    """

    changes: tuple[Change, ...]
    parted: tuple[str, ...]
    beside_experts: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """What a person should know of it."""
        sentences = [f"the base's chat template is changed: {change}" for change in self.changes]
        if self.parted:
            sentences.append(
                f"llama.cpp cuts some texts into other tokens than training does, such as {self.parted[0]!r}; none of your conversations is among them"
            )
        if self.beside_experts:
            sentences.append(
                f"the base is a mixture of experts, which stay as they are: what learns is {', '.join(self.beside_experts)}"
            )
        return sentences


def look(
    folder: Path, scratch: Path, conversations: Sequence[Conversation], system_prompt: str
) -> Checked:
    """Check a model folder of another's, which is left as it is. Raises BaseModelError as ``settle`` and ``check`` do."""
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder_of_copy:
        copy = Path(folder_of_copy) / "base"
        copy.mkdir()
        for name in base.KEPT:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, copy / name)
        changes = settle(copy, date.min.replace(year=2000))
        shapes = model_folder.shapes(folder)
        parted = check(copy, Path(folder_of_copy), conversations, system_prompt, shapes)
        mixture = model_folder.has_experts(model_folder.config(folder))
        learning = model_folder.linear_names(folder, shapes) if mixture else ()
        return Checked(changes, parted, tuple(learning))


def settle(folder: Path, day: date) -> tuple[Change, ...]:
    """Put the chat template that all will use into the base ``folder``, in one place; without need nothing is changed.

    Raises BaseModelError where the template cannot serve.
    """
    tokenizer = tokenizers.load(folder)
    source = tokenizer.get_chat_template()
    adapted = adapt(source, tokenizer.bos_token or "", tokenizer.eos_token or "", day)
    config = files.read_json(folder / _CONFIG)
    elsewhere = config.get("chat_template") if (folder / _TEMPLATE).is_file() else None
    if adapted.changes or elsewhere not in (None, adapted.source):
        # llama.cpp's converter prefers the one in tokenizer_config.json, transformers the file.
        files.write_text(folder / _TEMPLATE, adapted.source)
        if config.pop("chat_template", None) is not None:
            files.write_json(folder / _CONFIG, config)
    return adapted.changes


def check(
    folder: Path,
    scratch: Path,
    conversations: Sequence[Conversation],
    system_prompt: str,
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[str, ...]:
    """Compare training's tokenizer with that of a GGUF which llama.cpp's converter makes of the base's vocabulary, and config.json with the weights.

    ``shapes`` are those of the weights, which need not lie in the ``folder``. Returns texts that the two cut otherwise and that are not of the data.

    Raises:
        BaseModelError: transformers, the converter or llama.cpp does not know the architecture or the tokenizer; a file or a weight
            is missing; the end of a reply is none for llama.cpp; or a conversation is other tokens for it.
    """
    config = files.read_json(folder / "config.json")
    kind = config.get("model_type")
    if (
        kind in _NEEDS_SENTENCEPIECE
        and not (folder / "tokenizer.model").is_file()
        and files.read_json(folder / _CONFIG).get("tokenizer_class") != "GPT2Tokenizer"
    ):
        raise BaseModelError(
            f"The base has no tokenizer.model, from which llama.cpp's converter takes the tokenizer of {kind}: put the model's own "
            "tokenizer.model beside its tokenizer.json."
        )
    architecture.require_known(folder, shapes)
    out = scratch / "vocabulary.gguf"
    try:
        shipping.vocabulary(folder, out)
        with GgufVocabulary(out, vocabulary_only=True) as vocabulary:
            shown = [*conversations, *map(parse, _EXAMPLES)]
            tokenizer = tokenizers.load(folder)
            parity.require(vocabulary, tokenizer, shown, system_prompt)
            return tuple(parity.parted(vocabulary, tokenizer))
    except ExportError as error:
        names = ", ".join(config.get("architectures") or [str(kind)])
        raise BaseModelError(
            f"The base ({names}) cannot be exported to GGUF, which is found out before anything is built: {str(error).rstrip('.')}. "
            f"Use a base that llama.cpp of llama-cpp-python {converter.VERSION} knows."
        ) from None
