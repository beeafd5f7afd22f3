"""Unpacks the one generation that a bundle holds: `luna recover FILE`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luna import files
from luna.bundle import check
from luna.errors import InputError, Refused


@dataclass(frozen=True)
class Unbundled:
    """The files of one generation, out of a bundle. ``proof``: what shows that they are the sealed ones."""

    folder: str
    generation: str
    files: int
    proof: str


def unpack(bundle: Path, folder: Path) -> Unbundled:
    """Check a bundle, then write its files into ``folder``, complete or not at all.

    Raises:
        InputError: ``folder`` is there and not empty, or there is no such file.
        Refused: the bundle is damaged or forged.
    """
    if not bundle.is_file():
        raise InputError(f"There is no file {bundle}: give a bundle, or a cold storage's folder.")
    report = check.check(str(bundle))
    if report.problems:
        raise Refused(f"{report.problems[0]}; nothing was written.")
    with files.new_folder(folder.absolute()) as scratch, bundle.open("rb") as file:
        length = bundle.stat().st_size
        for member in check.members(file, length):
            target = scratch / member.name.partition("/")[2]
            target.parent.mkdir(parents=True, exist_ok=True)
            file.seek(member.data)
            with target.open("wb") as written:
                left = member.size
                while left and (chunk := file.read(min(files.CHUNK_BYTES, left))):
                    written.write(chunk)
                    left -= len(chunk)
    return Unbundled(str(folder), report.generation, report.files, report.proof)
