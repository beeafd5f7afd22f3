"""The general stage: what the base answers to general questions and prompts, asked once for the line."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from evals import general
from luna import artifacts, files, params, stage
from luna.conversations import questions
from luna.export import converter, gguf, shipping


def exported(quantization: str, folder: Path) -> Path:
    """The base as it ships."""
    metadata, sixteen, shipped = (folder / name for name in ("base.json", "16.gguf", "base.gguf"))
    files.write_json(metadata, {"general.name": shipping.header_name(artifacts.BASE, "base")})
    converter.convert(artifacts.BASE, sixteen, metadata)
    gguf.quantise(sixteen, shipped, quantization, {})
    sixteen.unlink()
    return shipped


def main() -> None:
    """Run the stage."""
    started = time.monotonic()
    settings = params.sections("export", "chat", "evaluate")
    sets = questions.load(artifacts.GENERAL_QUESTIONS)
    asked: list[general.Asked] = []
    texts = general.NOTHING
    replies: list[general.Reply] = []
    system_prompt, exam = settings.chat.system_prompt, settings.evaluate
    quantization = settings.export.quantization
    if sets:
        artifacts.SCRATCH.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=artifacts.SCRATCH) as scratch:
            base = exported(quantization, Path(scratch))
            asked = general.of_base(base, sets, system_prompt, exam)
            language = general.main_set(asked, artifacts.GENERAL_QUESTIONS)
            texts = general.texts(base, asked, artifacts.GENERAL_QUESTIONS, language, system_prompt)
            if language:
                replies = general.replies(base, language, system_prompt, exam)
    files.write_jsonl(artifacts.GENERAL, (item.as_row() for item in asked))
    files.write_json(artifacts.GENERAL_TEXTS, texts.as_json())
    files.write_jsonl(artifacts.GENERAL_REPLIES, (item.as_row() for item in replies))
    right = sum(item.right for item in asked)
    print(
        f"general: the base answers {right} of {len(asked)} questions rightly, {time.monotonic() - started:.0f} s"
    )


if __name__ == "__main__":
    stage.run("general", main)
