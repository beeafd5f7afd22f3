"""The keyframe stage: the weights that adapters are added to, made once for many generations."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from luna import artifacts, files, stage
from luna.history import build as builds
from luna.history.adapters import WEIGHTS_SCRATCH, of_keyframe
from luna.model import weights

ROOT = Path()
#: DVC keeps no empty folder, so this file is in it while generation 0 is the keyframe, whose weights are the base's.
NOTE = "base.txt"


def main() -> None:
    """Run the stage."""
    keyframe = builds.keyframe_of(files.read_json(artifacts.KEYFRAME_RECIPE)["keyframe"])
    artifacts.SCRATCH.mkdir(exist_ok=True)
    with (
        TemporaryDirectory(dir=artifacts.SCRATCH) as scratch,
        files.replacing_folder(artifacts.KEYFRAME, artifacts.SCRATCH) as out,
    ):
        if keyframe is None:
            files.write_text(
                out / NOTE, f"The keyframe is generation 0: see {artifacts.BASE.as_posix()}.\n"
            )
        else:
            made = weights.rebuild(of_keyframe(ROOT, keyframe, Path(scratch)), WEIGHTS_SCRATCH)
            for path in made.iterdir():
                shutil.copyfile(path, out / path.name)
    print(f"keyframe: {keyframe.name if keyframe else 'the base'} -> {artifacts.KEYFRAME}")


if __name__ == "__main__":
    stage.run("keyframe", main)
