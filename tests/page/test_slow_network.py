"""What a visitor sees and hears while the network is slow, and when it fails: requests are held back, or broken off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.page.conftest import Tab

AUDIBLE = 1e-3  # RMS; the quietest voice of the sample sings at 2e-2

# Answers with stems break off after their first bytes.
BREAK_OFF = """const fetched = window.fetch;
window.fetch = async (...asked) => {
  const response = await fetched(...asked);
  if (!String(asked[0]).includes("/stems/")) return response;
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
    tab.page.get_by_role("button", name="Loop").click()
    tab.page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.level() > AUDIBLE)
