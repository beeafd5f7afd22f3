"""Bundles: the same bytes every time, checked with nothing but Python, and refused in every forged or damaged form."""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import stat
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from luna.bundle import check

NAME = "Luna-G001-20251022-231530"


@pytest.fixture(scope="module")
def made(line, module_folder) -> Path:
    file = module_folder / "g1.zip"
    line.luna("bundle", "G001", "-o", str(file))
    return file


def alone(file: Path) -> subprocess.CompletedProcess[str]:
    """The check as a stranger runs it: no packages, no environment, no git, no DVC."""
    return subprocess.run(
        [sys.executable, "-I", "-S", check.__file__, str(file)],
        capture_output=True,
        text=True,
        env={},
    )


def test_it_holds_the_generation_and_any_zip_tool_reads_it(line, made):
    row = line.json("log")[1]
    with zipfile.ZipFile(made) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        texts = {
            info.filename.removeprefix(row["name"] + "/"): archive.read(info)
            for info in archive.infolist()
        }
    assert hashlib.sha256(texts["models/model.gguf"]).hexdigest() == row["weights_sha256"]
    assert {
        "models/metrics.json",
        "models/EVAL.md",
        "models/adapter/adapter_model.safetensors",
        "check.py",
        "tag.txt",
        "params.yaml",
    } <= set(texts)
    assert (
        texts["lineage.csv"].decode()
        == line.run("git", "show", f"{row['name']}:lineage.csv").stdout
    )
    assert {
        entry.split("  ")[1]: entry.split("  ")[0]
        for entry in texts["SHA256SUMS"].decode().splitlines()
    } == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in texts.items()
        if name != "SHA256SUMS"
    }


def test_same_bytes_read_only_and_never_overwritten(line, made, tmp_path):
    mine = line.copy(tmp_path / "mine")
    again = tmp_path / "again.zip"
    mine.git(
        "checkout", "-q", mine.json("log")[0]["name"]
    )  # where the workspace stands does not matter
    found = mine.json("bundle", "1", "-o", str(again))
    assert (
        again.read_bytes() == made.read_bytes()
        and found["sha256"] == hashlib.sha256(again.read_bytes()).hexdigest()
    )
    beside = Path(f"{again}.sha256")
    assert (
        not stat.S_IMODE(again.stat().st_mode) & 0o222
        and not stat.S_IMODE(beside.stat().st_mode) & 0o222
    )
    subprocess.run(["sha256sum", "--check", "--quiet", beside.name], cwd=tmp_path, check=True)
    beside.unlink()  # killed between the two files
    assert (
        "was there already, whole" in mine.luna("bundle", "1", "-o", str(again)).stdout
        and beside.exists()
    )
    assert "nothing is overwritten" in mine.luna("bundle", "3", "-o", str(again), code=2).stderr
    assert again.read_bytes() == made.read_bytes()
    assert (
        "no folder" in mine.luna("bundle", "3", "-o", str(tmp_path / "none/x.zip"), code=2).stderr
    )
    assert not list(tmp_path.glob(".*.part"))


def test_a_bundle_from_cold_storage_and_a_damaged_cache(line, tmp_path, made):
    mine = line.copy(tmp_path / "mine")
    row = mine.json("log")[1]
    md5 = hashlib.md5(zipfile.ZipFile(made).read(f"{row['name']}/models/model.gguf")).hexdigest()
    cached = mine.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    good = cached.read_bytes()
    cached.unlink()
    cached.write_bytes(good[:-1])
    assert "luna restore" in mine.luna("bundle", "1", "-o", "b.zip", code=2).stderr
    assert not (mine.path / "b.zip").exists()
    cached.unlink()
    mine.luna("bundle", "1", "-o", "b.zip")
    assert (mine.path / "b.zip").read_bytes() == made.read_bytes()


def test_it_is_checked_with_nothing_but_python(made, tmp_path):
    done = alone(made)
    assert done.returncode == 0 and "all as they were bundled" in done.stdout, done.stderr
    with zipfile.ZipFile(made) as archive:  # the check inside is the check
        name = next(name for name in archive.namelist() if name.endswith("check.py"))
        (tmp_path / "check.py").write_bytes(archive.read(name))
    assert (
        subprocess.run(
            [sys.executable, "-I", "-S", str(tmp_path / "check.py"), str(made)], env={}
        ).returncode
        == 0
    )
    assert alone(tmp_path / "nothing.zip").returncode == 2
    other = tmp_path / "renamed.zip"
    other.write_bytes(made.read_bytes())
    assert alone(other).returncode == 0  # without the .sha256 too
    Path(f"{other}.sha256").write_text("0" * 64 + "  renamed.zip\n")
    assert "renamed.zip.sha256" in alone(other).stderr


