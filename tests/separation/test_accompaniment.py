"""A model with a stem for what accompanies the voices: detected once for a recording, a stem only where it is there."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from divisi.audio.encode import StemFormat
from divisi.contract.errors import InputError
from divisi.delivery.deliver import separate_file
from divisi.separation.separator import SeparationOptions, Separator
from divisi.separation.survey import survey

PIANO_HZ = 3000
TONES_HZ = (800, 200)
# Of float files: a float32 sum of four.
ROUNDING = 1e-6


class TwoVoicesAndPiano:
    """Each voice takes what is near its tone. What is near the piano's is the accompaniment, if the roster allows."""

    name, device = "two_voices_and_piano", "cpu"

    def __init__(self) -> None:
        self.rosters: list[list[float] | None] = []

    def run(self, mixture, roster=None):
        self.rosters.append(None if roster is None else roster[0].tolist())
        roster = np.ones((len(mixture), 3), np.float32) if roster is None else roster
        spectrum = np.fft.rfft(mixture[:, 0])
        frequencies = np.fft.rfftfreq(mixture.shape[-1], 1 / 16_000)
        bands = [np.abs(frequencies - tone) < 100 for tone in (*TONES_HZ, PIANO_HZ)]
        parts = np.stack([np.fft.irfft(spectrum * band, mixture.shape[-1]) for band in bands], 1)
        estimates = (parts * roster[:, :, None])[:, :, None].astype(np.float32)
        rms = np.sqrt(np.square(estimates).mean((2, 3)))
        presence = np.where(rms > 0.01, 3.0, -3.0).astype(np.float32)
        presence[:, 2] = np.where(np.sqrt(np.square(parts[:, 2]).mean(-1)) > 0.01, 4.0, -4.0)
        f0_hz = np.zeros((len(mixture), 3, mixture.shape[-1] // 512), np.float32)
        f0_hz[:, :2] = np.array(TONES_HZ)[:, None] * roster[:, :2, None]
        return {"estimates": estimates, "f0": f0_hz, "presence": presence}

    def close(self) -> None:
        pass


@pytest.fixture
def separator(make_card) -> Separator:
    extra = ({"name": "f0", "hop_length": 512}, {"name": "presence"})
    stems = ("upper", "lower", "accompaniment")
    card = make_card(
        stems=stems, accompaniment="accompaniment", length_multiple=512, extra_outputs=extra, takes_roster=True
    )
    return Separator(TwoVoicesAndPiano(), card)


def tones(*tones_hz: float, sample_rate: int = 16_000, seconds: float = 2.0) -> np.ndarray:
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return sum(0.2 * np.sin(2 * np.pi * tone * times) for tone in tones_hz).astype(np.float32)[None]


@pytest.mark.parametrize("stereo", [False, True])
def test_an_accompaniment_is_detected_where_there_is_one(stereo, separator) -> None:
    for sounds, expected in (((*TONES_HZ, PIANO_HZ), True), (TONES_HZ, False)):
        samples = np.repeat(tones(*sounds), 1 + stereo, axis=0)
        found = survey([samples], 16_000, len(samples))
        assert separator.detect_accompaniment([samples], found) is expected


def test_nothing_accompanies_silence(separator) -> None:
    silence = np.zeros((1, 20_000), np.float32)
    assert not separator.detect_accompaniment([silence], survey([silence], 16_000, 1))


def test_it_is_no_voice(separator) -> None:
    samples = tones(TONES_HZ[0], PIANO_HZ)
    assert separator.detect_voices([samples], survey([samples], 16_000, 1)) == ("upper",)
    with pytest.raises(InputError, match="name some of upper, lower, or auto"):
        list(separator.separate([samples], 16_000, 1, options=SeparationOptions(voices=("accompaniment",))))


def test_where_nothing_accompanies_the_model_is_told_and_the_voices_alone_are_stems(separator) -> None:
    samples = tones(*TONES_HZ)
    options = SeparationOptions(is_accompanied=False)
    blocks = list(separator.separate([samples], 16_000, 1, options=options))
    assert {block.stems.shape[0] for block in blocks} == {2}
    assert {tuple(roster) for roster in separator.engine.rosters} == {(1, 1, 0)}


def test_named_voices_leave_the_accompaniment_where_it_is(separator) -> None:
    samples = tones(*TONES_HZ, PIANO_HZ)
    blocks = list(separator.separate([samples], 16_000, 1, options=SeparationOptions(voices=("lower",))))
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    assert {tuple(roster) for roster in separator.engine.rosters} == {(0, 1, 1)}
    assert not stems[0].any()
    assert stems[2].any()


@pytest.mark.parametrize(("sample_rate", "num_channels"), [(16_000, 1), (44_100, 2)])
@pytest.mark.parametrize("is_accompanied", [True, False])
def test_its_file_is_delivered_where_there_is_one(
    sample_rate, num_channels, is_accompanied, tmp_path, separator
) -> None:
    sounds = (*TONES_HZ, PIANO_HZ) if is_accompanied else TONES_HZ
    samples = np.repeat(tones(*sounds, sample_rate=sample_rate), num_channels, axis=0)
    soundfile.write(tmp_path / "recording.wav", samples.T, sample_rate, subtype="FLOAT")
    options = SeparationOptions(include_pitch=True, include_views=True, include_previews=True)
    delivery = separate_file(tmp_path / "recording.wav", tmp_path / "out", separator, StemFormat.WAV32F, options)
    there = ["accompaniment"] if is_accompanied else []
    assert [file.name for file in delivery.files] == ["upper", "lower", *there, "residual"]
    assert delivery.voices == ("upper", "lower")
    assert [path.name for path in sorted((tmp_path / "out").glob("*accompaniment*.wav"))] == [
        f"{name}.wav" for name in there
    ]
    total = sum(soundfile.read(file.path, always_2d=True)[0] for file in delivery.files)
    assert np.abs(total.T - samples).max() <= ROUNDING
    assert (tmp_path / "out" / "pitch.csv").read_text().splitlines()[0] == "seconds,upper,lower"
    (warning,) = delivery.warnings if is_accompanied else [None]
    if warning is not None:
        assert (warning.code, warning.facts["stem"]) == ("accompanied", "accompaniment")
        assert warning.facts["level_db"] == pytest.approx(-10 * np.log10(3), abs=0.5)


def test_asked_for_by_name_it_is_delivered_silent_or_not(tmp_path, separator) -> None:
    soundfile.write(tmp_path / "recording.wav", tones(*TONES_HZ).T, 16_000, subtype="FLOAT")
    options = SeparationOptions(stems=("upper", "accompaniment"), include_pitch=True)
    delivery = separate_file(tmp_path / "recording.wav", tmp_path / "out", separator, StemFormat.WAV24, options)
    assert [file.name for file in delivery.files] == ["upper", "accompaniment", "residual"]
    assert (tmp_path / "out" / "pitch.csv").read_text().splitlines()[0] == "seconds,upper"
