"""Gets llama.cpp's own converter, at the revision that llama-cpp-python was built from.

It is in that package's source distribution and not in its wheel. ``make setup`` fetches the sdist by
pip; it is unpacked only when its SHA-256 is the pinned one. With it come the chat templates and some vocabularies of known
models, on which Luna's rendering is tested.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

from luna import files
from luna.errors import ExportError
from luna.text import last_line

VERSION = "0.3.36"
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_INSIDE = "vendor/llama.cpp/"  # below the folder that is named for the version
_TEMPLATES = "models/templates"
#: Vocabularies of families on whose models Luna is tested.
_VOCABULARIES = ("llama-bpe", "llama-spm", "qwen2", "phi-3", "gpt-neox")
_NEEDED = (
    "convert_hf_to_gguf.py",
    "conversion/",
    "gguf-py/gguf/",
    "LICENSE",
    f"{_TEMPLATES}/",
    *(f"models/ggml-vocab-{name}.gguf" for name in _VOCABULARIES),
)
#: Runs the converter so that it reads config.json itself, as it does where transformers does not know the model.
_WITH_OWN_CONFIG = """
import runpy, sys
from pathlib import Path
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
import conversion.base
class Unread:
    @staticmethod
    def from_pretrained(*given, **named):
        raise ValueError("config.json is read as it is")
conversion.base.AutoConfig = Unread
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def home() -> Path:
    """Where the converter lives: in the environment it belongs to, so that it goes with it."""
    return Path(sys.prefix) / "share" / "luna" / f"llama.cpp-{VERSION}"


def templates() -> Path:
    """Where the chat templates of known models are, a .jinja file each."""
    return home() / _TEMPLATES


def vocabulary(name: str) -> Path:
    """The GGUF that holds the vocabulary of a family and no weights, such as ``qwen2``."""
    return home() / f"models/ggml-vocab-{name}.gguf"


def script(folder: Path | None = None) -> Path:
    """The path of llama.cpp's converter. Raises ExportError where it is not set up."""
    path = (folder or home()) / "convert_hf_to_gguf.py"
    if not path.is_file():
        raise ExportError(
            "llama.cpp's converter is not set up in this environment: run 'make setup'."
        )
    return path


def set_up() -> Path:
    """Fetch, verify and unpack the converter; does nothing when it is there already."""
    if (
        (home() / "convert_hf_to_gguf.py").is_file()
        and templates().is_dir()
        and all(vocabulary(name).is_file() for name in _VOCABULARIES)
    ):
        return home()
    home().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home().parent) as scratch:
        sdist = download(Path(scratch))
        unpack(sdist, Path(scratch) / "unpacked")
        if home().is_dir():  # set up by an earlier version, which took less from the archive
            home().rename(Path(scratch) / "before")
        (Path(scratch) / "unpacked").rename(home())
    return home()


def download(folder: Path, version: str = VERSION) -> Path:
    """The source distribution of a llama-cpp-python, by pip, into ``folder``; its bytes are not yet verified."""
    sdist = folder / f"llama_cpp_python-{version}.tar.gz"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        "llama-cpp-python",
        "--dest",
        str(folder),
        f"llama-cpp-python=={version}",
    ]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode or not sdist.is_file():
        raise ExportError(
            f"pip could not fetch {sdist.name}: {last_line(done.stderr)}; check the network and run 'make setup' again."
        )
    return sdist


def unpack(sdist: Path, out: Path, sha256: str = SDIST_SHA256) -> None:
    """Unpack the converter's own files. Raises ExportError, before reading it, for any other archive than the pinned one."""
    if (digest := files.digest(sdist)) != sha256:
        raise ExportError(
            f"{sdist.name} has SHA-256 {digest[:12]}, not the pinned {sha256[:12]}: it is not unpacked; fetch it again."
        )
    with tarfile.open(sdist) as archive:
        for member in archive:
            below = member.name.partition("/")[2]
            inside = below.removeprefix(_INSIDE)
            if member.isfile() and inside != below and inside.startswith(_NEEDED):
                # By hand: 'filter' of extract is not in every Python 3.11.
                target = out / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(cast(IO[bytes], archive.extractfile(member)), file)


def fingerprint(folder: Path | None = None) -> str:
    """SHA-256 over the converter's files: what an export depends on beside weights and settings."""
    folder = folder or home()
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(f"{path.relative_to(folder).as_posix()} {files.digest(path)}\n".encode())
    return total.hexdigest()


def convert(
    weights: Path, out: Path, metadata: Path, extra: Sequence[str] = (), folder: Path | None = None
) -> None:
    """Hugging Face folder to a bfloat16 GGUF, which holds bfloat16 weights without loss.

    ``metadata`` is a JSON file whose keys replace what the converter would guess from folder names;
    ``folder``: another converter than this environment's.
    """
    command = [
        str(script(folder)),
        str(weights.resolve()),
        "--outtype",
        "bf16",
        "--outfile",
        str(out),
        "--metadata",
        str(metadata),
        *extra,
    ]
    done = _run([sys.executable, *command])
    if not done.returncode:
        return
    # transformers drops some keys of older models' config.json (rotary_pct of GPT-NeoX), which the converter looks for.
    if _run([sys.executable, "-c", _WITH_OWN_CONFIG, *command]).returncode:
        raise ExportError(f"llama.cpp's converter refused the weights: {last_line(done.stderr)}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
