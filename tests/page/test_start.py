"""From a recording to its stems as a visitor sees it: drop, upload, progress, result; refusals; recent jobs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from divisi.sample import mixture_path

if TYPE_CHECKING:
    from tests.page.conftest import Tab

JOB_MILLISECONDS = 300_000
# Collects every value that the progress bar of a job shows.
WATCH_PROGRESS = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const bar = document.querySelector(".waiting progress");
    if (bar) seen.push(bar.value);
  }).observe(document.querySelector("main"), { subtree: true, childList: true, attributes: true, characterData: true });
}"""
DROP = """([text, name]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
  document.querySelector(".drop").dispatchEvent(event);
}"""


def drop(tab: Tab, content: bytes, name: str) -> None:
    tab.page.evaluate(DROP, [base64.b64encode(content).decode(), name])


def test_a_dropped_recording_is_sent_followed_and_found_again_after_a_reload(tab: Tab) -> None:
    page = tab.page
    page.goto(tab.service.url)
    page.get_by_role("checkbox", name="choir, small").check()
    tab.picture("start")
    drop(tab, mixture_path().read_bytes(), "chorale.flac")
    page.evaluate(WATCH_PROGRESS)
    page.get_by_role("button", name="Separate").click()
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible(timeout=60_000)
    tab.picture("progress")
    expect(page.get_by_role("region", name="Mixer")).to_be_visible(timeout=JOB_MILLISECONDS)
    seen = page.evaluate("seen")
    assert seen == sorted(seen)
    assert len(set(seen)) > 1

    page.reload()
    expect(page.get_by_role("region", name="Mixer")).to_be_visible()
    page.get_by_role("link", name="divisi").click()
    page.reload()
    page.get_by_role("listitem").get_by_role("link", name="chorale.flac").click()
    expect(page.get_by_role("region", name="Mixer")).to_be_visible()


def test_the_sample_can_be_taken_instead_of_a_file(tab: Tab) -> None:
    tab.page.goto(tab.service.url)
    expect(tab.page.get_by_role("button", name="Separate")).to_be_disabled()
    tab.page.get_by_role("button", name="sample").click()
    expect(tab.page.get_by_text("chorale.flac")).to_be_visible()
    expect(tab.page.get_by_role("button", name="Separate")).to_be_enabled()


def test_a_refusal_says_what_to_do(tab: Tab) -> None:
    tab.page.goto(tab.service.url)
    tab.page.get_by_role("checkbox", name="choir, small").check()
    drop(tab, b"this is no recording" * 50, "letter.wav")
    tab.page.get_by_role("button", name="Separate").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("Choose a recording")
    tab.picture("refusal")


def test_only_voices_of_the_model_are_offered(tab: Tab) -> None:
    tab.page.goto(tab.service.url)
    tab.page.get_by_role("radio", name="Only").check()
    named = tab.page.get_by_role("group", name="Voices")
    for voice in ("Soprano", "Alto", "Tenor", "Bass"):
        expect(named.get_by_role("checkbox", name=voice)).to_be_visible()


def test_a_job_that_is_gone_is_explained(tab: Tab) -> None:
    tab.page.goto(f"{tab.service.url}/#/jobs/{'0' * 26}")
    expect(tab.page.get_by_role("alert")).to_contain_text("Separate the recording again")
