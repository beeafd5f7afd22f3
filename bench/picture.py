"""Takes a picture of a report in headless Chromium.

python -m bench.picture REPORT.html PICTURE.png [--dark] [--width PIXELS]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

HEIGHT = 1000  # CSS pixels
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def take(report: Path, picture: Path, dark: bool, width: int) -> None:
    """Raises SystemExit where there is no Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not chromium:
        raise SystemExit(
            "There is no Chromium on this machine (on Debian: apt-get install chromium)."
        )
    with sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(
            viewport={"width": width, "height": HEIGHT}, color_scheme="dark" if dark else "light"
        )
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-drawn]")
        page.screenshot(path=picture)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="what 'luna report' wrote")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    parser.add_argument("--dark", action="store_true", help="as a dark system shows it")
    parser.add_argument(
        "--width", type=int, default=1280, help="of the window, in pixels (a phone: 390)"
    )
    chosen = parser.parse_args()
    take(chosen.report, chosen.picture, chosen.dark, chosen.width)


if __name__ == "__main__":
    main()
