"""Scores."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from divisi_workshop.choirs.takes import VOICES, Choir, Part
from divisi_workshop.learning.train import held_excerpts, validate
from divisi_workshop.networks.chorus import Chorus, ChorusConfig


def test_whole_excerpts_are_cut_and_the_last_partial_one_is_dropped(choir: Choir) -> None:
    (only,) = held_excerpts(choir, 1.0, 100.0, 512)
    assert only.sources.shape == (4, 64_000)
    assert np.abs(only.mixture).max() == pytest.approx(1.0)
    assert np.allclose(only.sources.sum(0), only.mixture, atol=1e-6)


def test_a_voice_that_rests_is_not_scored(make_part: Callable[..., Part]) -> None:
    parts = [(make_part(voice, 4.5, silent_from=0.0 if voice == "alto" else None),) for voice in VOICES]
    torch.manual_seed(0)
    network = Chorus(ChorusConfig(pitch_channels=8, pitch_hidden=8, refined_hidden=8, mask_channels=8)).eval()
    scores = validate(network, held_excerpts(Choir(tuple(parts)), 0.0, 4.0, 512))
    assert np.isnan(scores.per_voice_db[1])
    assert np.isfinite(scores.si_sdr_db)
    assert scores.mixture_db < 3
