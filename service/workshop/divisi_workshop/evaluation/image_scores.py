"""How near estimated source images are to the true ones: SI-SDR, SDR, SIR and SAR, at each source's own microphone.

SI-SDR is ours (`metrics`); the others are BSS Eval (Vincent, Gribonval and Févotte, IEEE TASLP 14, 2006) as computed by
fast_bss_eval (Scheibler, ICASSP 2022), a development dependency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import fast_bss_eval
import numpy as np
import torch
from numpy.typing import NDArray

from divisi_workshop.evaluation.metrics import si_sdr_db

# Of the filters that BSS Eval forgives: its own number.
_FILTER_LENGTH = 512


@dataclass(frozen=True)
class ImageScores:
    """All in dB, float64 (S,), sources in the order of the references.

    Attributes:
        recording_si_sdr: of the microphone itself, taken as the estimate.
        si_sdr, sdr, sir, sar: of the estimate.
    """

    recording_si_sdr: NDArray[np.float64]
    si_sdr: NDArray[np.float64]
    sdr: NDArray[np.float64]
    sir: NDArray[np.float64]
    sar: NDArray[np.float64]

    @property
    def improvement(self) -> float:
        """Mean SI-SDR improvement over the microphones."""
        return float((self.si_sdr - self.recording_si_sdr).mean())


def score_images(
    estimates: NDArray[np.floating],
    images: NDArray[np.floating],
    mixture: NDArray[np.floating],
    channels: Sequence[int],
    *,
    finds_order: bool = False,
) -> ImageScores:
    """Scores estimates at the microphone of each source.

    Args:
        estimates: (S, C, T).
        images: (S, C, T), the true ones.
        mixture: (C, T), the recording.
        channels: of each source the microphone that stands nearest.
        finds_order: take the estimates in whatever order scores best, as blind systems are scored.
    """
    places = range(len(images))
    if finds_order:
        table = np.array(
            [[si_sdr_db(estimate[channels[s]], images[s, channels[s]]) for s in places] for estimate in estimates]
        )
        order = max(permutations(places), key=lambda order: sum(table[order[s], s] for s in places))
        estimates = estimates[list(order)]
    reference = np.stack([images[s, channels[s]] for s in places]).astype(np.float64)
    estimate = np.stack([estimates[s, channels[s]] for s in places]).astype(np.float64)
    # As tensors: its numpy way fails with numpy 2.
    ratios = fast_bss_eval.bss_eval_sources(
        torch.from_numpy(reference),
        torch.from_numpy(estimate),
        filter_length=_FILTER_LENGTH,
        compute_permutation=False,
    )
    sdr, sir, sar = (ratio.numpy() for ratio in ratios)
    recording = np.array([si_sdr_db(mixture[channels[s]], images[s, channels[s]]) for s in places])
    return ImageScores(recording, si_sdr_db(estimate, reference), sdr, sir, sar)
