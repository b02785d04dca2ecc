from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from divisi.contract.errors import InputError
from divisi.separation.separator import SeparationOptions, Separator
from divisi.separation.survey import survey

# The engine's filter in double precision, rounded to float32 samples of deviation 0.1.
ROUNDING = 1e-6
# -90 dBFS, what the service promises; here reached by rounding alone.
PROMISED = 10 ** (-90 / 20)
STEMS = ("soprano", "alto", "tenor", "bass")


def separate(separator, samples, sample_rate=16_000, block_length=5000, options=None, on_progress=None):
    """(stems, residual, f0) of a whole recording."""
    blocks = (samples[:, start : start + block_length] for start in range(0, samples.shape[1], block_length))
    num_channels = len(samples)
    surveyed = survey([samples], sample_rate, num_channels)
    parts = list(separator.separate(blocks, sample_rate, num_channels, surveyed, on_progress, options))
    np.testing.assert_array_equal(np.concatenate([part.mixture for part in parts], axis=-1), samples)
    stems = np.concatenate([part.stems for part in parts], axis=-1)
    residual = np.concatenate([part.residual for part in parts], axis=-1)
    tracks = [part.f0 for part in parts if part.f0 is not None]
    return stems, residual, np.concatenate(tracks, axis=-1) if tracks else None


@pytest.mark.parametrize("num_samples", [1, 64, 4095, 4096, 4097, 50_000])
def test_segments_with_real_context_give_what_the_whole_recording_would(
    num_samples, make_card, make_low_high, low_pass, noise
) -> None:
    samples = noise(1, num_samples)
    card = make_card()
    stems, _, _ = separate(Separator(make_low_high(card), card), samples)
    low = np.convolve(samples[0], low_pass, "full")[32 : 32 + num_samples]
    np.testing.assert_allclose(stems[0, 0], low, atol=ROUNDING)
    np.testing.assert_allclose(stems[1, 0], samples[0] - low, atol=ROUNDING)


def test_at_the_models_rate_in_mono_the_estimates_are_delivered_untouched(make_card, make_low_high, noise) -> None:
    samples = noise(1, 3000)
    card = make_card()
    stems, _, _ = separate(Separator(make_low_high(card), card), samples)
    padded = np.pad(samples, ((0, 0), (0, 3008 - 3000)))
    estimates = make_low_high(card).run(padded[None])["estimates"][0]
    np.testing.assert_array_equal(stems, estimates[..., :3000])


@pytest.mark.parametrize(("num_channels", "sample_rate"), [(1, 16_000), (2, 16_000), (1, 44_100), (2, 44_100)])
def test_how_the_recording_is_cut_into_blocks_changes_no_bit(
    num_channels, sample_rate, make_card, make_low_high, noise
) -> None:
    samples = noise(num_channels, 3 * sample_rate + 17)
    card = make_card()
    separator = Separator(make_low_high(card), card)
    at_once = separate(separator, samples, sample_rate, block_length=samples.shape[1])
    in_blocks = separate(separator, samples, sample_rate, block_length=1013)
    np.testing.assert_array_equal(at_once[0], in_blocks[0])
    np.testing.assert_array_equal(at_once[1], in_blocks[1])


@pytest.mark.parametrize(
    ("num_channels", "sample_rate", "num_samples"),
    [
        (1, 16_000, 50_000),
        (1, 16_000, 1),
        (1, 44_100, 1),
        (2, 44_100, 4410),
        (2, 44_100, 132_301),
        (6, 48_000, 96_001),
        (1, 8000, 8001),
        (2, 96_000, 100_003),
        (12, 16_000, 20_000),
        (1, 1000, 999),
    ],
)
def test_stems_and_residual_add_up_to_the_recording(
    num_channels, sample_rate, num_samples, make_card, make_low_high, noise
) -> None:
    samples = noise(num_channels, num_samples)
    card = make_card()
    stems, residual, _ = separate(Separator(make_low_high(card), card), samples, sample_rate)
    assert stems.shape == (2, num_channels, num_samples)
    assert np.abs(stems.sum(axis=0) + residual - samples).max() < PROMISED


def test_the_real_passthrough_engine_leaves_no_residual(make_card, make_passthrough, noise) -> None:
    samples = noise(1, 20_000)
    card = make_card(stems=("soprano", "alto", "tenor", "bass"))
    stems, residual, _ = separate(Separator(make_passthrough(card), card), samples)
    np.testing.assert_allclose(stems, np.broadcast_to(samples / 4, (4, 1, 20_000)), atol=ROUNDING)
    assert np.abs(residual).max() < ROUNDING


def test_segments_go_to_the_engine_in_batches_and_the_stems_are_the_same(make_card, make_low_high, noise) -> None:
    samples = noise(1, 20_000)
    card = make_card()
    one, three = make_low_high(card), make_low_high(card)
    expected, _, _ = separate(Separator(one, card), samples)
    stems, _, _ = separate(Separator(three, card, batch_size=3), samples, block_length=20_000)
    assert {shape[0] for shape in one.shapes} == {1}
    assert [shape[0] for shape in three.shapes] == [3, 3, 2]
    np.testing.assert_array_equal(stems, expected)


