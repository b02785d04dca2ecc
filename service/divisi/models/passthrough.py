"""An engine without a model, to test all that is around one: the voices that may sing share the mixture evenly."""

from __future__ import annotations

import numpy as np

from divisi.contract.errors import ModelError
from divisi.models.agreement import check_mixture, check_outputs, check_roster
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions

SURE = np.float32(10.0)
"""Log odds that whoever may sing does."""


class PassthroughEngine:
    """Needs no artifact.

    The stems sum to the mixture, absent voices are silent, no frame is voiced, all that may sing are heard, the
    resynthesis is the mixture.
    """

    name = "passthrough"
    device = "cpu"
    provider = "numpy"

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        if options.device != "cpu":
            raise ModelError(f"engine passthrough runs on cpu, not on {options.device}", code="wrong-device")
        self._card = bundle.card
        self._is_open = True

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if not self._is_open:
            raise ModelError("engine passthrough is closed", code="engine-closed")
        mixture = check_mixture(mixture, self._card)
        num_stems = len(self._card.stems)
        roster = check_roster(roster, len(mixture), self._card)
        if roster is None:
            roster = np.ones((len(mixture), num_stems), np.float32)
        num_voices = np.maximum(roster.sum(axis=1), 1)[:, None, None]
        outputs = {"estimates": roster[:, :, None, None] * (mixture / num_voices)[:, None]}
        for output in self._card.extra_outputs:
            if output.hop_length is not None:
                num_frames = mixture.shape[-1] // output.hop_length
                outputs[output.name] = np.zeros((len(mixture), num_stems, num_frames), np.float32)
            elif output.name == "presence":
                outputs[output.name] = SURE * (2 * roster - 1)
            else:
                outputs[output.name] = mixture.copy()
        return check_outputs(outputs, mixture.shape, self._card)

    def close(self) -> None:
        self._is_open = False
