from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divisi_workshop.choirs.formant_voices import sing
from divisi_workshop.choirs.singer import CONSONANTS, VOWELS, Note, SingerTraits, draw_singer

VOICES = ("soprano", "alto", "tenor", "bass")
# What stands between the harmonics of a steady tone: the side lobes of the window used here lie below.
BETWEEN_HARMONICS_DB = -90
# How far the phase of the fundamental may wander from the integral of the F0 track: vowels and loudness turn it a
# little.
PHASE_TOLERANCE = 0.2


def steady(voice: str) -> SingerTraits:
    """A singer without any wobble, breath or delay."""
    return replace(
        draw_singer(voice, 0),
        breath_db=-200,
        vibrato_cents=0,
        tuning_cents=0,
        drift_cents=0,
        jitter_cents=0,
        shimmer_db=0,
        lateness_seconds=0,
        loudness_db=0,
    )


def spectrum_db(samples: np.ndarray) -> np.ndarray:
    power = np.abs(np.fft.rfft(samples * np.blackman(len(samples)))) ** 2
    return 10 * np.log10(power / power.max() + 1e-12)


@settings(max_examples=15)
@given(
    seconds=st.lists(st.floats(0.05, 0.4), min_size=1, max_size=4),
    sample_rate=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
)
def test_a_song_is_as_long_as_its_notes(seconds: list[float], sample_rate: int) -> None:
    notes = [Note(60, length) for length in seconds]
    sung = sing(notes, draw_singer("alto", 1), sample_rate, seed=0)
    assert sung.samples.shape == (round(sum(seconds) * sample_rate),)
    assert sung.f0_hz.shape == sung.samples.shape
    assert np.isfinite(sung.samples).all()


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
@pytest.mark.parametrize("midi", [45.0, 69.37, 84.2])
def test_a_steady_tone_has_harmonics_and_nothing_between_them(sample_rate: int, midi: float) -> None:
    sung = sing([Note(midi, 2.0)], steady("soprano"), sample_rate, seed=0)
    middle = sung.samples[sample_rate // 2 : 3 * sample_rate // 2]
    f0_hz = 440 * 2 ** ((midi - 69) / 12)
    np.testing.assert_allclose(sung.f0_hz[sample_rate // 2 : sample_rate], f0_hz, rtol=1e-5)
    level_db = spectrum_db(middle)  # bins of 1 Hz
    distance = np.abs(np.arange(len(level_db)) - f0_hz * np.round(np.arange(len(level_db)) / f0_hz))
    assert level_db[distance > 20].max() < BETWEEN_HARMONICS_DB  # aliases would stand there
    assert level_db[round(f0_hz)] > -40


def test_the_f0_track_is_the_phase_of_what_is_heard() -> None:
    singer = replace(draw_singer("tenor", 3), vibrato_cents=60, vibrato_delay_seconds=0, breath_db=-200)
    rate = 16_000
    sung = sing([Note(57, 1.0), Note(62, 1.0), Note(59, 1.0)], singer, rate, seed=5)
    sounding = slice(rate // 4, 11 * rate // 4)
    phase = 2 * np.pi * np.cumsum(sung.f0_hz[sounding].astype(np.float64)) / rate
    fundamental = sung.samples[sounding] * np.exp(-1j * phase)
    smooth = np.convolve(fundamental, np.hanning(1_601), mode="valid")  # 0.1 s: nothing else is left
    turned = np.unwrap(np.angle(smooth))
    assert np.ptp(turned) < PHASE_TOLERANCE


def test_rests_are_silent_and_have_no_pitch() -> None:
    rate = 16_000
    sung = sing([Note(60, 1.0), Note(None, 1.0), Note(64, 1.0)], draw_singer("alto", 2), rate, seed=1)
    rest = slice(int(1.1 * rate), int(1.8 * rate))
    assert not sung.f0_hz[rest].any()
    loud = np.sqrt(np.mean(sung.samples[rate // 4 : rate // 2] ** 2))
    quiet = np.sqrt(np.mean(sung.samples[rest] ** 2))
    assert quiet < 0.01 * loud


@pytest.mark.parametrize("voice", VOICES)
def test_pitch_stays_near_the_written_note(voice: str) -> None:
    for seed in range(10):
        sung = sing([Note(60, 1.0)], draw_singer(voice, seed), 8_000, seed)
        cents = 1_200 * np.log2(sung.f0_hz[sung.f0_hz > 0] / 261.626)
        assert abs(np.median(cents)) < 60
        assert np.abs(cents).max() < 200


def test_vowels_differ_as_they_should() -> None:
    def share_of_first_formant_of_a(vowel: str) -> float:
        samples = sing([Note(48, 1.0, "", vowel)], steady("bass"), 16_000, seed=0).samples
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float(power[550:1_200].sum() / power.sum())

    shares = {vowel: share_of_first_formant_of_a(vowel) for vowel in "aiu"}
    assert shares["a"] > 3 * shares["i"]
    assert shares["a"] > 2 * shares["u"]


@pytest.mark.parametrize("consonant", CONSONANTS)
@pytest.mark.parametrize("vowels", ["".join(VOWELS), "a"])
def test_every_syllable_can_be_sung(consonant: str, vowels: str) -> None:
    notes = [Note(60, 0.4, consonant, vowels), Note(62, 0.4, consonant, vowels)]
    samples = sing(notes, draw_singer("alto", 1), 16_000, seed=0).samples
    assert 0.01 < np.abs(samples).max() < 1


def test_a_hiss_lies_where_its_band_is() -> None:
    rate = 44_100
    notes = [Note(60, 1.0), Note(60, 1.0, "s", "a")]
    samples = sing(notes, steady("tenor"), rate, seed=0).samples.astype(np.float64)
    hiss = np.abs(np.fft.rfft(samples[int(0.92 * rate) : int(0.99 * rate)]))
    vowel = np.abs(np.fft.rfft(samples[int(0.50 * rate) : int(0.57 * rate)]))
    hertz = np.fft.rfftfreq(int(0.99 * rate) - int(0.92 * rate), 1 / rate)
    inside = (hertz > 5_000) & (hertz < 9_000)
    assert (hiss[inside] ** 2).sum() > 100 * (vowel[inside] ** 2).sum()


def test_a_seed_makes_one_singer_and_one_performance() -> None:
    assert draw_singer("bass", 4) == draw_singer("bass", 4)
    assert len({draw_singer(voice, seed) for voice in VOICES for seed in range(50)}) == 200
    notes = [Note(50, 0.5)]
    first, again, other = (sing(notes, draw_singer("bass", 4), 8_000, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.samples, again.samples)
    assert np.abs(first.samples - other.samples).max() > 0.01


def test_the_pitch_does_not_depend_on_the_sample_rate() -> None:
    low = sing([Note(60, 1.0), Note(67, 1.0)], draw_singer("alto", 7), 8_000, seed=3)
    high = sing([Note(60, 1.0), Note(67, 1.0)], draw_singer("alto", 7), 48_000, seed=3)
    np.testing.assert_allclose(low.f0_hz, high.f0_hz[::6], rtol=1e-5)


def test_a_melody_of_rests_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one note"):
        sing([Note(None, 1.0)], draw_singer("alto", 0), 16_000, seed=0)
