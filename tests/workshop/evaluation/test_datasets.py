"""Data sets as they lie in the user's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from divisi.contract.errors import InputError, NotFoundError
from divisi_workshop.choirs.takes import EXCERPT_LENGTH, SAMPLE_RATE, VOICES
from divisi_workshop.evaluation.datasets import load_dataset


def test_singers_are_cut_to_the_shortest_and_their_sum_is_the_mixture(data: Path) -> None:
    dataset = load_dataset("nino_dios", data)
    assert dataset.voices == VOICES
    assert dataset.sources.shape == (4, 200_000)
    np.testing.assert_allclose(dataset.mixture, sum(dataset.sources), atol=1e-6)


def test_a_missing_singer_is_named(data: Path) -> None:
    (data / "nino_dios" / "tenor_4.flac").unlink()
    with pytest.raises(InputError, match=r"tenor_4\.flac is missing"):
        load_dataset("nino_dios", data)


def test_a_data_set_that_is_read_from_a_folder_asks_for_it() -> None:
    with pytest.raises(InputError, match="folder"):
        load_dataset("nino_dios")


def test_an_unknown_data_set_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="sample, nino_dios"):
        load_dataset("opera")


def test_the_sample_needs_no_folder_and_arrives_at_the_protocol_rate() -> None:
    dataset = load_dataset("sample")
    assert dataset.sources.shape == (4, round(449_820 * SAMPLE_RATE / 44_100))
    assert np.abs(dataset.sources).max(axis=1).min() > 0.01


def test_pairs_are_the_excerpts_of_all_six_one_pair_after_the_other(data: Path) -> None:
    song, pairs = load_dataset("nino_dios", data), load_dataset("nino_dios_pairs", data)
    length = (200_000 - song.start) // EXCERPT_LENGTH * EXCERPT_LENGTH
    assert pairs.voices == ("upper", "lower")
    assert pairs.sources.shape == (2, 6 * length)
    second = pairs.sources[:, length : 2 * length]
    np.testing.assert_array_equal(second, song.sources[[0, 2], song.start : song.start + length])
