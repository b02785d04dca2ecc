"""Recordings by several microphones become images that sum to them, short or long, with the stems that were named."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.fitted_bundle import RATE, publish_fitted, two_players

from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat
from divisi.delivery.deliver import separate_file
from divisi.models.engine import EngineOptions, open_fitter
from divisi.models.plan import FitRequest, Spot
from divisi.separation.fitted_separator import FittedSeparator, Spool, Stretches
from divisi.separation.independent_fit import ActivityMeter
from divisi.separation.separator import SeparationOptions
from divisi_workshop.metrics import si_sdr_db

SUM_BAR = 10 ** (-90 / 20)
# A long recording in small: everything that is done to minutes is done to seconds.
SMALL = Stretches(longest_whole=2.0, num_learnt=2, learnt=1.0, segment=1.5, context=0.2, fade=0.1)
SPOTS = (Spot("low", 1), Spot("high", 2))
METER_RATE = 100


@pytest.fixture(scope="module")
def separator(tmp_path_factory: pytest.TempPathFactory) -> FittedSeparator:
    bundle = publish_fitted(tmp_path_factory.mktemp("models"))
    return FittedSeparator(open_fitter(bundle, EngineOptions()), bundle.card, stretches=SMALL)


def separate(
    separator: FittedSeparator, mixture: np.ndarray, block_length: int = 1000, **asked: object
) -> tuple[np.ndarray, list[float]]:
    blocks = [mixture[:, start : start + block_length] for start in range(0, mixture.shape[1], block_length)]
    progress: list[float] = []
    options = SeparationOptions(fit=FitRequest(**asked))  # type: ignore[arg-type]
    given = list(separator.separate(blocks, RATE, len(mixture), None, progress.append, options))
    np.testing.assert_array_equal(np.concatenate([block.mixture for block in given], axis=1), mixture)
    return np.concatenate([block.stems for block in given], axis=2), progress


@pytest.mark.parametrize("seconds", [1.5, 4.3], ids=["whole", "in segments"])
def test_the_stems_are_as_long_as_the_recording_and_sum_to_it(seconds: float, separator: FittedSeparator) -> None:
    mixture = two_players(seconds).sum(axis=0)
    stems, progress = separate(separator, mixture, spots=SPOTS)
    assert stems.shape == (2, *mixture.shape)
    assert np.abs(stems.sum(axis=0) - mixture).max() <= SUM_BAR
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert len(set(progress)) > 12  # at least once an iteration


def test_no_source_changes_places_from_one_segment_to_the_next(separator: FittedSeparator) -> None:
    images = two_players(6.0)
    stems, _ = separate(separator, images.sum(axis=0), spots=SPOTS)
    for start in range(0, images.shape[2] - RATE, RATE):
        second = slice(start, start + RATE)
        for stem in range(2):
            own, other = (si_sdr_db(stems[stem, 2, second], images[s, 2, second]) for s in (stem, 1 - stem))
            assert own > other


DEPENDENT = {
    "safety tracks": [[1, 0], [0, 1], [0.25, 0], [0, 0.25]],
    "mid and side first": [[0.5, 0.5], [0.5, -0.5], [1, 0], [0, 1]],
    "upmix": [[1, 0], [0, 1], [0.7, 0.7], [0.35, 0.35], [0.6, 0], [0, 0.6]],
    "a dead channel": [[1, 0], [0, 1], [0, 0]],
    "opposite polarity": [[1, 0], [0, 1], [0, -1]],
    "three copies": [[1, 0], [1, 0], [1, 0]],
    "mono as stereo": [[1, 0], [1, 0]],
}


@pytest.mark.parametrize("spots", [(), SPOTS], ids=["blind", "spots"])
@pytest.mark.parametrize("seconds", [1.5, 4.3], ids=["whole", "in segments"])
@pytest.mark.parametrize("name", DEPENDENT)
def test_channels_made_of_others_are_separated_as_those_others_are(
    name: str, seconds: float, spots: tuple[Spot, ...], separator: FittedSeparator
) -> None:
    matrix = np.array(DEPENDENT[name])
    mixture = np.round(matrix @ two_players(seconds).sum(axis=0)[:2] * 2**23).astype(np.float32) / 2**23
    stems, _ = separate(separator, mixture, spots=spots)
    rank = np.linalg.matrix_rank(matrix)
    assert np.abs(stems).max() <= 1.5 * np.abs(mixture).max()
    assert np.abs(stems.sum(axis=0) - mixture).max() <= SUM_BAR
    assert sum(bool(np.any(stem)) for stem in stems) == rank
    if rank > 1 and seconds < SMALL.longest_whole:  # stretches of longer ones are chosen by all channels
        alone, _ = separate(separator, mixture[:rank], spots=spots)
        np.testing.assert_array_equal(stems[:, :rank], alone)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("safety tracks", "channel 3 is made of channel 1 and channel 4 is made of channel 2. At most 2 sources"),
        ("upmix", "channel 3 is made of channels 1 and 2, channel 4 is made of channels 1 and 2, channel 5 is made"),
        ("a dead channel", "channel 3 is silent. At most 2 sources can be separated; record more microphones"),
        ("mono as stereo", "channel 2 is made of channel 1. At most 1 source can be separated, so source_2 is silent"),
    ],
)
def test_the_delivery_names_the_channels_that_are_made_of_others(
    name: str, said: str, separator: FittedSeparator, tmp_path: Path
) -> None:
    mixture = np.array(DEPENDENT[name]) @ two_players(1.0).sum(axis=0)[:2]
    soundfile.write(tmp_path / "recording.wav", mixture.T, RATE, subtype="PCM_24")
    delivery = separate_file(tmp_path / "recording.wav", tmp_path, separator, StemFormat.WAV32F)
    (warning,) = [warning for warning in delivery.warnings if warning.code == "channels-depend"]
    assert said in warning.message
    rank = np.linalg.matrix_rank(DEPENDENT[name])
    assert warning.facts["independent_channels"] == list(range(1, rank + 1))
    assert warning.facts["dependent_channels"] == list(range(rank + 1, len(mixture) + 1))


def test_microphones_of_their_own_need_no_warning(separator: FittedSeparator, tmp_path: Path) -> None:
    mixture = two_players(1.0).sum(axis=0)
    mixture[2] = np.roll(mixture[2], 40)  # farther away: no sum of the others
    soundfile.write(tmp_path / "recording.wav", mixture.T, RATE, subtype="PCM_24")
    delivery = separate_file(tmp_path / "recording.wav", tmp_path, separator, StemFormat.WAV32F)
    assert "channels-depend" not in [warning.code for warning in delivery.warnings]


def test_spots_on_copies_of_one_channel_are_one_source(separator: FittedSeparator) -> None:
    mixture = two_players(1.5).sum(axis=0)[[0, 0, 1]]
    stems, _ = separate(separator, mixture, spots=(Spot("low", 1), Spot("again", 2), Spot("high", 3)))
    assert [bool(np.any(stem)) for stem in stems] == [True, False, True]
    assert np.abs(stems.sum(axis=0) - mixture).max() <= SUM_BAR


def test_how_the_recording_is_cut_into_blocks_changes_nothing(separator: FittedSeparator) -> None:
    mixture = two_players(3.0).sum(axis=0)
    first, _ = separate(separator, mixture, 1000)
    second, _ = separate(separator, mixture, 7777)
    np.testing.assert_array_equal(first, second)


def test_files_have_the_names_of_the_spots(separator: FittedSeparator, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "recording.wav", two_players(1.0).sum(axis=0).T, RATE, subtype="FLOAT")
    options = SeparationOptions(stems=("high",), fit=FitRequest(num_iterations=3, spots=SPOTS))
    delivery = separate_file(tmp_path / "recording.wav", tmp_path, separator, StemFormat.WAV32F, options)
    assert [file.name for file in delivery.files] == ["high", "residual"]
    assert delivery.num_channels == 3
    assert delivery.conservation_dbfs is not None
    assert delivery.conservation_dbfs <= -90


def test_a_stem_that_the_request_does_not_name_is_unknown(separator: FittedSeparator, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "recording.wav", two_players(0.5).sum(axis=0).T, RATE)
    options = SeparationOptions(stems=("source_1",), fit=FitRequest(spots=SPOTS))
    with pytest.raises(InputError) as caught:
        separate_file(tmp_path / "recording.wav", tmp_path, separator, StemFormat.WAV32F, options)
    assert caught.value.code == "unknown-stem"


def test_one_microphone_is_too_few(separator: FittedSeparator) -> None:
    with pytest.raises(InputError) as caught:
        separate(separator, np.zeros((1, 100), np.float32))
    assert caught.value.code == "too-few-channels"


def test_a_spool_is_read_as_it_was_written(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal((3, 1000)).astype(np.float32)
    with Spool(3, tmp_path) as spool:
        for start in range(0, 1000, 300):
            spool.write(samples[:, start : start + 300])
        np.testing.assert_array_equal(spool.read(250, 400), samples[:, 250:650])
        np.testing.assert_array_equal(spool.read(900, 400), samples[:, 900:])
        np.testing.assert_array_equal(np.concatenate(list(spool.blocks(128)), axis=1), samples)
    assert not list(tmp_path.iterdir())


def meter_of(samples: np.ndarray, block_length: int = 37) -> ActivityMeter:
    meter = ActivityMeter(len(samples), METER_RATE)
    for start in range(0, samples.shape[1], block_length):
        meter.push(samples[:, start : start + block_length])
    return meter


def playing(*spans: tuple[int, int], seconds: int = 60) -> np.ndarray:
    """One microphone's noise during some seconds, float32 (T,)."""
    samples = np.full(seconds * METER_RATE, 1e-3)
    for start, end in spans:
        samples[start * METER_RATE : end * METER_RATE] = 0.5
    return (samples * np.random.default_rng(0).choice([-1, 1], len(samples))).astype(np.float32)


def test_the_only_bars_of_a_quiet_player_are_among_them() -> None:
    samples = np.stack([playing((0, 40)), 0.01 * playing((50, 55))])
    starts = meter_of(samples).most_active(2, 5 * METER_RATE)
    assert any(45 * METER_RATE <= start <= 55 * METER_RATE for start in starts)
    assert any(start <= 35 * METER_RATE for start in starts)


def test_stretches_do_not_overlap_and_rise() -> None:
    starts = meter_of(np.stack([playing((20, 40)), playing((20, 40))])).most_active(3, 5 * METER_RATE)
    assert starts == sorted(starts)
    assert all(after - before >= 5 * METER_RATE for before, after in pairwise(starts))


def test_fewer_come_where_the_recording_holds_no_more() -> None:
    assert len(meter_of(playing((0, 6), seconds=7)[None]).most_active(3, 5 * METER_RATE)) == 1


def test_blocks_change_nothing() -> None:
    samples = np.stack([playing((3, 9)), playing((30, 37))])
    assert meter_of(samples, 37).most_active(2, 500) == meter_of(samples, 1000).most_active(2, 500)


def test_silence_has_stretches_too() -> None:
    assert len(meter_of(np.zeros((2, 6000), np.float32)).most_active(2, 500)) == 2
