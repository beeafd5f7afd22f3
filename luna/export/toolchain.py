"""The converter and llama.cpp that exported a generation: here, or from the pinned sdist."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from luna.errors import ExportError
from luna.export import converter
from luna.export.shipping import Tools
from luna.text import last_line

_PIN = re.compile(r'^(VERSION|SDIST_SHA256) = "([^"]+)"$', re.MULTILINE)


@dataclass(frozen=True)
class Recorded:
    """What a generation's export.json and its own code say; ``sdist_sha256`` is None where the code pins none."""

    version: str
    converter_sha256: str
    sdist_sha256: str | None


def recorded(report: dict, code: str) -> Recorded:
    """From export.json and the text of luna/export/converter.py at the generation's tag."""
    version = report["converter"].rpartition(" ")[2]
    pins = dict(_PIN.findall(code))
    return Recorded(
        version,
        report["converter_sha256"],
        pins.get("SDIST_SHA256") if pins.get("VERSION") == version else None,
    )


def choose(
    wanted: Recorded,
    here: Tools,
    keep: Path,
    say: Callable[[str], None],
    download: Callable[[Path, str], Path] = converter.download,
) -> Tools:
    """Tools that are the recorded ones: ``here`` where they are, else made below the folder ``keep`` from the pinned sdist.

    Raises:
        ExportError: the recorded converter cannot be found, or the sdist does not hold it.
    """
    if here.converter_sha256 != wanted.converter_sha256:
        say(
            f"exported by llama-cpp-python {wanted.version}, converter {wanted.converter_sha256[:12]}; "
            f"this environment has {here.version}, converter {here.converter_sha256[:12]}: the recorded one is tried"
        )
        here = replace(here, converter=_converter(wanted, keep, download))
    if here.version != wanted.version:
        say(
            f"exported by llama.cpp of llama-cpp-python {wanted.version}; this environment has {here.version}: "
            "the recorded one is built from its pinned source, once (some minutes)"
        )
        here = replace(here, version=wanted.version, quantiser=_quantiser(wanted, keep))
    return here


def _pinned(wanted: Recorded) -> str:
    if wanted.sdist_sha256 is None:
        raise ExportError(
            f"The generation's own code pins no source distribution of llama-cpp-python {wanted.version}: rebuild it in an environment of that version."
        )
    return wanted.sdist_sha256


def _converter(wanted: Recorded, keep: Path, download: Callable[[Path, str], Path]) -> Path:
    target = keep / f"converter-{wanted.converter_sha256[:16]}"
    if not target.is_dir() or converter.fingerprint(target) != wanted.converter_sha256:
        pin = _pinned(wanted)
        keep.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=keep) as scratch:
            unpacked = Path(scratch) / "unpacked"
            converter.unpack(download(Path(scratch), wanted.version), unpacked, pin)
            if (digest := converter.fingerprint(unpacked)) != wanted.converter_sha256:
                raise ExportError(
                    f"The pinned source of llama-cpp-python {wanted.version} holds converter {digest[:12]}, not the recorded {wanted.converter_sha256[:12]}."
                )
            unpacked.rename(target)
    return target


def _quantiser(wanted: Recorded, keep: Path) -> Path:
    """llama_cpp of the recorded version, built by pip from the sdist whose hash is pinned, apart from this environment."""
    target = keep / f"llama-cpp-python-{wanted.version}"
    if target.is_dir():
        return target
    pin = _pinned(wanted)
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=keep) as scratch:
        (Path(scratch) / "requirement.txt").write_text(
            f"llama-cpp-python=={wanted.version} --hash=sha256:{pin}\n", encoding="utf-8"
        )
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-binary",
            "llama-cpp-python",
            "--require-hashes",
            "--target",
            str(Path(scratch) / "site"),
            "-r",
            str(Path(scratch) / "requirement.txt"),
        ]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            raise ExportError(
                f"pip could not build llama-cpp-python {wanted.version}: {last_line(done.stderr)}"
            )
        (Path(scratch) / "site").rename(target)
    return target