def test_the_command_checks_outside_a_repository(made, tmp_path):
    from conftest import Repo

    assert "all as they were bundled" in Repo(tmp_path).luna("bundle", "--check", str(made)).stdout
    bad = tmp_path / "bad.zip"
    bad.write_bytes(made.read_bytes()[:-1])
    done = Repo(tmp_path).luna("bundle", "--check", str(bad), code=1)
    assert "is incomplete" in done.stderr
    assert "no file" in Repo(tmp_path).luna("bundle", "--check", "nothing.zip", code=2).stderr
    assert "Say what" in Repo(tmp_path).luna("bundle", code=2).stderr


def small(**changes: bytes) -> dict[str, bytes]:
    """A whole generation of a few bytes, by name in the folder."""
    weights = hashlib.sha256(b"GGUF").hexdigest()
    ledger = f"gen,weights_sha256\n1,{weights}\n".encode()
    return {
        "lineage.csv": ledger,
        "models/hashes.csv": f"path,bytes,sha256\nmodels/model.gguf,4,{weights}\n".encode(),
        "models/model.gguf": b"GGUF",
        "tag.txt": f"tag {NAME}\n\nWeights-SHA256: {weights}\nLedger-SHA256: {hashlib.sha256(ledger).hexdigest()}\n".encode(),
    } | changes


def written(contents: list[tuple[str, bytes]]) -> bytes:
    """Members in the one form that a bundle has, whatever their names."""
    out, members = io.BytesIO(), []
    for name, content in contents:
        members.append(check.Member(name, len(content), zlib.crc32(content), out.tell()))
        out.write(check.local_header(name, len(content), zlib.crc32(content)) + content)
    directory = b"".join(map(check.central_header, members))
    return out.getvalue() + directory + check.end_records(len(members), out.tell(), len(directory))


def sums(contents: dict[str, bytes]) -> dict[str, bytes]:
    return contents | {
        "SHA256SUMS": "".join(
            f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()
        ).encode()
    }


def problems(data: bytes, tmp_path: Path) -> str:
    file = tmp_path / "some.zip"
    file.write_bytes(data)
    return "\n".join(check.check(str(file)).problems)


def test_the_small_one_is_whole(tmp_path):
    assert (
        problems(
            written([(f"{NAME}/{name}", content) for name, content in sums(small()).items()]),
            tmp_path,
        )
        == ""
    )


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        f"{NAME}/../../evil",
        "/etc/passwd",
        f"{NAME}//x",
        f"{NAME}/./x",
        "C:/x",
        f"{NAME}\\x",
        "other/x",
        f"{NAME}/a:b",
        f"{NAME}/a\nb",
        "x",
        f"{NAME}/models/",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    whole = [(f"{NAME}/{own}", content) for own, content in sums(small()).items()]
    for members in ([*whole, (name, b"x")], [(name, b"x"), *whole]):
        assert "its member" in problems(written(members), tmp_path)


