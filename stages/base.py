"""The base stage: the ancestor's 16-bit weights and tokenizer, made once."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from luna import artifacts, files, params, stage
from luna.export import base_check
from luna.history.line import committed_base
from luna.model import base
from luna.model import folder as model_folder
from luna.storage import objects
from luna.training import environment

ROOT = Path()


def main() -> None:
    """Run the stage."""
    settings = params.sections("base").base
    # A line keeps its base: neither another version of Luna nor the hub's present content may change it.
    kept = committed_base(ROOT, settings)
    with files.replacing_folder(artifacts.BASE, artifacts.SCRATCH) as out:
        if kept is None:
            environment.prepare("cpu")
            base.make(settings, out)
            # What changes with the day is fixed today, and stays so for the whole line.
            for change in base_check.settle(out, datetime.now(UTC).date()):
                print(f"base: the chat template is changed: {change}")
            if base.pinned(settings):  # of a folder, 'luna new' could look into it
                artifacts.SCRATCH.mkdir(exist_ok=True)
                base_check.check(out, artifacts.SCRATCH, (), "", model_folder.shapes(out))
        else:
            for name, md5 in objects.listing(ROOT, kept).items():
                path = out / name
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(objects.whole(ROOT, md5)[0], path)
    print(f"base: {settings.source if kept is None else 'kept'} -> {artifacts.BASE}")


if __name__ == "__main__":
    stage.run("base", main)
