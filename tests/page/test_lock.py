"""Stems stay together to the sample: measured at the outputs of the transport while it plays, seeks, loops, slows down.

The transport's last track is the sum of the others, made before playing: while stems are locked their outputs add up to
it, at any place and any speed. Where they are in the recording is told by where the delivered stems differ least.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from tests.page.conftest import Tab

ROUNDING = 1e-5  # float32 sums of five tracks
STEMS = ("soprano", "alto", "tenor", "bass", "residual")
BESIDE_SECONDS = 0.001


def assert_adds_up(recorded: np.ndarray) -> None:
    assert np.abs(recorded[-1]).max() > 1e-2
    assert np.abs(recorded[:-1].sum(0) - recorded[-1]).max() < ROUNDING


def places(tab: Tab, recorded: np.ndarray) -> list[float]:
    """Second of the recording at which each recorded stem begins."""
    found = []
    for name, heard in zip(STEMS, recorded, strict=False):
        if np.sqrt(np.mean(heard**2)) < 1e-3:
            continue  # too quiet to be found
        answer = httpx.get(f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}/stems/{name}")
        stem, rate = soundfile.read(io.BytesIO(answer.content))
        stem = stem.mean(1)
        size = 1 << (len(stem) + len(heard)).bit_length()
        products = np.fft.irfft(np.fft.rfft(stem, size) * np.conj(np.fft.rfft(heard, size)), size)
        energies = np.concatenate([[0], np.cumsum(stem**2)])
        starts = np.arange(len(stem) - len(heard))
        differences = energies[starts + len(heard)] - energies[starts] - 2 * products[starts]
        found.append(int(np.argmin(differences)) / rate)
    return found


def assert_together(tab: Tab) -> None:
    recorded = tab.record_without_jump()
    assert_adds_up(recorded)
    found = places(tab, recorded)
    assert len(found) >= 3
    assert max(found) - min(found) < BESIDE_SECONDS


def test_stems_are_heard_from_one_place_after_play_seek_and_loop(tab: Tab) -> None:
    tab.open_mixer(whole=True)
    lane = tab.page.get_by_role("slider", name="Position in Bass")
    assert_together(tab)
    lane.press("Home")
    assert_together(tab)
    lane.press("Home")
    lane.press("Shift+ArrowRight")
    assert_together(tab)
    lane.press("Home")
    lane.press("Shift+ArrowRight")
    lane.press("]")  # from the beginning to here
    tab.until(lambda: tab.position < 3)
    assert_together(tab)


def test_stems_add_up_at_every_speed_and_over_the_ends_of_a_loop(tab: Tab) -> None:
    tab.open_mixer(whole=True)
    for speed in ("70 %", "125 %", "100 %"):
        tab.page.get_by_label("Speed").select_option(label=speed)
        assert_adds_up(tab.record())


# Plays the job's own stems by the page's own node for more than a minute: on and on in a loop, with seeks between.
MINUTE = """async ([hrefs, rate, seconds, frames]) => {
  const { loadTracks } = await import("/page/player.js");
  const { openTransport } = await import("/page/transport_node.js");
  const tracks = await loadTracks(hrefs.map((href, name) => ({ name, href })), rate);
  const sides = tracks[0].channels.map((channel, c) =>
    channel.map((_, i) => tracks.reduce((sum, { channels }) => sum + channels[c][i], 0)));
  tracks.push({ name: "mixture", channels: sides });
  const context = new OfflineAudioContext(tracks.length, seconds * rate, rate);
  const transport = await openTransport(context, tracks.map(({ channels }) => channels));
  const merger = new ChannelMergerNode(context, { numberOfInputs: tracks.length });
  merger.connect(context.destination);
  tracks.forEach((_, track) => {
    const mono = new GainNode(context, { channelCount: 1, channelCountMode: "explicit" });
    transport.connect(track, mono);
    mono.connect(merger, 0, track);
  });
  const seeks = [[20, 4], [40, 2], [seconds - 1, 2.5]];
  const ask = async (command) => {
    transport.send(...command);
    await new Promise((resolve) => setTimeout(resolve, 50));  // for the port to the audio thread
  };
  await ask(["setLoop", [rate, 8 * rate]]);
  await ask(["play"]);
  for (const [time, place] of seeks) {
    context.suspend(time).then(() => ask(["seek", place * rate])).then(() => context.resume());
  }
  const played = await context.startRendering();
  const { numberOfChannels, length } = played;
  const sums = new Float32Array(length);
  for (let track = 0; track < numberOfChannels - 1; track++) {
    played.getChannelData(track).forEach((sample, i) => (sums[i] += sample));
  }
  const mixture = played.getChannelData(numberOfChannels - 1);
  const apart = sums.reduce((most, sum, i) => Math.max(most, Math.abs(sum - mixture[i])), 0);
  const peakOf = (samples) => samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  const secondOf = (second) => mixture.subarray(second * rate, (second + 1) * rate);
  const peaks = Array.from({ length: seconds - 1 }, (_, second) => peakOf(secondOf(second)));
  const last = new Float32Array(numberOfChannels * frames);
  for (let track = 0; track < numberOfChannels; track++)
    last.set(played.getChannelData(track).subarray(length - frames), track * frames);
  const text = new Uint8Array(last.buffer).reduce((text, byte) => text + String.fromCharCode(byte), "");
  return { apart, quietest: Math.min(...peaks), last: btoa(text) };
}"""


def test_stems_are_together_after_more_than_a_minute_of_playing_seeking_and_looping(tab: Tab) -> None:
    tab.page.goto(tab.service.url)
    frames, rate = 16384, 44_100
    job = f"/v1/jobs/{tab.service.jobs[0]}/stems"
    found = tab.page.evaluate(MINUTE, [[f"{job}/{name}" for name in STEMS], rate, 64, frames])
    assert found["quietest"] > 1e-2  # it did play, every second of it
    assert found["apart"] < ROUNDING
    recorded = np.frombuffer(base64.b64decode(found["last"]), "<f4").reshape(-1, frames)
    starts = places(tab, recorded)
    assert len(starts) >= 3
    assert max(starts) - min(starts) < BESIDE_SECONDS
    # A second before the end it was sent to 2.5 s, and is heard to be where that leads.
    assert starts[0] == pytest.approx(2.5 + 1 - frames / rate, abs=0.05)


TONE_PITCH = """async ([hertz, speed, seconds]) => {
  const { Transport } = await import("/page/transport.js");
  const rate = 16000;
  const tone = Float32Array.from({ length: 10 * rate }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hertz * i) / rate));
  const transport = new Transport(rate, [[tone], [tone.map((sample) => sample / 2)]]);
  transport.speed = speed;
  transport.setLoop([rate, 9 * rate]);
  transport.play();
  const outputs = [[new Float32Array(seconds * rate)], [new Float32Array(seconds * rate)]];
  for (let at = 0; at < outputs[0][0].length; at += 128) transport.render(outputs, at, 128);
  const [left, right] = outputs.map(([channel]) => channel);
  const apart = left.reduce((most, sample, i) => Math.max(most, Math.abs(sample - 2 * right[i])), 0);
  let crossings = 0;
  for (let i = 1; i < left.length; i++) crossings += left[i - 1] < 0 && left[i] >= 0;
  return { apart, hertz: crossings / seconds, heard: transport.heard / rate };
}"""


def test_speed_leaves_the_pitch_and_the_lock(tab: Tab) -> None:
    tab.page.goto(tab.service.url)
    for speed in (1, 0.7, 1.25):
        found = tab.page.evaluate(TONE_PITCH, [220, speed, 64])
        assert found["apart"] == 0
        assert abs(found["hertz"] - 220) < 1.5
