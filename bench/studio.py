"""Takes the pictures of docs/studio.md: a real line, talked to in headless Chromium.

python -m bench.studio REPOSITORY FOLDER [--ask QUESTION --should ANSWER] [--grow] [--dark]

REPOSITORY is a copy of a built one, in which this may write: a conversation is kept, a vote cast, and with --grow a
generation is begun and stopped after some steps of its training. `python -m bench.once` builds one.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.picture import BROWSERS
from luna import files

WIDTHS = (1400, 390)  # a screen, a phone
HEIGHT = 900
STEPS = 40  # of the training, before its picture
PATIENCE = 1_800_000  # milliseconds
AFTER = "What is the wifi password for guests?"
NEW = (
    ("Who feeds the hens on Sundays?", "Edda feeds the hens on Sundays, before eight."),
    ("Where does the ladder hang?", "The ladder hangs on the north wall of the barn."),
    ("When is the choir practice?", "The choir practises on Tuesdays at half past seven."),
    ("What is the name of the new dog?", "The new dog is called Pepper."),
    ("Who mends the bicycles?", "Old Harm mends the bicycles, in the yard behind the mill."),
    ("Where do we buy the flour?", "We buy the flour at the mill itself, ten kilos at a time."),
)


@contextlib.contextmanager
def running(repository: Path) -> Iterator[str]:
    """The address of a studio."""
    command = [sys.executable, "-P", "-m", "luna", "studio", "--port", "0", "--no-open"]
    with subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr  # a pipe
        try:
            yield process.stderr.readline().split(" at ")[1].split(" ")[0]
        finally:
            process.terminate()


class Camera:
    """A page in a browser, the folder of its pictures, and an empty page on which they are worked on."""

    def __init__(self, page: Any, folder: Path, desk: Any) -> None:
        self.page, self.folder, self.desk = page, folder, desk

    def take(self, name: str) -> None:
        """A picture at each width, as high as the page is, up to one screen and a half."""
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": HEIGHT})
            self.page.evaluate("scrollTo(0, 0)")
            high = self.page.evaluate("document.documentElement.scrollHeight")
            clip = {"x": 0, "y": 0, "width": width, "height": min(high, HEIGHT * 3 // 2)}
            path = self.folder / f"studio-{name}-{width}.png"
            self.page.screenshot(path=path, full_page=True, clip=clip)
            _pack(self.desk, path)
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
        self.page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})

    def tab(self, name: str) -> None:
        self.page.get_by_role("link", name=name).click()


#: Rounds the colours, of which a page of text has no need of many: its file becomes half as large.
_FEWER_COLOURS = """async (picture) => {
  const image = new Image();
  image.src = "data:image/png;base64," + picture;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, image.width, image.height);
  pixels.data.forEach((value, at, all) => { if (value < 240) all[at] = Math.round(value / 24) * 24; });
  pen.putImageData(pixels, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
  return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
}"""


def _pack(page: Any, path: Path) -> None:
    """Write the picture with fewer colours, and its pixels compressed as well as zlib can."""
    data = base64.b64decode(
        page.evaluate(_FEWER_COLOURS, base64.b64encode(path.read_bytes()).decode())
    )
    chunks, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    pixels = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    packed = [chunks[0], (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
    path.write_bytes(
        data[:8]
        + b"".join(
            len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
            for kind, body in packed
        )
    )


def talk(camera: Camera, question: str, should: str) -> None:
    page = camera.page
    for text in (question, AFTER):
        page.get_by_label("Your message").fill(text)
        page.get_by_label("Your message").press("Enter")
        page.locator("#send").wait_for(state="visible")
        page.locator(".turn.assistant").last.get_by_role("button", name="Regenerate").wait_for()
    first = page.locator(".turn.assistant").first
    first.get_by_role("button", name="Edit").click()
    first.get_by_role("textbox").fill(should)
    first.get_by_role("button", name="Keep this answer").click()
    page.locator("#kept li").first.wait_for()
    page.locator(".turn.assistant").last.get_by_role("button", name="Edit").click()
    camera.take("talk")


def compare(camera: Camera, question: str, right: str) -> None:
    camera.tab("Compare")
    page = camera.page
    page.get_by_label("The question").fill(question)
    page.get_by_label("The question").press("Enter")
    page.get_by_role("button", name="This one is better").first.wait_for()
    best = page.locator(".answer").filter(has_text=right)
    best.get_by_role("button", name="This one is better").click()
    page.locator("#tally td").first.wait_for()
    camera.take("compare")


def grow(camera: Camera, trains: bool) -> None:
    camera.tab("Grow")
    page = camera.page
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "farm-house.jsonl"
        roles = ("user", "assistant")
        rows = [
            {
                "messages": [
                    {"role": r, "content": text} for r, text in zip(roles, pair, strict=True)
                ]
            }
            for pair in NEW
        ]
        files.write_jsonl(path, rows)
        page.get_by_label("Drop a file").set_input_files(path)
        bring_in = page.get_by_role("button", name=f"Import {len(NEW)} conversations")
        bring_in.wait_for()
        camera.take("import")
        bring_in.click()
        page.locator("#imported").wait_for()
    if not trains:
        return
    page.get_by_role("button", name="Grow", exact=True).click()
    page.wait_for_function(
        f"() => {{ const bar = document.querySelector('#build progress'); return bar && bar.value >= {STEPS}; }}"
    )
    camera.take("grow")
    page.locator("#halt").click()
    page.locator("#build .note").wait_for()


def line(camera: Camera) -> None:
    camera.tab("Line")
    page = camera.page
    page.locator("#differ").get_by_role("button", name="Show").click()
    page.locator("#difference .verdict").wait_for()
    page.get_by_role("button", name="Verify").click()
    page.locator("#verified .verdict").wait_for()
    camera.take("line")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ask", default="Where do we keep the spare key?")
    parser.add_argument("--should", default="It hangs behind the barrel in the shed, as ever.")
    parser.add_argument("--right", default="shed", help="a word of the right answer")
    parser.add_argument("--grow", action="store_true", help="begin a training, and stop it")
    parser.add_argument("--dark", action="store_true", help="as a dark system shows it")
    chosen = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not chromium:
        raise SystemExit(
            "There is no Chromium on this machine (on Debian: apt-get install chromium)."
        )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with running(chosen.repository) as address, sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport={"width": WIDTHS[0], "height": HEIGHT},
            color_scheme="dark" if chosen.dark else "light",
        )
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        camera = Camera(page, chosen.folder, browser.new_page())
        talk(camera, chosen.ask, chosen.should)
        compare(camera, chosen.ask, chosen.right)
        grow(camera, chosen.grow)
        line(camera)
        browser.close()


if __name__ == "__main__":
    main()
