"""The comparison exported as a folder: opened from disk by a browser that reaches no service at all."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.page.conftest import PATIENCE_MILLISECONDS, keep_picture, serious_violations
from tests.patience import PATIENCE_SECONDS

from divisi.gateway.comparison_folder import Language
from divisi.gateway.open_routes import static_files
from divisi.sample import SOURCES

if TYPE_CHECKING:
    from tests.page.conftest import Tab

PLAYERS = """() => [...document.querySelectorAll("audio")].map(({ readyState, error, duration }) => (
  { known: readyState > 0, failed: error !== null, duration }))"""
PLAYING = (
    """() => [...document.querySelectorAll("audio")].flatMap((player) => player.paused ? [] : [player.ariaLabel])"""
)


@pytest.fixture
def folder(tab: Tab, tmp_path: Path) -> Path:
    """Exported by the button of the comparison, and unpacked."""
    tab.page.goto(f"{tab.service.url}/#/groups/{tab.service.group}")
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Folder that opens from disk").click()
    assert download.value.suggested_filename == "chorale - comparison.zip"
    download.value.save_as(tmp_path / "comparison.zip")
    with zipfile.ZipFile(tmp_path / "comparison.zip") as archive:
        archive.extractall(tmp_path / "comparison")
    return tmp_path / "comparison"


@pytest.fixture
def opened(browser: Browser, folder: Path) -> Iterator[Page]:
    """The folder's page, by its path; the test fails when it asks for anything that is no file of the folder."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((folder / "index.html").as_uri())
    yield page
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(folder.as_uri())] == []


def until_known(page: Page) -> list[dict[str, float]]:
    """What the players know of their files, once all know it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    players: list[dict[str, float]] = page.evaluate(PLAYERS)
    while not all(player["known"] or player["failed"] for player in players):
        assert time.monotonic() < deadline, players
        page.wait_for_timeout(50)
        players = page.evaluate(PLAYERS)
    return players


def test_the_folder_speaks_the_language_of_the_page_that_saves_it(browser: Browser, tab: Tab) -> None:
    address = f"{tab.service.url}/v1/groups/{tab.service.group}/folder.zip"
    with zipfile.ZipFile(io.BytesIO(httpx.get(f"{address}?language=fr").content)) as files:
        text = files.read("index.html").decode()
    assert '<html lang="fr">' in text
    for said in ("L’enregistrement", "2 modèles", "Les quatre voix d’un chœur, petit modèle", "Ténor"):
        assert said in text
    assert re.search(r"moyenne \d+,\d dB", text)
    for asked, language in (("it-IT,it;q=0.9,en;q=0.8", "it"), ("sv,de;q=0.7", "de"), ("sv", "en")):
        with zipfile.ZipFile(io.BytesIO(httpx.get(address, headers={"Accept-Language": asked}).content)) as files:
            assert f'<html lang="{language}">' in files.read("index.html").decode()
    assert set(get_args(Language)) == {name.split(".")[1] for name in static_files("page") if name.startswith("words.")}


def test_every_player_of_the_folder_knows_its_file(opened: Page) -> None:
    expect(opened.get_by_role("heading", name="chorale.flac")).to_be_visible()
    assert opened.get_by_role("columnheader").all_inner_texts()[:2] == ["Voice", "Original"]
    players = until_known(opened)
    assert len(players) == 1 + len(SOURCES) * 3  # the recording; true sources and two models
    assert not any(player["failed"] for player in players)
    assert [player["duration"] for player in players] == pytest.approx(
        [players[0]["duration"]] * len(players), abs=0.01
    )
    assert opened.locator("td svg").count() == len(SOURCES) * 3
    assert opened.locator(".figure.best").count() == 2 * len(SOURCES)  # the twin is as good
    keep_picture(opened, "folder")


def test_a_second_player_goes_on_where_the_first_one_was(opened: Page) -> None:
    until_known(opened)
    first = opened.locator("audio[aria-label^='Alto, Original']")
    second = opened.locator("audio[aria-label*='Alto, Four voices of a choir, twin']")
    first.evaluate("player => { player.currentTime = 4; return player.play(); }")
    for _ in range(200):
        if first.evaluate("player => player.currentTime") > 4.2:
            break
        opened.wait_for_timeout(50)
    second.evaluate("player => player.play()")
    for _ in range(200):
        if len(opened.evaluate(PLAYING)) == 1 and second.evaluate("player => player.currentTime") > 4.2:
            break
        opened.wait_for_timeout(50)
    assert opened.evaluate(PLAYING) == ["Alto, Four voices of a choir, twin"]
    assert second.evaluate("player => player.currentTime") > first.evaluate("player => player.currentTime") - 0.1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_folder(opened: Page, scheme: str) -> None:
    opened.emulate_media(color_scheme=scheme)
    assert serious_violations(opened) == []
    opened.set_viewport_size({"width": 360, "height": 740})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    keep_picture(opened, f"folder-phone-{scheme}")
