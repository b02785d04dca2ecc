"""What a visitor sees and hears while the network is slow, and when it fails: requests are held back, or broken off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Route
    from tests.page.conftest import Tab

AUDIBLE = 1e-3  # RMS; the quietest voice of the sample sings at 2e-2

# Answers with stems break off after their first bytes.
BREAK_OFF = """const fetched = window.fetch;
window.fetch = async (...asked) => {
  const response = await fetched(...asked);
  if (!String(asked[0]).includes("/previews/")) return response;
  let isBegun = false;
  return new Response(new ReadableStream({ pull(body) {
    if (isBegun) body.error(new TypeError("network error"));
    else body.enqueue(new Uint8Array(10));
    isBegun = true;
  } }));
};"""
# Modules for the audio thread come from where there are none. (The driver cannot hold back what that thread asks for.)
NO_MODULE = """const { addModule } = AudioWorklet.prototype;
window.bringModules = () => {
  AudioWorklet.prototype.addModule = addModule;
};
AudioWorklet.prototype.addModule = function (address) {
  return addModule.call(this, `${address}.gone`);
};"""
# Keeps every sound that the page opens.
SOUNDS = """window.sounds = [];
window.AudioContext = class extends AudioContext {
  constructor(...options) {
    super(...options);
    sounds.push(this);
  }
};"""


def open_sounds(tab: Tab) -> int:
    """Sounds that the page has opened and not closed."""
    return int(tab.page.evaluate("sounds.filter(({ state }) => state !== 'closed').length"))


def hold(tab: Tab, address: str) -> list[Route]:
    """Requests to the address wait in the list."""
    held: list[Route] = []
    tab.page.route(address, lambda route: held.append(route))
    return held


def release(tab: Tab, held: list[Route]) -> None:
    """Lets through what was held back, for as long as the page asks for more; what it gave up is gone."""
    seen = 0
    while seen < len(held):
        seen += 1
        held[seen - 1].continue_()
        tab.page.wait_for_timeout(500)


def leave(tab: Tab) -> None:
    tab.page.get_by_role("link", name="divisi", exact=True).click()
    expect(tab.page.get_by_role("button", name="Take the sample chorale")).to_be_visible()


def open_comparison(tab: Tab) -> None:
    tab.page.goto(f"{tab.service.url}/#/groups/{tab.service.group}")
    expect(tab.page.get_by_role("table")).to_be_visible()


def heard(tab: Tab) -> list[str]:
    """What the table says that it plays."""
    return [button.get_attribute("aria-label") or "" for button in tab.page.locator("td [aria-pressed=true]").all()]


@pytest.mark.parametrize("view", ["mixer", "comparison"])
def test_nothing_sounds_after_a_view_was_left_while_its_tracks_were_loading(tab: Tab, view: str) -> None:
    tab.page.add_init_script(SOUNDS)
    if view == "mixer":
        held = hold(tab, "**/previews/residual.mp3")
        tab.open_mixer(playing=False)
        tab.page.get_by_role("button", name="Play", exact=True).click()
    else:
        held = hold(tab, "**/references/alto")
        open_comparison(tab)
        tab.page.get_by_role("button", name="Hear Alto, Original").click()
    tab.until(lambda: held)
    leave(tab)
    release(tab, held)
    assert open_sounds(tab) == 0
    expect(tab.page.get_by_role("alert")).to_be_hidden()


def test_the_last_of_several_presses_is_heard_whatever_comes_first(tab: Tab) -> None:
    tab.page.add_init_script(SOUNDS)
    held = hold(tab, "**/references/soprano")
    open_comparison(tab)
    slow = tab.page.get_by_role("button", name="Hear Soprano, Original")
    slow.click()
    tab.until(lambda: held)
    slow.click()
    tab.page.get_by_role("button", name="Hear Bass, Original").click()
    tab.until(lambda: heard(tab) == ["Hear Bass, Original"])
    assert len(held) == 1  # the second press waited for what the first one asked for
    release(tab, held)
    assert heard(tab) == ["Hear Bass, Original"]
    assert open_sounds(tab) == 1


def test_the_blind_test_plays_its_own_row_after_another_one_was_heard(tab: Tab) -> None:
    tab.page.add_init_script(SOUNDS)
    open_comparison(tab)
    tab.page.get_by_role("button", name="Begin").click()
    tab.page.get_by_role("button", name="A", exact=True).click()
    tab.until(lambda: tab.level() > AUDIBLE)
    tab.page.get_by_role("button", name="Hear Bass, Original").click()
    tab.until(lambda: tab.page.evaluate("sounds[0].state") == "closed")
    tab.requests.clear()
    tab.page.get_by_role("button", name="A", exact=True).click()
    tab.until(lambda: any("/references/soprano" in url for url in tab.requests))


def test_a_blind_test_that_cannot_begin_leaves_the_table_as_it_was(tab: Tab) -> None:
    tab.page.route("**/references/soprano", lambda route: route.abort())
    open_comparison(tab)
    tab.page.get_by_role("button", name="Begin").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
    tab.page.get_by_role("button", name="Hear Bass, Original").click()
    tab.until(lambda: heard(tab) == ["Hear Bass, Original"])


def test_a_refusal_that_comes_after_its_view_was_left_asks_nobody_for_a_key(tab: Tab) -> None:
    held = hold(tab, f"**/v1/jobs/{tab.service.jobs[0]}")
    tab.page.goto(tab.service.job_url)
    tab.until(lambda: held)
    leave(tab)
    held[0].fulfill(status=401, json={"code": "key-expired", "detail": "The key's time is over."})
    tab.page.wait_for_timeout(500)
    expect(tab.page.get_by_role("alert")).to_be_hidden()
    expect(tab.page.get_by_role("dialog")).to_be_hidden()


# Keeps the addresses of pictures in memory that the page has not let go of.
ADDRESSES = """window.addresses = new Set();
const { createObjectURL, revokeObjectURL } = URL;
URL.createObjectURL = (file) => {
  const address = createObjectURL(file);
  if (file.type.startsWith("image/")) addresses.add(address);
  return address;
};
URL.revokeObjectURL = (address) => {
  addresses.delete(address);
  revokeObjectURL(address);
};"""


def test_a_spectrogram_is_shown_as_its_button_says_whenever_it_comes(tab: Tab) -> None:
    tab.page.add_init_script(ADDRESSES)
    held = hold(tab, "**/spectrograms/tenor*")
    tab.open_mixer(playing=False)
    button = tab.page.get_by_role("button", name="Spectrogram of Tenor")
    picture = tab.page.get_by_role("img", name="Spectrogram of Tenor")
    button.click()
    tab.until(lambda: held)
    button.click()
    release(tab, held)
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(picture).to_be_hidden()
    button.click()
    expect(picture).to_be_visible()
    tab.until(lambda: picture.evaluate("image => image.complete && image.naturalWidth > 0"))
    tab.until(lambda: tab.page.evaluate("addresses.size") == 0)
    assert len(held) == 1


def test_a_spectrogram_that_does_not_come_leaves_its_button_to_be_pressed_again(tab: Tab) -> None:
    tab.page.route("**/spectrograms/tenor*", lambda route: route.abort())
    tab.open_mixer(playing=False)
    button = tab.page.get_by_role("button", name="Spectrogram of Tenor")
    button.click()
    expect(tab.page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
    expect(button).to_have_attribute("aria-pressed", "false")
    tab.page.unroute("**/spectrograms/tenor*")
    button.click()
    expect(tab.page.get_by_role("img", name="Spectrogram of Tenor")).to_be_visible()


def test_stems_that_break_off_are_told_of_as_the_network_s_fault(tab: Tab) -> None:
    tab.page.add_init_script(BREAK_OFF)
    tab.open_mixer(playing=False)
    tab.page.get_by_role("button", name="Play", exact=True).click()
    expect(tab.page.get_by_role("alert")).to_contain_text("broke off")
    expect(tab.page.get_by_role("alert")).to_contain_text("Check that the service runs")


def test_a_player_whose_module_does_not_come_is_told_of_and_opens_at_the_next_press(tab: Tab) -> None:
    tab.page.add_init_script(SOUNDS)
    tab.page.add_init_script(NO_MODULE)
    tab.open_mixer(playing=False)
    tab.page.get_by_role("button", name="Play", exact=True).click()
    expect(tab.page.get_by_role("alert")).to_contain_text("The service cannot be reached.")
    assert open_sounds(tab) == 0
    tab.page.evaluate("bringModules()")
    tab.page.get_by_role("button", name="Loop", exact=True).click()
    tab.page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.level() > AUDIBLE)


def test_a_comparison_is_waited_for_though_the_service_is_away_for_a_moment(tab: Tab) -> None:
    address = f"{tab.service.url}/v1/groups/{tab.service.group}"
    running = tab.page.request.get(address).json()
    for system in running["systems"]:
        system["job"]["state"] = "running"
    answers = [lambda route: route.fulfill(json=running), lambda route: route.abort()]
    tab.page.route(address, lambda route: answers.pop(0)(route) if answers else route.continue_())
    open_comparison(tab)
    assert answers == []
    expect(tab.page.get_by_role("alert")).to_be_hidden()


def test_refusals_that_come_late_leave_the_key_that_is_being_typed(tab: Tab) -> None:
    held = hold(tab, "**/spectrograms/*")
    tab.open_mixer(playing=False)
    tab.page.get_by_label("All spectrograms").check()
    tab.until(lambda: len(held) >= 2)
    refuse = {"status": 401, "json": {"code": "key-expired", "detail": "The key's time is over."}}
    held[0].fulfill(**refuse)
    field = tab.page.get_by_role("dialog").get_by_label("Key", exact=True)
    expect(field).to_be_focused()
    tab.page.keyboard.type("dv_new")
    with tab.page.expect_response(held[1].request.url):
        held[1].fulfill(**refuse)
    tab.page.wait_for_timeout(300)
    expect(field).to_have_value("dv_new")


def test_a_key_that_no_header_takes_is_called_what_it_is(tab: Tab) -> None:
    tab.page.add_init_script("localStorage.setItem('divisi.key', 'dv_\u2026')")
    tab.page.goto(tab.service.url)
    expect(tab.page.get_by_role("alert")).to_contain_text("characters in this API key")
    expect(tab.page.get_by_role("dialog")).to_be_visible()


def test_a_recording_whose_answer_was_lost_is_not_separated_twice(tab: Tab) -> None:
    """The gateway has taken it, but its answer does not arrive; the visitor sends it again."""
    accepted: list[str] = []

    def lose_the_first(route: Route) -> None:
        answer = route.fetch()
        accepted.append(answer.json()["id"])
        if len(accepted) == 1:
            route.abort()
        else:
            route.fulfill(response=answer)

    page = tab.page
    page.route("**/v1/jobs", lose_the_first)
    page.goto(tab.service.url)
    page.get_by_role("button", name="Take the sample").click()
    page.get_by_role("button", name="Separate").click()
    expect(page.get_by_role("alert")).to_contain_text("broke off")
    page.get_by_role("button", name="Separate").click()
    tab.until(lambda: len(accepted) == 2 and page.url.endswith(f"#/jobs/{accepted[1]}"))
    assert accepted[0] == accepted[1]
