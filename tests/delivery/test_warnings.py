from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.contract.files import StemFormat
from divisi.delivery.deliver import SeparatedFile, separate_file
from divisi.separation.separator import SeparationOptions, Separator

# What float files may cost: a float32 sum of three, at 40 times full scale.
ROUNDING_FLOAT = 1e-5


class Share:
    """Two stems, each of them the recording times a factor."""

    name, device = "share", "cpu"

    def __init__(self, *factors: float) -> None:
        self._factors = np.array(factors, np.float32)[None, :, None, None]

    def run(self, mixture, roster=None):
        return {"estimates": self._factors * mixture[:, None]}

    def close(self) -> None:
        pass


@pytest.fixture
def deliver(tmp_path, make_card):
    """Separates samples at 16 kHz; gives the delivery."""

    def run(samples, *factors, stem_format=StemFormat.WAV, options=None, **fields) -> SeparatedFile:
        path = tmp_path / "recording"
        soundfile.write(path, samples.T, 16_000, format="WAV", subtype="FLOAT")
        separator = Separator(Share(*factors), make_card(**fields))
        return separate_file(path, tmp_path / "out", separator, stem_format, options)

    return run


def tone(peak: float, num_channels: int = 1) -> np.ndarray:
    times = np.arange(40_000) / 16_000
    return np.tile(peak * np.sin(2 * np.pi * 330 * times), (num_channels, 1)).astype(np.float32)


def codes(delivery: SeparatedFile) -> list[str]:
    return [warning.code for warning in delivery.warnings]


def miss_of(delivery: SeparatedFile, samples: np.ndarray) -> float:
    """Largest difference between the sum of the delivered files and the recording."""
    total = sum(soundfile.read(file.path, dtype="float64", always_2d=True)[0] for file in delivery.files)
    return float(np.abs(total.T - samples).max())


def subtype(path: Path) -> str:
    return soundfile.info(path).subtype


@pytest.mark.parametrize("num_channels", [1, 2])
def test_when_all_is_well_nothing_is_said(num_channels, deliver) -> None:
    delivery = deliver(tone(0.9, num_channels), 0.6, 0.3)
    assert delivery.warnings == ()
    assert {subtype(file.path) for file in delivery.files} == {"PCM_24"}


@pytest.mark.parametrize("peak", [1.01, 3.0, 40.0])
def test_a_recording_beyond_full_scale_is_delivered_as_float(peak, deliver) -> None:
    samples = tone(peak)
    delivery = deliver(samples, 0.7, 0.2)
    assert {subtype(file.path) for file in delivery.files} == {"FLOAT"}
    assert {file.clipped_samples for file in delivery.files} == {0}
    assert miss_of(delivery, samples) <= ROUNDING_FLOAT
    (warning,) = delivery.warnings
    assert warning.code == "delivered-as-float"
    assert warning.facts == {"peak_dbfs": pytest.approx(20 * np.log10(peak), abs=0.06)}
    assert "32-bit float" in warning.message


@pytest.mark.parametrize("stem_format", [StemFormat.WAV16, StemFormat.WAV24, StemFormat.FLAC])
def test_what_a_format_cuts_is_counted_and_the_sum_is_not_said_to_hold(stem_format, deliver) -> None:
    samples = tone(4.0)
    delivery = deliver(samples, 0.5, 0.1, stem_format=stem_format)
    assert codes(delivery) == ["cut-at-full-scale"] * 2
    low, residual = delivery.warnings
    assert low.facts["stem"] == "low"
    assert low.facts["clipped_samples"] == np.count_nonzero(np.abs(np.float32(0.5) * samples) > 1)
    num_cut = low.facts["clipped_samples"]
    assert low.message.startswith(f"{num_cut} samples of low were cut at full scale, by up to 6 dB")
    assert "--format wav32f" in low.message
    assert residual.facts["stem"] == "residual"
    assert "do not sum" in residual.message
    miss = miss_of(delivery, samples)
    assert miss > 1
    assert delivery.conservation_dbfs == pytest.approx(20 * np.log10(miss), abs=1e-3)


@pytest.mark.parametrize("stem_format", [StemFormat.WAV16, StemFormat.WAV24, StemFormat.WAV32F])
def test_the_sum_is_measured_on_what_the_files_hold(stem_format, deliver, noise) -> None:
    samples = noise(2, 30_000)
    delivery = deliver(samples, 0.3, 0.5, stem_format=stem_format)
    assert delivery.conservation_dbfs == pytest.approx(20 * np.log10(miss_of(delivery, samples)), abs=1e-3)
    assert delivery.conservation_dbfs < -80


