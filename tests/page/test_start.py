"""From a recording to its stems as a visitor sees it: drop, upload, progress, result; refusals; recent jobs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from playwright.sync_api import expect
from tests.page.conftest import long_recording

if TYPE_CHECKING:
    from playwright.sync_api import Route
    from tests.page.conftest import Tab

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
    tab.open_start()
    page.get_by_role("checkbox", name="choir, small").check()
    tab.picture("start")
    drop(tab, long_recording(6), "chorale.flac")
    page.evaluate(WATCH_PROGRESS)
    page.get_by_role("button", name="Separate").click()
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    tab.picture("progress")
    expect(page.get_by_role("region", name="Mixer")).to_be_visible()
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


def choose(tab: Tab, name: str, label: str | None = None) -> None:
    """Chooses a file as the recording, or for the labelled input."""
    place = tab.page.get_by_label(label) if label else tab.page.locator("#file")
    place.set_input_files({"name": name, "mimeType": "audio/wav", "buffer": b"no matter"})


def test_the_sample_s_sources_do_not_go_with_a_recording_chosen_meanwhile(tab: Tab) -> None:
    held: list[Route] = []
    tab.page.route("**/sample/tenor.flac", lambda route: held.append(route))
    tab.open_start()
    expect(tab.page.get_by_role("checkbox", name="choir, small")).to_be_checked()
    tab.page.get_by_role("button", name="sample").click()
    tab.until(lambda: held)
    choose(tab, "mine.wav")
    with tab.page.expect_response("**/sample/tenor.flac"):
        held[0].continue_()
    tab.page.wait_for_timeout(500)
    expect(tab.page.get_by_text("mine.wav")).to_be_visible()
    expect(tab.page.get_by_text("For soprano")).to_have_count(0)


def test_true_sources_wait_for_the_models_and_for_the_recording(tab: Tab) -> None:
    held: list[Route] = []
    tab.page.route("**/v1/models", lambda route: held.append(route))
    tab.open_start()
    tab.page.get_by_text("I have the true sources").click()
    choose(tab, "alto.wav", "True sources")
    tab.until(lambda: held)
    held[0].continue_()
    expect(tab.page.get_by_text("For alto")).to_be_visible()
    choose(tab, "mine.wav")
    expect(tab.page.get_by_text("For alto")).to_be_visible()
    choose(tab, "another.wav")
    expect(tab.page.get_by_text("For alto")).to_have_count(0)
    assert tab.page.get_by_label("True sources").input_value() == ""  # what is shown is what is sent


def test_a_refusal_says_what_to_do(tab: Tab) -> None:
    tab.open_start()
    tab.page.get_by_role("checkbox", name="choir, small").check()
    drop(tab, b"this is no recording" * 50, "letter.wav")
    tab.page.get_by_role("button", name="Separate").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("Choose a recording")
    tab.picture("refusal")


def test_voices_are_offered_for_models_that_can_be_told_who_sings(tab: Tab) -> None:
    tab.open_start()
    expect(tab.page.get_by_text("“Four voices of a choir, small” takes no list of who sings.")).to_be_visible()
    expect(tab.page.get_by_role("radio", name="Only")).to_have_count(0)
    tab.page.get_by_role("checkbox", name="choir, small").uncheck()
    tab.page.get_by_role("checkbox", name="Four voices of a choir SI-SDR").check()
    tab.page.get_by_role("radio", name="Only").check()
    named = tab.page.get_by_role("group", name="Voices")
    for voice in ("Soprano", "Alto", "Tenor", "Bass"):
        expect(named.get_by_role("checkbox", name=voice)).to_be_visible()
    choose(tab, "mine.wav")
    tab.page.get_by_role("button", name="Separate").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("“Only …” names no voice yet.")
    assert not [url for url in tab.requests if url.endswith("/v1/jobs")]


MANY_MODELS = """async () => {
  const { ModelChooser } = await import("/page/model_chooser.js");
  const satb = ["soprano", "alto", "tenor", "bass"];
  const card = (id, mean, stems, more) => ({
    id, title: id, stems, description: `First of ${id}; second.`, ...more,
    quality: mean === null ? [] : [{ metric: "SI-SDR in dB", mean, test_set: "set", protocol: "whole" }] });
  const chooser = new ModelChooser(() => {});
  chooser.show([card("poor", -1.5, satb), card("unknown", null, satb), card("own", 3, satb), card("good", 9.84, satb),
    card("strings", 5, ["violin", "cello"]),
    card("fitted", null, [], { is_offered: false, needs: ["torch"] })], "own");
  document.querySelector("main").replaceChildren(chooser.element);
}"""


def test_of_many_models_the_default_is_in_front_and_others_are_grouped_best_first(tab: Tab) -> None:
    page = tab.page
    page.goto(tab.service.url)
    page.get_by_role("button", name="Separate").wait_for()  # the words are there
    page.evaluate(MANY_MODELS)
    boxes = page.get_by_role("checkbox")
    expect(boxes).to_have_count(1)
    expect(boxes).to_be_checked()
    page.get_by_text("5 others").click()
    names = [box.get_attribute("value") for box in boxes.all()]
    assert names == ["own", "good", "poor", "unknown", "strings", "fitted"]
    expect(page.get_by_role("group", name="Soprano, Alto, Tenor, Bass").get_by_role("checkbox")).to_have_count(3)
    good = page.get_by_role("checkbox", name="good SI-SDR 9.8 dB First of good.")
    good.check()
    expect(page.get_by_text("5 others, to use or to compare · 1 chosen")).to_be_visible()
    expect(page.get_by_role("checkbox", name="fitted Not now: no worker here has torch.")).to_be_disabled()


def test_most_people_need_one_screen_and_see_what_to_expect(tab: Tab) -> None:
    page = tab.page
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(tab.service.url)
    expect(page.get_by_role("region", name="What to expect").get_by_role("listitem").first).to_contain_text("Best")
    button = page.get_by_role("button", name="Separate").bounding_box()
    assert button is not None
    assert button["y"] + button["height"] < 800
    expect(page.get_by_role("checkbox")).to_have_count(0)  # models stand behind "more"
    tab.open_start()
    page.get_by_role("checkbox", name="choir, twin").check()
    expect(page.get_by_role("region", name="What to expect").get_by_role("listitem")).to_have_count(0)


def test_a_job_that_is_gone_is_explained(tab: Tab) -> None:
    tab.page.goto(f"{tab.service.url}/#/jobs/{'0' * 26}")
    expect(tab.page.get_by_role("alert")).to_contain_text("Separate the recording again")