def test_a_whole_recording_model_gets_it_in_one_piece(make_card, make_low_high, noise) -> None:
    card = make_card(segment_length="whole", context_length=0)
    engine = make_low_high(card)
    stems, _, _ = separate(Separator(engine, card), noise(1, 20_000))
    assert engine.shapes == [(1, 1, 20_032)]
    assert stems.shape == (2, 1, 20_000)


def test_a_model_of_any_channels_gets_them_all(make_card, make_low_high, noise) -> None:
    samples = noise(5, 10_000)
    card = make_card(num_channels="any")
    engine = make_low_high(card)
    stems, _, _ = separate(Separator(engine, card), samples)
    assert {shape[1] for shape in engine.shapes} == {5}
    np.testing.assert_allclose(stems.sum(axis=0), samples, atol=ROUNDING)


def test_a_recording_of_other_channels_than_the_models_is_refused(make_card, make_low_high, noise) -> None:
    card = make_card(num_channels=2)
    with pytest.raises(InputError) as raised:
        separate(Separator(make_low_high(card), card), noise(3, 1000))
    assert raised.value.code == "unsupported-channels"


def test_only_the_wanted_stem_and_everything_but_it(make_card, make_low_high, noise) -> None:
    samples = noise(2, 40_000)
    card = make_card()
    separator = Separator(make_low_high(card), card)
    both, _, _ = separate(separator, samples, 44_100)
    stems, residual, _ = separate(separator, samples, 44_100, options=SeparationOptions(stems=("high",)))
    np.testing.assert_array_equal(stems[0], both[1])
    np.testing.assert_allclose(residual, samples - both[1], atol=ROUNDING)


def test_an_unknown_stem_is_refused_before_anything_is_read(make_card, make_low_high) -> None:
    card = make_card()
    with pytest.raises(InputError) as raised:
        Separator(make_low_high(card), card).separate(iter(()), 16_000, 1, options=SeparationOptions(stems=("tuba",)))
    assert raised.value.code == "unknown-stem"
    assert raised.value.facts == {"stems": ["low", "high"]}


@pytest.mark.parametrize("num_samples", [1, 511, 512, 3000, 20_000, 20_480])
def test_pitch_tracks_have_a_frame_for_every_hop_of_the_recording(num_samples, make_card, make_low_high, noise) -> None:
    samples = noise(1, num_samples)
    card = make_card(length_multiple=512, extra_outputs=({"name": "f0", "hop_length": 512},))
    separator = Separator(make_low_high(card), card)
    _, _, f0 = separate(separator, samples)
    # The engine's pitches are samples of the recording: each frame is at its place.
    np.testing.assert_array_equal(f0, np.stack([samples[0, ::512], -samples[0, ::512]]))
    assert separator.f0_hop_seconds == 0.032


def test_pitch_tracks_are_those_of_the_wanted_stems(make_card, make_low_high, noise) -> None:
    card = make_card(length_multiple=512, extra_outputs=({"name": "f0", "hop_length": 512},))
    samples = noise(1, 2048)
    _, _, f0 = separate(Separator(make_low_high(card), card), samples, options=SeparationOptions(stems=("high",)))
    np.testing.assert_array_equal(f0, -samples[:, ::512])


@pytest.mark.parametrize("num_samples", [None, 30_000, 90_000])
def test_progress_rises_to_one_whatever_length_was_expected(num_samples, make_card, make_low_high, noise, cut) -> None:
    card = make_card()
    progress: list[float] = []
    samples = noise(1, 60_000)
    surveyed = None if num_samples is None else replace(survey([samples], 16_000, 1), num_samples=num_samples)
    list(Separator(make_low_high(card), card).separate(cut(samples, 1000), 16_000, 1, surveyed, progress.append))
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert num_samples is None or len(progress) > 5


def test_an_error_in_the_recording_comes_through(make_card, make_low_high, noise) -> None:
    def damaged():
        yield noise(1, 10_000)
        raise InputError("damaged", code="undecodable")

    card = make_card()
    with pytest.raises(InputError, match="damaged"):
        list(Separator(make_low_high(card), card).separate(damaged(), 16_000, 1))


def test_memory_does_not_grow_with_the_recording(make_card, make_passthrough, noise) -> None:
    card = make_card()
    separator = Separator(make_passthrough(card), card)
    block = noise(2, 44_100)

    def peak_bytes(seconds: int) -> int:
        tracemalloc.start()
        surveyed = survey((block for _ in range(seconds)), 44_100, 2)
        for _ in separator.separate((block for _ in range(seconds)), 44_100, 2, surveyed):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_bytes(2)  # what is allocated once and kept
    assert peak_bytes(120) < 1.1 * peak_bytes(30)


def test_all_stems_are_wanted_unless_some_are_named() -> None:
    assert SeparationOptions().indices(STEMS) == [0, 1, 2, 3]


def test_stems_come_in_the_models_order_and_once() -> None:
    assert SeparationOptions(stems=("bass", "alto", "bass")).indices(STEMS) == [1, 3]


def test_an_unknown_stem_is_told_with_those_there_are() -> None:
    with pytest.raises(InputError, match="no stem 'tuba'; it has soprano, alto, tenor, bass") as raised:
        SeparationOptions(stems=("alto", "tuba")).indices(STEMS)
    assert raised.value.code == "unknown-stem"
