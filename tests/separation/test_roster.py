from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from divisi.contract.errors import InputError
from divisi.separation import roster
from divisi.separation.roster import (
    BY_LOUDNESS,
    OF_FULL_ROSTER,
    OF_SMALLER_ROSTER,
    Evidence,
    detect_roster,
    gather_evidence,
    join,
    share_notes,
    spread_segments,
)
from divisi.separation.segments import Segment, SegmentPlan
from divisi.separation.separator import SeparationOptions, Separator
from divisi.separation.survey import survey

QUARTET = ("soprano", "alto", "tenor", "bass")


@pytest.fixture
def quartet_card(make_card):
    extra = ({"name": "f0", "hop_length": 512}, {"name": "presence"})
    return make_card(id="quartet", stems=QUARTET, length_multiple=512, extra_outputs=extra, takes_roster=True)


class ByTone:
    """Each voice has a tone of its own and takes what is there of it. Absent by the roster: silent.

    What is wrong with it: the last voice takes a thousandth of everything, and the first is loud on pauses too.
    """

    name, device = "by_tone", "cpu"
    tones_hz = (1000, 700, 400, 150)

    def __init__(self) -> None:
        self.rosters: list[list[float] | None] = []

    def run(self, mixture, roster=None):
        self.rosters.append(None if roster is None else roster[0].tolist())
        spectrum = np.fft.rfft(mixture[:, 0])
        frequencies = np.fft.rfftfreq(mixture.shape[-1], 1 / 16_000)
        estimates = []
        for tone_hz in self.tones_hz:
            near = np.abs(frequencies - tone_hz) < 60
            estimates.append(np.fft.irfft(spectrum * near, mixture.shape[-1]))
        estimates = np.stack(estimates, axis=1)[:, :, None].astype(np.float32)
        estimates[:, 3] += 0.03 * mixture
        num_frames = mixture.shape[-1] // 512
        rms = np.sqrt(
            np.square(estimates[:, :, 0, : num_frames * 512]).reshape(len(mixture), 4, num_frames, 512).mean(-1)
        )
        f0_hz = np.where(rms > 0.01, np.array(self.tones_hz)[:, None], 0).astype(np.float32)
        if roster is not None:
            estimates *= roster[:, :, None, None]
            f0_hz *= roster[:, :, None]
        presence = np.where(f0_hz.any(axis=-1), 3.0, -3.0).astype(np.float32)
        return {"estimates": estimates, "f0": f0_hz, "presence": presence}

    def close(self) -> None:
        pass


