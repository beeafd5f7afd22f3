"""A base from a hub: pinned to a commit, resumed after a cut, and a commit that vanished is one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from conftest import SOURCE
from safetensors.torch import load_file, save_file

from luna import files
from luna.model import folder as model_folder

COMMIT, NAME = "c0ffee" + "0" * 34, "someone/tiny"
_MAKE = """
import sys
from pathlib import Path
from luna.errors import LunaError
from luna.model import base
from luna.params import Base
from luna.training import environment
environment.prepare("cpu")
try:
    base.make(Base(source=sys.argv[1], revision=sys.argv[2]), Path(sys.argv[3]))
except LunaError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


class Hub(ThreadingHTTPServer):
    """The few requests that a download of one revision makes. ``cuts``: how often a file of weights ends in its middle."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder, self.cuts, self.asked = folder, 0, []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        names = sorted(item.name for item in self.server.folder.iterdir())
        if path == f"/api/models/{NAME}/revision/{COMMIT}":
            rows = [{"rfilename": name} for name in names]
            self._say(json.dumps({"id": NAME, "sha": COMMIT, "siblings": rows}).encode())
        elif path.startswith(f"/api/models/{NAME}/tree/{COMMIT}"):
            sizes = {name: (self.server.folder / name).stat().st_size for name in names}
            rows = [
                {"type": "file", "path": name, "size": size, "oid": name}
                for name, size in sizes.items()
            ]
            self._say(json.dumps(rows).encode())
        elif path.startswith(f"/{NAME}/resolve/{COMMIT}/") and path.rpartition("/")[2] in names:
            self._file(self.server.folder / path.rpartition("/")[2])
        else:
            known = path.startswith((f"/api/models/{NAME}/", f"/{NAME}/"))
            why = "RevisionNotFound" if known else "RepoNotFound"
            self._say(b"{}", 404, {"X-Error-Code": why})

    def _file(self, path: Path) -> None:
        data = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        if self.command == "GET":
            self.server.asked.append((path.name, start))
        more = {"ETag": f'"{files.digest(path)}"', "X-Repo-Commit": COMMIT}
        if start:
            more["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.command == "GET" and path.suffix == ".safetensors" and self.server.cuts > 0
        self._say(data[start:], 206 if start else 200, more, cut)

    def _say(self, data: bytes, code: int = 200, more: dict | None = None, cut: bool = False):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut:
            self.server.cuts -= 1
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data)


@pytest.fixture
def own(tiny_base, tmp_path) -> Path:
    """With weights of more than the 10 MB in which the hub's own library writes."""
    folder = Path(shutil.copytree(tiny_base, tmp_path / "own"))
    tensors = load_file(folder / model_folder.WEIGHTS)
    save_file(
        tensors | {"more": torch.zeros(20 << 20, dtype=torch.bfloat16)},
        folder / model_folder.WEIGHTS,
    )
    return folder


@pytest.fixture
def hub(own) -> Iterator[Hub]:
    with Hub(own) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def made(hub: Hub, tmp_path: Path, source: str = NAME, revision: str = COMMIT):
    env = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub")}
    env |= {"PYTHONPATH": str(SOURCE), "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-c", _MAKE, source, revision, str(tmp_path / "out")]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_a_base_comes_from_a_hub_and_a_cut_download_goes_on_where_it_ended(hub, own, tmp_path):
    hub.cuts = 1
    done = made(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    name = model_folder.WEIGHTS
    first, again = (start for asked, start in hub.asked if asked == name)
    assert first == 0 < again <= (own / name).stat().st_size // 2
    assert (tmp_path / "out" / name).read_bytes() == (own / name).read_bytes()


def test_files_that_came_whole_before_a_hub_died_are_not_asked_for_again(hub, tmp_path):
    hub.cuts = 100
    refused = made(hub, tmp_path)
    assert refused.returncode == 2 and "did not give someone/tiny" in refused.stderr
    assert "Traceback" not in refused.stderr
    hub.cuts, before = 0, len(hub.asked)
    assert made(hub, tmp_path).returncode == 0
    assert {asked for asked, _ in hub.asked[before:]} == {model_folder.WEIGHTS}


@pytest.mark.parametrize("source", [NAME, "nobody/tiny"])
def test_a_commit_or_a_model_that_vanished_is_one_sentence(hub, tmp_path, source):
    refused = made(hub, tmp_path, source, "d" * 40)
    assert refused.returncode == 2
    assert f"has no {source} at revision {'d' * 40}" in refused.stderr
    assert refused.stderr.count("\n") == 1 and not list(tmp_path.glob("out/*"))
