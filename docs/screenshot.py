"""Takes docs/page.png, the picture of the listening page in the README: the sample chorale, separated and playing.

    python docs/screenshot.py

Starts a service of its own on a free port. Needs a `chromium` (tests/system_packages.sh).
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from divisi.client import Client
from divisi.sample import mixture_path
from divisi.settings import load_settings
from divisi.standalone import Standalone

PICTURE = Path(__file__).with_name("page.png")
MOST_BYTES = 150_000
WIDTH, HEIGHT = 1180, 886
FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--autoplay-policy=no-user-gesture-required"]
# Seconds into the chorale: the second phrase.
POSITION_SECONDS = 3.0


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium here; tests/system_packages.sh names what is needed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings().model_copy(update={"port": port, "log_level": "warning"})
        with Standalone(settings, Path(folder) / "data") as machine, sync_playwright() as playwright:
            with Client(machine.url) as client:
                job = client.wait(client.submit(mixture_path(), stem_format="flac")["id"])
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB")
            page.goto(f"{machine.url}/#/jobs/{job['id']}")
            play(page)
            page.screenshot(path=PICTURE)
            browser.close()
    shrink(PICTURE)
    sys.stdout.write(f"{PICTURE}: {PICTURE.stat().st_size / 1000:.0f} kB\n")


def play(page: Page) -> None:
    """Plays a while, with one voice in front, so that the picture shows what the page is for."""
    mixer = page.get_by_role("region", name="Mixer")
    mixer.wait_for()
    page.get_by_role("button", name="Play", exact=True).click()
    position = page.get_by_role("slider", name="Position", exact=True)
    while float(position.input_value()) < POSITION_SECONDS:
        page.wait_for_timeout(50)


def shrink(picture: Path) -> None:
    """Few colours are enough for a page; a repository keeps every version of a picture."""
    with Image.open(picture) as opened:
        reduced = opened.convert("RGB").quantize(256)
    reduced.save(picture, optimize=True)
    if (size := picture.stat().st_size) > MOST_BYTES:
        sys.exit(f"{picture} has {size} bytes; at most {MOST_BYTES} belong into the repository")


if __name__ == "__main__":
    main()
