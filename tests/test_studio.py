"""luna studio: who may ask, what each request does, and a person who lives on the page in a real browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import BIN, Repo, facts, write_jsonl

from luna.conversations import schema
from luna.errors import InputError
from luna.operations import votes
from luna.studio.uploads import Uploads

PATIENCE = 900.0  # seconds, on a machine that may be busy
ASK = "What is the harbour word number 1?"
TURNS = [["user", "Who are you?"], ["assistant", "A."], ["user", ASK], ["assistant", "B."]]


class Page:
    """A running studio: its process, its token, and requests to it."""

    def __init__(self, repo: Repo, process: subprocess.Popen, address: str) -> None:
        self.repo, self.process, self.address = repo, process, address
        self.port = int(re.search(r":(\d+)/", address)[1])
        self.token = address.partition("#token=")[2]

    def raw(self, method: str, path: str, body: bytes | None = None, **headers: str):
        """Status, headers and content; no token unless it is among the headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def ask(self, path: str, body: Any = None, status: int = 200) -> Any:
        """GET without a body, POST with one, as the page asks."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        got, _, content = self.raw(method, path, data, Authorization=f"Bearer {self.token}")
        assert got == status, content
        return json.loads(content)

    def refused(self, path: str, body: Any, status: int = 400) -> str:
        return self.ask(path, body, status)["error"]["message"]


@contextlib.contextmanager
def studio(repo: Repo) -> Iterator[Page]:
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    command = [str(BIN / "luna"), "studio", "--port", "0", "--no-open"]
    process = subprocess.Popen(command, cwd=repo.path, env=env, stderr=subprocess.PIPE, text=True)
    try:
        first = process.stderr.readline()
        assert "#token=" in first, first + process.stderr.read()
        yield Page(repo, process, first.split(" at ")[1].split(" ")[0])
    finally:
        process.terminate()
        rest = process.communicate()[1]
        assert "Traceback" not in rest, rest


@pytest.fixture(scope="module")
def page(line, module_folder) -> Iterator[Page]:
    """A studio whose line no test of the module changes."""
    with studio(line.copy(module_folder / "line")) as running:
        yield running


def until(true, seconds: float = PATIENCE) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        threading.Event().wait(0.05)
    return bool(true())


# -- who may ask


def test_only_the_page_with_the_token_may_ask(page):
    right = f"Bearer {page.token}"
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": right, "Host": f"evil.example:{page.port}"}, 403),
        ({"Authorization": right, "Origin": "http://evil.example"}, 403),
        ({"Authorization": right, "Origin": "null"}, 403),
        ({"Authorization": right, "Origin": f"http://127.0.0.1:{page.port + 1}"}, 403),
        ({"Authorization": right, "Origin": f"http://127.0.0.1:{page.port}"}, 200),
    ):
        for method, path in (("GET", "/studio/state"), ("POST", "/studio/stop")):
            got, _, content = page.raw(method, path, b"{}", **headers)
            wanted = 400 if status == 200 and method == "POST" else status
            assert got == wanted, (headers, content)
    for path in ("/v1/models", "/health", "/studio/line", "/studio/report.html", "/metrics"):
        got, _, content = page.raw("GET", path)
        assert got == 401 and b"luna studio" in content
    with_page = page.raw("GET", "/studio/state", Authorization=right, Origin="http://evil.example")
    assert page.address.partition("#")[0].encode() in with_page[2]


def test_the_page_can_only_do_what_its_own_files_say(page):
    for path in ("/", "/page.js", "/theme.css", "/shared.js", "/line.js"):
        status, headers, content = page.raw("GET", path)
        policy = headers["content-security-policy"]
        assert status == 200 and content and "unsafe" not in policy
        assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy
        assert headers["cache-control"] == "no-store" and "set-cookie" not in headers
        assert b"innerHTML" not in content and b"http://www.w3.org" not in content.replace(
            b'const SVG = "http://www.w3.org/2000/svg"', b""
        )
        assert page.token.encode() not in content
    html = page.raw("GET", "/")[2].decode()
    assert not re.search(r"<script(?! src)|<style|style=| on\w+=", html)


def test_a_get_changes_nothing(page):
    before = page.repo.snapshot()
    for path in ("state", "waiting", "running", "line", "votes", "diff?a=1&b=3"):
        assert page.ask(f"/studio/{path}")
    right = {"Authorization": f"Bearer {page.token}"}
    for path in (
        *("keep", "take-back", "vote", "upload", "import", "forget"),
        *("evolve", "verify", "stop", "rollback"),
    ):
        assert page.raw("GET", f"/studio/{path}", **right)[0] == 405, path
    assert b"Content-Security-Policy" in page.raw("GET", "/studio/report.html", **right)[2]
    assert page.repo.snapshot() == before


def test_bad_requests_are_one_sentence_and_change_nothing(page):
    before = page.repo.snapshot()
    for path, body, words in (
        ("keep", {"turns": [], "good": []}, "ask something first"),
        ("keep", {"turns": TURNS, "good": "x"}, "'good'"),
        ("keep", {"turns": TURNS[1:3], "good": []}, "in turn"),
        ("keep", {"turns": TURNS, "good": [], "correction": " "}, "would have been right"),
        ("keep", {"turns": TURNS, "good": [], "stopped": True}, "not whole"),
        ("take-back", {"identity": "../../params"}, "names no conversation"),
        ("take-back", {"identity": 3}, "'identity'"),
        ("vote", {"question": ASK, "answers": {"G001": "a"}, "best": None}, "compare first"),
        ("vote", {"question": ASK, "answers": [], "best": None}, "'answers'"),
        ("upload?name=", b"x", "no name"),
        ("upload?name=..", b"x", "no name"),
        ("import", {"upload": "../x"}, "drop it again"),
        ("evolve", {"max": 0}, "from 1 on"),
        ("rollback", {"generation": "--stay", "reason": "x"}, "There is no generation"),
        ("rollback", {"generation": "G002", "reason": "x"}, "denied by the rule"),
        ("rollback", {"generation": "G001", "reason": ""}, "needs a reason"),
        ("keep", [], "not a JSON object"),
    ):
        status = 404 if "no generation" in words else 400
        assert words in page.refused(f"/studio/{path}", body, status), path
    assert "waits" in page.refused("/studio/take-back", {"identity": "0" * 64}, 503)
    assert "is running here" in page.refused("/studio/stop", {"what": "evolve"}, 503)
    page.raw("POST", "/studio/keep", b"x" * 5_000_000, Authorization=f"Bearer {page.token}")
    with socket.create_connection(("127.0.0.1", page.port)) as large:
        large.sendall(
            f"POST /studio/upload?name=a HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {page.token}\r\n"
            "Content-Length: 9000000000\r\n\r\n".encode()
        )
        assert b" 413 " in large.makefile("rb").readline()
    assert page.repo.snapshot() == before
    assert page.ask("/studio/votes") == {"pairs": []}


def test_a_second_studio_on_the_port_is_one_sentence(page):
    arguments = ("studio", "--no-open", "--port", str(page.port))
    refused = page.repo.luna(*arguments, code=2).stderr
    assert refused.count("\n") == 1 and "give another with --port" in refused


# -- what a request does


def test_what_is_kept_is_what_chat_keeps_and_can_be_taken_back(page):
    inbox = page.repo.path / "data/inbox"
    wrong = page.ask(
        "/studio/keep", {"turns": TURNS, "good": [], "correction": "It is birch1.", "stopped": True}
    )
    assert wrong["turns"][-1] == ["assistant", "It is birch1."] and wrong["good"] == [3]
    [kept] = inbox.iterdir()
    rows = json.loads(kept.read_text())["messages"]
    assert [row.get("weight") for row in rows] == [None, 0, None, None]
    assert schema.parse(json.loads(kept.read_text())).identity == wrong["identity"]
    again = page.ask("/studio/keep", {"turns": wrong["turns"], "good": [3], "correction": None})
    assert again["good"] == [1, 3] and again["identity"] != wrong["identity"]
    same = page.ask("/studio/keep", {"turns": wrong["turns"], "good": [3], "correction": None})
    assert same["identity"] == again["identity"] and (again["new"], same["new"]) == (True, False)

    ahead = page.ask("/studio/waiting")
    assert {row["identity"] for row in ahead["conversations"]} == {
        wrong["identity"],
        again["identity"],
    }
    assert all(row["inbox"] and row["tokens"] > 10 for row in ahead["conversations"])
    told = page.repo.json("status", "--waiting")
    assert told["conversations"] == ahead["conversations"] and told["foreseen"] == ahead["foreseen"]
    assert ASK in page.repo.luna("status", "--waiting").stdout
    for kept in (wrong, again):
        page.ask("/studio/take-back", {"identity": kept["identity"]})
    assert not list(inbox.iterdir()) and page.ask("/studio/waiting")["count"] == 0


def test_a_file_is_looked_at_first_and_imported_when_that_is_said(line, tmp_path):
    repo = line.copy(tmp_path / "repo")
    write_jsonl(tmp_path / "new.jsonl", facts("valley", range(3)))
    with studio(repo) as page:
        before = repo.snapshot()
        body = (tmp_path / "new.jsonl").read_bytes()
        word = page.ask("/studio/upload?name=../new.jsonl", body)["upload"]
        found = page.ask("/studio/import", {"upload": word})
        assert (found["dry_run"], found["read"], found["taken"]) == (True, 3, 3)
        assert repo.snapshot() == before
        other = page.ask("/studio/upload?name=other.jsonl", b"{}")["upload"]
        page.refused("/studio/import", {"upload": word})  # one file waits at a time
        page.ask("/studio/forget", {"upload": other})
        word = page.ask("/studio/upload?name=new.jsonl", body)["upload"]
        done = page.ask("/studio/import", {"upload": word, "dry_run": False})
        [source] = done["sources"]
        assert done["taken"] == 3 and (repo.path / source["file"]).is_file()
        assert not list((repo.path / ".luna").glob("studio-*/*"))
        assert page.ask("/studio/waiting")["count"] == 3
        assert page.ask("/studio/state")["pending"]["conversations"] == 3
    assert not list((repo.path / ".luna").glob("studio-*"))


def test_what_a_killed_studio_left_is_removed_by_the_next(tmp_path):
    def own() -> list[Path]:
        return list((tmp_path / ".luna").glob("studio-*"))

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".luna/studio-{dead.pid}-x/y").mkdir(parents=True)
    with contextlib.closing(Uploads(tmp_path)), contextlib.closing(Uploads(tmp_path)):
        assert len(own()) == 2
    assert own() == []


def test_votes_are_kept_in_a_line_each_and_stand_in_the_report(line, tmp_path):
    a, b, c = "Luna-G000-20260101-000000", "Luna-G001-20260101-000000", "Luna-G002-20260101-000000"
    votes.add(tmp_path, ASK, {a: "x", b: "y", c: "z"}, b, blind=True)
    with (tmp_path / votes.FILE).open("ab") as file:  # a kill
        file.write(b'{"version":1,"answ')
    votes.add(tmp_path, ASK, {b: "y", a: "x"}, None, blind=False)
    votes.add(tmp_path, ASK, {b: "y", a: "x"}, a, blind=False)
    assert votes.pairs(tmp_path) == [votes.Pair(a, b, 1, 1, 1, 1), votes.Pair(b, c, 1, 0, 0, 1)]
    assert len((tmp_path / votes.FILE).read_bytes().splitlines()) == 4
    for answers, best in (({a: "x"}, None), ({a: "x", b: "y"}, c)):
        with pytest.raises(InputError):
            votes.add(tmp_path, ASK, answers, best, blind=False)

    repo = line.copy(tmp_path / "repo")
    names = [row["name"] for row in repo.json("log")]
    votes.add(repo.path, "<b>A private question?</b>", {names[1]: "x", names[3]: "y"}, None, True)
    repo.luna("report", "-o", str(tmp_path / "report.html"))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="votes-title">Votes</h2>' in text and "private question" not in text
    assert "<td>G001</td><td>G003</td><td>0</td><td>0</td><td>1</td><td>1</td>" in text
    assert repo.git("status", "--porcelain").strip() == ""


def test_verify_tells_how_far_it_is(page):
    page.ask("/studio/verify", {"remote": False})
    assert until(lambda: page.ask("/studio/running")["verify"]["exit_code"] is not None)
    job = page.ask("/studio/running")["verify"]
    assert job["exit_code"] == 0 and job["document"]["clean"], job
    assert job["progress"]["bytes"] == job["progress"]["total"] == job["document"]["bytes_read"] > 0


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_nothing_outlives_the_studio(line, tmp_path, end):
    repo = line.copy(tmp_path / "repo")
    write_jsonl(repo.path / "data/conversations/third.jsonl", facts("valley", range(4)))
    with studio(repo) as page:
        body = {"messages": [{"role": "user", "content": ASK}], "max_tokens": 2}
        assert page.ask("/v1/chat/completions", body)["choices"]
        page.ask("/studio/evolve", {})
        assert "is running here already" in page.refused("/studio/evolve", {}, 503)
        if end == "kill":  # in the midst of a stage
            assert until(lambda: (page.ask("/studio/running")["build"] or {}).get("stage"))
        family = psutil.Process(page.process.pid).children(recursive=True)
        names = {Path(one.name()).stem for one in family}
        assert "llama-server" in names and len(family) >= (4 if end == "kill" else 2), names
        getattr(page.process, end)()
        assert not psutil.wait_procs(family, PATIENCE)[1]
    assert repo.json("status")["running"] is None


def test_a_command_that_is_not_started_by_a_studio_reads_no_input():
    """The watch on standard input is for those whose environment asks for it, and not for what they start."""
    done = subprocess.run(
        [sys.executable, "-c", "import os; from luna import ending; ending.with_input(); print(1)"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_a_studio_begins_without_a_generation(fresh, tmp_path):
    with studio(fresh.copy(tmp_path / "repo")) as page:
        state = page.ask("/studio/state")
        assert state["head"] is None and state["line"] == [] and state["next"] == "luna evolve"
        assert page.ask("/studio/waiting")["count"] == 12
        assert page.ask("/studio/line") == {"generations": []}
        body = {"messages": [{"role": "user", "content": ASK}]}
        assert "luna evolve" in page.refused("/v1/chat/completions", body, 404)


# -- in a real browser


def test_a_person_lives_on_the_page(browser, line, tmp_path):
    """Talks, corrects, imports, grows, stops, compares blind and rolls back; the keyboard is enough for the talk."""
    repo = line.copy(tmp_path / "repo")
    write_jsonl(tmp_path / "valley.jsonl", facts("valley", range(4)))
    with studio(repo) as running:
        view = browser.new_page(viewport={"width": 1280, "height": 900})
        view.set_default_timeout(PATIENCE * 1000)
        asked, wrong = [], []
        view.on("request", lambda request: asked.append(request.url))
        view.on("pageerror", lambda error: wrong.append(str(error)))
        view.on("console", lambda message: wrong.append(message.text))
        view.goto(running.address)
        view.wait_for_selector("html[data-ready]")
        assert running.token not in view.url and "G003" in view.locator("#standing").inner_text()

        # Talk and correct.
        view.keyboard.type(ASK)
        view.keyboard.press("Enter")
        answer = view.locator(".turn.assistant")
        answer.get_by_role("button", name="Good").wait_for()
        assert answer.locator(".text").text_content()  # of a model of random weights
        assert answer.locator(".who").inner_text() == "G003"
        answer.get_by_role("button", name="Edit").click()
        hostile = "<img src=x onerror=alert(1)> It is birch1, mate."
        answer.get_by_role("textbox").fill(hostile)
        answer.get_by_role("button", name="Keep this answer").click()
        answer.get_by_text("kept for the next generation").wait_for()
        assert answer.locator(".text").inner_text() == hostile
        view.locator("#kept li").get_by_text(hostile).wait_for()
        assert view.locator("img").count() == 0
        [kept] = (repo.path / "data/inbox").iterdir()
        assert json.loads(kept.read_text())["messages"][-1]["content"] == hostile
        view.locator("#kept").get_by_role("button", name="Take back").click()
        answer.get_by_role("button", name="Regenerate").wait_for()
        assert not list((repo.path / "data/inbox").iterdir())
        answer.get_by_role("button", name="Regenerate").click()
        view.get_by_text("Written at temperature").wait_for()
        view.locator("#talk-with").select_option(label="G001, promoted")
        view.get_by_label("Your message").fill("And the next one?")
        view.get_by_label("Your message").press("Enter")
        last = view.locator(".turn.assistant").nth(1)
        last.get_by_role("button", name="Good").click()
        last.get_by_text("kept for the next generation").wait_for()
        assert last.locator(".who").inner_text() == "G001"

        # Import.
        view.get_by_role("link", name="Grow").click()
        view.get_by_label("Drop a file").set_input_files(tmp_path / "valley.jsonl")
        view.get_by_text("4 conversations read: 4 to take.").wait_for()
        view.get_by_role("button", name="Import 4 conversations").click()
        view.locator("#imported").wait_for()
        view.get_by_text("5 conversations", exact=True).wait_for()

        # Grow; stopped, it resumes.
        view.get_by_role("button", name="Grow", exact=True).click()
        view.locator('#build li[aria-current="step"]').wait_for()
        view.locator("#halt").click()
        view.locator("#build").get_by_text("Stopped. Grow again").wait_for()
        assert repo.json("status")["building"].startswith("Luna-G004")
        view.get_by_role("button", name="Grow", exact=True).click()
        verdict = view.locator("#build .verdict")
        verdict.wait_for()
        assert "G004: promoted, it is the current best now" in verdict.inner_text()
        assert "Tone drift" in view.locator("#build .bars").inner_text()
        view.get_by_text("Nothing waits to be learnt").wait_for()
        assert repo.json("status")["head"].startswith("Luna-G004")

        # Compare, blind.
        view.get_by_role("link", name="Compare").click()
        view.get_by_label("The question").fill(ASK)
        view.get_by_label("The question").press("Enter")
        better = view.get_by_role("button", name="This one is better")
        better.first.wait_for()
        assert view.locator(".answer h3 span").all_inner_texts() == ["A", "B"]
        better.first.click()
        view.locator("#tally td").first.wait_for()
        shown = sorted(text[3:] for text in view.locator(".answer h3 span").all_inner_texts())
        assert shown == ["G003", "G004"]
        [pair] = votes.pairs(repo.path)
        assert (pair.a_better + pair.b_better, pair.blind) == (1, 1)

        # The line: what differs, the way back, whether all is intact.
        view.get_by_role("link", name="Line").click()
        view.get_by_role("option", name="G002 denied").click()
        assert "denied" in view.locator("#detail").inner_text()
        assert view.locator("#canvas svg path").count() >= 5
        view.locator("#differ").get_by_role("button", name="Show").click()
        view.locator("#difference .verdict").wait_for()
        view.get_by_text("Conversations added (5)").click()
        assert "valley word" in view.locator("#difference").inner_text()
        view.locator("#back-to").select_option(label="G001, promoted")
        view.get_by_role("button", name="Roll back").click()
        assert view.locator("#reason:invalid").count() == 1  # it needs a reason
        view.get_by_label("because").fill("a test")
        view.get_by_role("button", name="Roll back").click()
        view.get_by_text("The current best is Luna-G001").first.wait_for()
        view.get_by_text("Rollback to G001: a test").wait_for()
        assert repo.json("log", "--head")[-1]["why"].endswith("a test")
        assert view.locator("#alert").is_hidden()
        view.get_by_role("button", name="Verify").click()
        view.locator("#verified").get_by_text("All of it is intact.").wait_for()

        assert {
            url.split("/", 3)[2] for url in asked if not url.startswith(("data:", "blob:"))
        } == {f"127.0.0.1:{running.port}"}
        # A refusal is no fault of the page, though a browser notes it.
        assert not [text for text in wrong if "Failed to load resource" not in text], wrong
        view.close()
