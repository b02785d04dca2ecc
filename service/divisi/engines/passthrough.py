"""An engine without a model, to test all that is around one: each stem is the mixture over the number of stems."""

from __future__ import annotations

import numpy as np

from divisi.bundles.store import ModelBundle
from divisi.engines.agreement import check_mixture, check_outputs
from divisi.engines.engine import EngineOptions
from divisi.errors import ModelError


class PassthroughEngine:
    """Needs no artifact; the stems sum to the mixture, no frame is voiced, the resynthesis is the mixture."""

    name = "passthrough"
    device = "cpu"

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        if options.device != "cpu":
            raise ModelError(f"engine passthrough runs on cpu, not on {options.device}", code="wrong-device")
        self._card = bundle.card
        self._is_open = True

    def run(self, mixture: np.ndarray) -> dict[str, np.ndarray]:
        if not self._is_open:
            raise ModelError("engine passthrough is closed", code="engine-closed")
        mixture = check_mixture(mixture, self._card)
        num_stems = len(self._card.stems)
        outputs = {"estimates": np.repeat((mixture / np.float32(num_stems))[:, None], num_stems, axis=1)}
        for output in self._card.extra_outputs:
            if output.hop_length is not None:
                num_frames = mixture.shape[-1] // output.hop_length
                outputs[output.name] = np.zeros((len(mixture), num_stems, num_frames), np.float32)
            else:
                outputs[output.name] = mixture.copy()
        return check_outputs(outputs, mixture.shape, self._card)

    def close(self) -> None:
        self._is_open = False
