"""Reads a model's tokenizer exactly as its tokenizer.json has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder.

    By what ``tokenizer_class`` names, transformers 5 builds some tokenizers anew (LlamaTokenizer cuts runs of spaces
    otherwise than the file says), so the class is not asked.
    """
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it warns that the class is another
    try:
        return PreTrainedTokenizerFast.from_pretrained(
            str(folder.resolve()), local_files_only=True, trust_remote_code=False
        )
    finally:
        logging.set_verbosity(before)
