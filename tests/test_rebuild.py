"""luna rebuild: weights and GGUF again from base and adapters, compared with the ledger; what cannot be, is said."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Repo

from luna.errors import ExportError
from luna.export import converter, differences, shipping, toolchain


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def objects(repo: Repo, generation: int, path: str) -> list[str]:
    """The md5 hashes of one output's files, from the sealed dvc.lock."""
    from luna.history.line import sealed_outs
    from luna.storage.objects import listing

    md5 = sealed_outs(repo.path, repo.json("log")[generation]["name"])[path].md5
    return list(listing(repo.path, md5).values()) if md5.endswith(".dir") else [md5]


def lose(repo: Repo, md5: str) -> None:
    for place in (repo.path / ".dvc/cache", repo.cold):
        (place / "files/md5" / md5[:2] / md5[2:]).unlink(missing_ok=True)


def test_a_clone_that_never_held_it_rebuilds_it_bit_for_bit(line, tmp_path):
    clone = Repo(tmp_path / "luna")
    line.run("git", "clone", "-q", str(line.path), str(clone.path))
    clone.dvc("remote", "add", "--local", "--default", "cold", str(line.cold))
    rows = clone.json("log")
    before = clone.snapshot()
    found = clone.json("rebuild", "2", "--check")  # a denied one, whose parent is not the newest
    assert (
        found["same"] and found["sha256"] == rows[2]["weights_sha256"] and not found["differences"]
    )
    clone.luna("rebuild", "3", "--out", str(tmp_path / "out"))
    assert sha256(tmp_path / "out/model.gguf") == rows[3]["weights_sha256"]
    assert (tmp_path / "out/weights/model.safetensors").stat().st_size == (
        line.path / "models/base/model.safetensors"
    ).stat().st_size
    assert clone.snapshot() == before
    # It was made and not fetched.
    for generation in (2, 3):
        [md5] = objects(clone, generation, "models/model.gguf")
        assert not (clone.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).exists()
    assert not list((clone.path / ".luna/rebuild").iterdir())


def test_a_missing_ancestors_adapter_is_named(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    for md5 in objects(repo, 1, "models/adapter"):
        lose(repo, md5)
    said = repo.luna("rebuild", "3", "--check", code=2).stderr
    assert "adapter of Luna-G001" in said and "Luna-G003" in said and "nothing was rebuilt" in said


def test_damage_in_the_cache_is_set_aside_and_fetched_again(line, tmp_path):
    repo = line.copy(tmp_path / "mine")
    largest = max(
        objects(repo, 0, "models/base"),
        key=lambda md5: (repo.cold / "files/md5" / md5[:2] / md5[2:]).stat().st_size,
    )
    path = repo.path / ".dvc/cache/files/md5" / largest[:2] / largest[2:]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)
    repo.luna("restore", "0")
    assert hashlib.md5(path.read_bytes()).hexdigest() == largest


def write_gguf(path: Path, parent: str, tensors: dict[str, list[float]]) -> Path:
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_string("luna.parent", parent)
    for name, values in tensors.items():
        writer.add_tensor(name, np.array(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_differs_is_told_tensor_by_tensor(tmp_path):
    one = write_gguf(tmp_path / "one.gguf", "G000", {"a": [1, 2, 3], "b": [1, 2], "c": [1]})
    two = write_gguf(tmp_path / "two.gguf", "G001", {"a": [1, 2, 4], "b": [1, 2, 3], "d": [1]})
    assert differences.differences(one, one) == []
    found = {item.what: item for item in differences.differences(one, two)}
    assert list(found) == ["luna.parent", "a", "b", "c", "d"]
    assert "'G000', rebuilt 'G001'" in found["luna.parent"].how
    assert (found["a"].bytes, found["a"].size) == (1, 12)  # 3.0 and 4.0 differ in one byte
    assert (
        "[2], rebuilt F32 [3]" in found["b"].how
        and "missing" in found["c"].how
        and "not in the recorded" in found["d"].how
    )
    (tmp_path / "cut.gguf").write_bytes(one.read_bytes()[:40])
    assert [item.what for item in differences.differences(one, tmp_path / "cut.gguf")] == ["file"]


def test_another_converter_makes_the_recorded_one_come_from_its_pinned_source(tmp_path):
    here = shipping.installed()
    sdist = tmp_path / "source.tar.gz"
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(
            here.converter,
            "llama_cpp_python-0.0.1/vendor/llama.cpp",
            filter=lambda item: None if "__pycache__" in item.name else item,
        )
    shutil.copytree(here.converter, tmp_path / "newer")
    (tmp_path / "newer/convert_hf_to_gguf.py").write_text("# of another version\n")
    wanted = toolchain.Recorded(here.version, here.converter_sha256, sha256(sdist))
    newer = replace(here, converter=tmp_path / "newer")
    said: list[str] = []

    def fetch(folder: Path, version: str) -> Path:
        return Path(shutil.copy(sdist, folder / "x.tar.gz"))

    assert (
        toolchain.choose(wanted, here, tmp_path / "tools", said.append, fetch) == here and not said
    )
    found = toolchain.choose(wanted, newer, tmp_path / "tools", said.append, fetch)
    assert found.converter_sha256 == wanted.converter_sha256 and found.converter != newer.converter
    assert "the recorded one is tried" in said[0] and newer.converter_sha256[:12] in said[0]
    with pytest.raises(ExportError, match="not the pinned"):
        toolchain.choose(
            replace(wanted, sdist_sha256="0" * 64), newer, tmp_path / "other", said.append, fetch
        )
    with pytest.raises(ExportError, match="not the recorded"):
        toolchain.choose(
            replace(wanted, converter_sha256="1" * 64),
            newer,
            tmp_path / "other",
            said.append,
            fetch,
        )
    with pytest.raises(ExportError, match="pins no source"):
        toolchain.choose(
            replace(wanted, version="0.0.1", sdist_sha256=None),
            here,
            tmp_path / "other",
            said.append,
            fetch,
        )


def test_what_a_generation_was_exported_by_is_read_from_its_own_record():
    code = Path(converter.__file__).read_text()
    report = {"converter": f"llama-cpp-python {converter.VERSION}", "converter_sha256": "a" * 64}
    assert toolchain.recorded(report, code) == toolchain.Recorded(
        converter.VERSION, "a" * 64, converter.SDIST_SHA256
    )
    assert (
        toolchain.recorded(report | {"converter": "llama-cpp-python 0.1.0"}, code).sdist_sha256
        is None
    )