def choir(seconds_of: dict[str, tuple[float, float]], seconds: float, sample_rate: int = 16_000) -> np.ndarray:
    """Tones of the voices, each from one time to another; float32 (1, T)."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    samples = np.zeros(len(times))
    for voice, (start, end) in seconds_of.items():
        tone_hz = ByTone.tones_hz[QUARTET.index(voice)]
        samples += 0.2 * np.sin(2 * np.pi * tone_hz * times) * ((times >= start) & (times < end))
    return samples.astype(np.float32)[None]


def hear(card, samples, sample_rate=16_000) -> tuple[str, ...]:
    return Separator(ByTone(), card).detect_voices([samples], survey([samples], sample_rate, len(samples)))


@pytest.mark.parametrize("voices", [("soprano", "bass"), ("alto",), ("soprano", "alto", "tenor"), QUARTET])
def test_who_sings_is_heard(voices, quartet_card) -> None:
    samples = choir(dict.fromkeys(voices, (0, 4)), 4)
    assert hear(quartet_card, samples) == voices


def test_a_stereo_recording_at_another_rate_is_heard_as_the_model_hears_it(quartet_card) -> None:
    samples = np.repeat(choir({"alto": (0, 3), "bass": (0, 3)}, 3, 44_100), 2, axis=0)
    assert hear(quartet_card, samples, 44_100) == ("alto", "bass")


def test_a_voice_that_sings_in_a_fifth_of_a_long_recording_sings(quartet_card) -> None:
    samples = choir({"alto": (0, 20), "tenor": (12, 16)}, 20)
    assert hear(quartet_card, samples) == ("alto", "tenor")


def test_in_silence_nobody_is_heard(quartet_card) -> None:
    assert hear(quartet_card, np.zeros((1, 50_000), np.float32)) == ()


def test_a_pause_is_no_evidence(quartet_card) -> None:
    pauses = choir({"alto": (0, 5)}, 40) + 1e-4 * choir({"soprano": (5, 40), "bass": (5, 40)}, 40)
    assert hear(quartet_card, pauses) == ("alto",)


class Doubling(ByTone):
    """Left to itself, the tenor sings along: now what the alto sings, now a note of its own. Told, it knows better."""

    def run(self, mixture, roster=None):
        outputs = super().run(mixture, roster)
        estimates, f0_hz = outputs["estimates"], outputs["f0"]
        if roster is None:
            estimates[:, 2] += 0.5 * estimates[:, 1]
            estimates[:, 1] *= 0.5
            f0_hz[:, 2] = np.where(np.arange(f0_hz.shape[2]) % 2, f0_hz[:, 1], 1.2 * f0_hz[:, 1])
        return outputs


def test_a_voice_heard_by_mistake_is_struck_when_the_model_is_told(quartet_card) -> None:
    engine = Doubling()
    samples = choir(dict.fromkeys(("alto", "bass"), (0, 6)), 6)
    heard = Separator(engine, quartet_card).detect_voices([samples], survey([samples], 16_000, 1))
    assert heard == ("alto", "bass")
    assert engine.rosters[0] is None
    assert [0, 1, 1, 1] in engine.rosters
    assert engine.rosters[-1] == [0, 1, 0, 1]


def test_a_note_that_two_voices_share_is_no_voices_own() -> None:
    f0_hz = np.array([[400, 400, 0, 400, 0], [402, 300, 0, 0, 0], [0, 0, 0, 200, 0]], np.float32)
    np.testing.assert_allclose(share_notes(f0_hz), [2 / 3, 1 / 3, 1 / 3])
    np.testing.assert_array_equal(share_notes(np.zeros((3, 0), np.float32)), 0)


def test_louder_and_more_often_on_its_own_note_is_surer() -> None:
    heard = Evidence(np.array([[50.0, 5, 45]]), np.array([[0.02, 0.5, 0.5]]), np.zeros((1, 3)))
    for weights in (OF_FULL_ROSTER, OF_SMALLER_ROSTER):
        odds = heard.log_odds(weights)[0]
        assert odds[0] < odds[1] < odds[2]
        assert odds[0] < 0 < odds[2]


def test_without_pitch_and_presence_loudness_alone_decides() -> None:
    heard = Evidence(np.array([[0.99, 0.01], [0.96, 0.04], [0.0, 0.0]]), np.zeros((3, 2)), np.zeros((3, 2)))
    assert (heard.log_odds(BY_LOUDNESS) > 0).tolist() == [[True, False], [True, True], [False, False]]


@pytest.mark.parametrize("extra", [(), ({"name": "f0", "hop_length": 512},)])
def test_a_model_that_does_not_say_who_sings_is_judged_by_loudness(extra, make_card) -> None:
    card = make_card(id="quartet", stems=QUARTET, length_multiple=512, extra_outputs=extra, takes_roster=True)

    class Silent(ByTone):
        def run(self, mixture, roster=None):
            outputs = super().run(mixture, roster)
            return {name: outputs[name] for name in card.output_names}

    samples = choir(dict.fromkeys(("alto", "tenor"), (0, 4)), 4)
    assert Separator(Silent(), card).detect_voices([samples], survey([samples], 16_000, 1)) == ("alto", "tenor")


def test_a_few_stretches_where_a_voice_is_plain_outweigh_its_rests_but_a_slip_does_not() -> None:
    absent, plain, slip = -5.0, 6.0, 1.0
    assert join(np.array([[plain]] + [[absent]] * 6)) > 0
    assert join(np.array([[slip]] + [[absent]] * 3)) < 0
    assert join(np.array([[absent]] * 8)) < 0


def test_noise_is_nobodys_voice(quartet_card, noise) -> None:
    unpitched = 1e-3 * noise(1, 50_000)
    assert detect_roster(ByTone(), quartet_card, [Segment(0, unpitched, 50_000)]) == []


@pytest.mark.parametrize("seconds", [0.01, 0.5, 2, 7, 30, 61])
def test_the_stretches_are_few_and_evenly_spread(seconds, quartet_card, noise) -> None:
    samples = noise(1, round(seconds * 16_000))
    plan = SegmentPlan.from_card(quartet_card)
    segments = spread_segments([samples], quartet_card, plan, survey([samples], 16_000, 1))
    starts = [segment.start for segment in segments]
    assert 1 <= len(starts) <= roster.MOST_SEGMENTS
    if len(starts) > 2:
        gaps = np.diff(starts[:-1])
        assert gaps.max() == gaps.min()
    step = plan.step * max(1, len(samples[0]) // plan.step // 4)
    assert starts[0] == 0
    assert len(samples[0]) - starts[-1] <= max(2 * step, plan.segment_length)
    for segment in segments:
        real = samples[:, segment.start : segment.start + segment.num_real]
        np.testing.assert_array_equal(segment.samples[:, : segment.num_real], real)


def test_a_model_of_whole_recordings_hears_stretches_too(make_card, noise) -> None:
    card = make_card(segment_length="whole", context_length=0)
    samples = noise(1, 100 * 16_000)
    segments = spread_segments([samples], card, SegmentPlan.from_card(card), survey([samples], 16_000, 1))
    assert {segment.samples.shape[1] for segment in segments} == {8 * 16_000}
    assert 4 <= len(segments) <= 8


def test_memory_does_not_grow_with_the_recording(quartet_card, noise) -> None:
    plan = SegmentPlan.from_card(quartet_card)
    block = noise(1, 16_000)

    def peak_bytes(seconds: int) -> int:
        tracemalloc.start()
        surveyed = survey((block for _ in range(seconds)), 16_000, 1)
        spread_segments((block for _ in range(seconds)), quartet_card, plan, surveyed)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_bytes(2)
    assert peak_bytes(240) < 1.2 * peak_bytes(30)


def test_frames_beyond_the_recording_do_not_count(quartet_card) -> None:
    samples = choir({"alto": (0, 0.1)}, 0.1)
    plan = SegmentPlan.from_card(quartet_card)
    segments = spread_segments([samples], quartet_card, plan, survey([samples], 16_000, 1))
    found = gather_evidence(ByTone(), quartet_card, segments, range(4))
    np.testing.assert_allclose(found.own_note_shares, [[0, 1, 0, 0]])


def test_the_roster_goes_to_the_engine_for_each_segment_and_absent_stems_are_silent(quartet_card) -> None:
    engine = ByTone()
    samples = choir(dict.fromkeys(QUARTET, (0, 2)), 2)
    options = SeparationOptions(voices=("soprano", "tenor"))
    blocks = Separator(engine, quartet_card, batch_size=2).separate([samples], 16_000, 1, options=options)
    parts = list(blocks)
    stems = np.concatenate([part.stems for part in parts], axis=-1)
    f0_hz = np.concatenate([part.f0 for part in parts if part.f0 is not None], axis=-1)
    assert all(row == [1, 0, 1, 0] for row in engine.rosters)
    assert [bool(np.abs(stem).max() > 0) for stem in stems] == [True, False, True, False]
    assert [bool(track.any()) for track in f0_hz] == [True, False, True, False]
    residual = np.concatenate([part.residual for part in parts], axis=-1)
    np.testing.assert_allclose(stems.sum(axis=0) + residual, samples, atol=1e-6)


@pytest.mark.parametrize(("num_channels", "sample_rate"), [(1, 44_100), (2, 16_000), (2, 44_100)])
def test_absent_stems_are_silent_in_full_band_on_all_channels(num_channels, sample_rate, quartet_card) -> None:
    samples = np.repeat(choir(dict.fromkeys(QUARTET, (0, 2)), 2, sample_rate), num_channels, axis=0)
    options = SeparationOptions(voices=("alto",))
    surveyed = survey([samples], sample_rate, num_channels)
    separator = Separator(ByTone(), quartet_card)
    parts = list(separator.separate([samples], sample_rate, num_channels, surveyed, options=options))
    stems = np.concatenate([part.stems for part in parts], axis=-1)
    assert np.isfinite(stems).all()
    assert [bool(np.abs(stem).max() > 1e-9) for stem in stems] == [False, True, False, False]


def test_who_is_not_known_beforehand_cannot_be_separated_in_one_pass(quartet_card) -> None:
    with pytest.raises(ValueError, match="detect_voices first"):
        Separator(ByTone(), quartet_card).separate([], 16_000, 1, options=SeparationOptions(voices="auto"))


@pytest.mark.parametrize(("voices", "code"), [(("tuba",), "unknown-voice"), ((), "unknown-voice")])
def test_a_voice_that_the_model_lacks_is_refused_before_anything_is_read(voices, code, quartet_card) -> None:
    with pytest.raises(InputError) as refused:
        Separator(ByTone(), quartet_card).separate([], 16_000, 1, options=SeparationOptions(voices=voices))
    assert refused.value.code == code


def test_a_model_that_cannot_be_told_hears_nobody(make_card) -> None:
    with pytest.raises(InputError) as refused:
        Separator(ByTone(), make_card()).detect_voices([], survey([], 16_000, 1))
    assert refused.value.code == "voices-not-supported"
