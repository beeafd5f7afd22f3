"""base: the ancestor's 16-bit weights and tokenizer, made once and kept for ever."""

from luna import artifacts, files, params, stage
from luna.model import base
from luna.training import environment


def main() -> None:
    """Run the stage."""
    settings = params.load().base
    environment.prepare("cpu")
    with files.replacing_folder(artifacts.BASE, artifacts.SCRATCH) as out:
        base.make(settings, out)
    print(f"base: {settings.source} -> {artifacts.BASE}")


if __name__ == "__main__":
    stage.run("base", main)