def test_of_lossy_files_no_sum_is_promised_and_their_peaks_are_told(deliver) -> None:
    delivery = deliver(tone(2.0), 0.8, 0.1, stem_format=StemFormat.OGG)
    assert delivery.conservation_dbfs is None
    assert [(warning.code, warning.facts["stem"]) for warning in delivery.warnings] == [("beyond-full-scale", "low")]


def test_a_stem_louder_than_the_recording_is_told_too(deliver) -> None:
    delivery = deliver(tone(0.9), 1.5, -0.5)
    assert [(warning.code, warning.facts["stem"]) for warning in delivery.warnings] == [("cut-at-full-scale", "low")]
    assert miss_of(delivery, tone(0.9)) < 1e-6


@pytest.mark.parametrize(("factor", "percent"), [(0.0, 100), (0.1, 81)])
def test_where_most_of_the_energy_is_in_the_residual_it_is_said(factor, percent, deliver) -> None:
    delivery = deliver(tone(0.5), factor, 0.0)
    (warning,) = delivery.warnings
    assert warning.code == "mostly-residual"
    assert warning.message.startswith(f"{percent} % of the energy is in the residual")
    without = deliver(tone(0.5), factor, 0.0, options=SeparationOptions(include_residual=False))
    assert codes(without) == ["mostly-residual"]


def test_the_other_stems_in_the_residual_of_a_wanted_one_are_no_surprise(deliver) -> None:
    assert codes(deliver(tone(0.5), 0.1, 0.9, options=SeparationOptions(stems=("low",)))) == []


@pytest.mark.parametrize("offset", [0.05, -0.5])
def test_an_offset_is_said_to_be_in_the_residual_and_does_not_count_as_energy(offset, deliver) -> None:
    samples = tone(0.1) + np.float32(offset)
    delivery = deliver(samples, 0.6, 0.4)
    assert codes(delivery) == ["offset-in-residual"]
    *stems, residual = [soundfile.read(file.path)[0] for file in delivery.files]
    assert [abs(stem.mean()) < 1e-6 for stem in stems] == [True, True]
    assert residual.mean() == pytest.approx(offset, abs=1e-6)
    assert miss_of(delivery, samples) < 1e-6


def test_silence_is_called_silence(deliver) -> None:
    assert codes(deliver(np.zeros((2, 20_000), np.float32), 0.5, 0.5)) == ["silent"]
    assert codes(deliver(np.full((2, 20_000), 0.25, np.float32), 0.5, 0.5)) == ["silent", "offset-in-residual"]


def test_a_recording_that_is_nearly_silent_is_called_so(deliver) -> None:
    (warning,) = deliver(1e-4 * tone(1.0), 0.5, 0.5).warnings
    assert (warning.code, warning.facts) == ("nearly-silent", {"loud_dbfs": pytest.approx(-83, abs=0.5)})


@pytest.mark.parametrize("num_channels", [1, 2])
def test_of_noise_alone_it_is_said_that_no_voices_were_found(num_channels, deliver, noise) -> None:
    (warning,) = deliver(noise(num_channels, 60_000), 0.5, 0.5).warnings
    assert (warning.code, warning.facts) == ("no-voices-found", {"noise_share": 1.0})


def test_applause_in_front_of_music_is_not_noise_alone(deliver, noise) -> None:
    assert codes(deliver(np.concatenate([noise(1, 90_000), tone(0.1)], axis=1), 0.5, 0.5)) == []


def test_a_short_passage_in_minutes_of_silence_is_not_nearly_silent(deliver) -> None:
    samples = np.zeros((1, 120 * 16_000), np.float32)
    samples[:, -40_000:] = tone(0.01)
    assert codes(deliver(samples, 0.5, 0.5)) == []


def test_when_nobody_is_heard_all_are_separated_and_that_is_said(deliver, noise) -> None:
    quiet = np.zeros((1, 20_000), np.float32)
    delivery = deliver(quiet, 0.5, 0.5, options=SeparationOptions(voices="auto"), takes_roster=True)
    assert "no-voices-found" in codes(delivery)
    assert (delivery.voices, delivery.are_voices_detected) == (("low", "high"), True)