def zipped(
    tmp_path: Path, *extra: tuple[zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in sums(small()).items():
            archive.writestr(f"{NAME}/{name}", content)
        for info, content in extra:
            archive.writestr(info, content)
    return out.getvalue()


def test_links_compression_doubles_and_foreign_zips_are_refused(tmp_path):
    link = zipfile.ZipInfo(f"{NAME}/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert problems(zipped(tmp_path, (link, b"/etc/passwd")), tmp_path)
    bomb = zipped(
        tmp_path, (zipfile.ZipInfo(f"{NAME}/zeros"), bytes(50 << 20)), method=zipfile.ZIP_DEFLATED
    )
    assert problems(bomb, tmp_path)
    whole = [(f"{NAME}/{name}", content) for name, content in sums(small()).items()]
    assert "twice" in problems(written([*whole, whole[0]]), tmp_path)
    assert "twice" in problems(written([*whole, (f"{NAME}/LINEAGE.csv", b"")]), tmp_path)
    good = written(whole)
    # A link or a compressed member in the bundle's own form: mode and method are fixed parts of the header.
    at = good.index(b"PK\x01\x02")
    for offset, value in ((40, b"\xa1"), (10, b"\x08"), (9, b"\x01"), (38, b"\x10")):
        assert "entry 1 of its directory" in problems(
            good[: at + offset] + value + good[at + offset + 1 :], tmp_path
        )
    # Bytes before, between and after; and one member over another.
    assert (
        problems(b"x" + good, tmp_path)
        and problems(good + b"x", tmp_path)
        and problems(good[:at] + b"x" + good[at:], tmp_path)
    )
    first = check.Member(whole[0][0], len(whole[0][1]), zlib.crc32(whole[0][1]), 0)
    directory = check.central_header(first) + check.central_header(
        check.Member(f"{NAME}/other", first.size, first.crc, 0)
    )
    body = check.local_header(first.name, first.size, first.crc) + whole[0][1]
    assert "overlaps" in problems(
        body + directory + check.end_records(2, len(body), len(directory)), tmp_path
    )
    for junk in (b"", b"PK", bytes(5000), os.urandom(5000)):
        assert problems(junk, tmp_path)


def test_contents_that_do_not_agree_are_named(tmp_path):
    def found(contents: dict[str, bytes]) -> str:
        return problems(
            written([(f"{NAME}/{name}", content) for name, content in contents.items()]), tmp_path
        )

    assert (
        found(sums(small()) | {"models/model.gguf": b"FUGG"})
        == "models/model.gguf is not what SHA256SUMS says"
    )
    assert (
        found(sums(small()) | {"extra": b""})
        == "extra is not in SHA256SUMS: it was added afterwards"
    )
    missing = sums(small())
    del missing["lineage.csv"]
    assert found(missing) == "lineage.csv is missing"
    assert "nothing says" in found(small())
    assert "not the one that the tag seals" in found(sums(small(**{"models/model.gguf": b"FUGG"})))
    assert "lineage.csv" in found(sums(small(**{"lineage.csv": b"gen\r\n"})))
    assert "not a complete generation" in found(sums({"tag.txt": b""}))


def test_every_flipped_bit_and_every_cut_is_found(made, tmp_path):
    """Of the real bundle 150 random ones, of the small one every byte."""
    good = written([(f"{NAME}/{name}", content) for name, content in sums(small()).items()])
    for position in range(len(good)):
        assert problems(
            good[:position] + bytes([good[position] ^ (1 << position % 8)]) + good[position + 1 :],
            tmp_path,
        ), position
        assert problems(good[:position], tmp_path), position
    chance = random.Random(7)
    data = bytearray(made.read_bytes())
    file = tmp_path / "flipped.zip"
    file.write_bytes(data)
    for _ in range(150):
        position, bit = chance.randrange(len(data)), 1 << chance.randrange(8)
        with file.open("r+b") as open_file:
            open_file.seek(position)
            open_file.write(bytes([data[position] ^ bit]))
        assert check.check(str(file)).problems, position
        with file.open("r+b") as open_file:
            open_file.seek(position)
            open_file.write(data[position : position + 1])


# -- what the tag proves


def unzipped(file: Path) -> dict[str, bytes]:
    """By name in the folder, without the sums."""
    with zipfile.ZipFile(file) as archive:
        return {
            info.filename.partition("/")[2]: archive.read(info)
            for info in archive.infolist()
            if not info.filename.endswith("/SHA256SUMS")
        }


def listed(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The same with a hashes.csv that fits."""
    rows = contents["models/hashes.csv"].decode().splitlines()
    made = [rows[0]]
    for row in rows[1:]:
        path = row.split(",")[0]
        content = contents[path]
        made.append(f"{path},{len(content)},{hashlib.sha256(content).hexdigest()}")
    return contents | {"models/hashes.csv": ("\n".join(made) + "\n").encode()}


@pytest.fixture(scope="module")
def sealed(built, module_folder) -> tuple[str, str, dict[str, bytes]]:
    """G004 as 'luna seal' seals it: its name, its tag's id, and what its bundle holds."""
    mine = built.copy(module_folder / "mine")
    mine.luna("seal")
    file = mine.path.parent / "g4.zip"
    mine.luna("bundle", "G004", "-o", str(file))
    name = mine.json("log")[4]["name"]
    return name, mine.git("rev-parse", name), unzipped(file)


def sums_of(name: str, contents: dict[str, bytes]) -> bytes:
    """A bundle of these contents, with sums that fit."""
    return written([(f"{name}/{own}", data) for own, data in sums(contents).items()])


def bundle_of(name: str, contents: dict[str, bytes], tmp_path: Path) -> Path:
    file = tmp_path / "bundle.zip"
    file.write_bytes(sums_of(name, contents))
    return file


def test_every_file_hangs_on_the_tag(sealed, tmp_path):
    name, tag, contents = sealed
    assert f"Hashes-SHA256: {hashlib.sha256(contents['models/hashes.csv']).hexdigest()}" in (
        contents["tag.txt"].decode()
    )
    done = alone(bundle_of(name, contents, tmp_path))
    assert done.returncode == 0 and tag in done.stdout and "Every file is proven" in done.stdout
    chance = random.Random(7)
    rows = contents["models/hashes.csv"].decode().splitlines()[1:]
    needed = {row.split(",")[0] for row in rows}
    needed |= {
        "tag.txt",
        "lineage.csv",
        "models/hashes.csv",
        "params.yaml",
        "dvc.lock",
        "git/commit",
    }
    for path, content in contents.items():
        if content and path != "tag.txt":  # another tag has another id: that is what to compare
            at = chance.randrange(len(content))
            other = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
            assert problems(sums_of(name, contents | {path: other}), tmp_path), path
        if path in needed:
            left = {own: data for own, data in contents.items() if own != path}
            assert problems(sums_of(name, left), tmp_path), path


def test_a_bundle_that_was_rewritten_to_shine_fails(sealed, tmp_path):
    """EVAL.md and metrics.json tell of a recall of 0.999, and all sums in the bundle fit."""
    name, tag, contents = sealed
    shining = {
        path: re.sub(rb'("recall": )[0-9.]+', rb"\g<1>0.999", contents[path])
        for path in ("models/metrics.json", "models/EVAL.md")
    }
    assert shining["models/metrics.json"] != contents["models/metrics.json"]
    forged = listed(contents | shining)
    done = alone(bundle_of(name, forged, tmp_path))
    assert done.returncode == 1 and "models/hashes.csv is not the one that the tag seals" in (
        done.stderr
    )
    # With the true hashes.csv, and without git's objects: the same answer.
    assert alone(bundle_of(name, contents | shining, tmp_path)).returncode == 1
    stripped = {path: data for path, data in forged.items() if not path.startswith("git/")}
    assert alone(bundle_of(name, stripped, tmp_path)).returncode == 1
    # A tag of one's own: whole in itself, but its id is another, and that is said.
    own = (
        contents["tag.txt"]
        .decode()
        .replace(
            hashlib.sha256(contents["models/hashes.csv"]).hexdigest(),
            hashlib.sha256(forged["models/hashes.csv"]).hexdigest(),
        )
    )
    done = alone(bundle_of(name, forged | {"tag.txt": own.encode()}, tmp_path))
    assert done.returncode == 1 and "is not the one that the tag seals" in done.stderr
    bare = {path: data for path, data in stripped.items() if path != "tag.txt"}
    bare["tag.txt"] = re.sub(r"Hashes-SHA256: .*\n", "", own).encode()
    done = alone(bundle_of(name, bare, tmp_path))
    assert tag not in done.stdout and "does not prove" in done.stdout


def test_a_file_that_nothing_lists_is_refused(sealed, tmp_path):
    name, _, contents = sealed
    for extra in ("models/notes.md", "README.md", "git/trees/" + "0" * 40, "git/other"):
        done = alone(bundle_of(name, contents | {extra: b"read me"}, tmp_path))
        assert done.returncode == 1, extra
        assert extra in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "models/EVAL\u200e.md",  # a direction mark
        "models/\u202efdp.exe",
        "models/\u0415VAL.md",  # a letter of another script
        "models/e\u0301.md",
        "models/CON",
        "models/nul.txt",
        "Aux/x",
        "models/COM1.log",
        "models/EVAL.md.",
        "models/EVAL.md ",
        "models/ EVAL.md",
        "models/a?b",
        "Models/x",
        "lineage.csv/x",
    ],
)
def test_a_name_that_a_reader_or_a_system_takes_for_another_is_refused(tmp_path, name):
    whole = [(f"{NAME}/{own}", content) for own, content in sums(small()).items()]
    assert "its member" in problems(written([*whole, (f"{NAME}/{name}", b"x")]), tmp_path)


def test_an_older_bundle_checks_as_before_and_says_what_is_not_proven(tmp_path):
    file = tmp_path / "old.zip"
    file.write_bytes(written([(f"{NAME}/{own}", data) for own, data in sums(small()).items()]))
    report = check.check(str(file))
    assert report.problems == [] and "does not prove" in report.proof and report.tag in report.proof
