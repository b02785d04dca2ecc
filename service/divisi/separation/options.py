"""What one request asks of a separation. (What belongs to the model is in its card, to the deployment in Settings.)"""

from __future__ import annotations

from collections.abc import Sequence

from divisi.contract.errors import InputError
from divisi.contract.request import DeliveryOptions
from divisi.models.plan import FitRequest, Voices


class SeparationOptions(DeliveryOptions):
    """What to deliver: what was asked as it came, and what was made of it.

    Attributes:
        stems: names of the wanted stems; None for all of the model's.
        include_pitch: also deliver pitch tracks and notes of the wanted stems, where the model has them.
        include_resynthesis: also deliver the mixture as the model sings it again, where it can.
        include_views: also deliver what people look at: peaks, spectrograms, confidence, a picture of it all.
        include_previews: also deliver stems and residual as small files to listen to at once.
        include_report: also deliver the picture, where not all of those are wanted.
        voices: who may sing, by name; None: all of the model's stems; `auto`: whoever is heard. Stems of the others
            are silent.
        fit: what is asked of a model that is fitted to the recording; None: what its card says.
    """

    stems: tuple[str, ...] | None = None
    include_pitch: bool = False
    include_resynthesis: bool = False
    include_views: bool = False
    include_previews: bool = False
    include_report: bool = False
    voices: Voices = None
    fit: FitRequest | None = None

    def indices(self, model_stems: Sequence[str]) -> list[int]:
        """Places of the wanted stems on the model's axis S, in the model's order.

        Raises:
            InputError: code `unknown-stem`.
        """
        if self.stems is None:
            return list(range(len(model_stems)))
        for name in self.stems:
            if name not in model_stems:
                message = f"the model has no stem {name[:80]!r}; it has {', '.join(model_stems)}"
                raise InputError(message, code="unknown-stem", stems=list(model_stems))
        return [place for place, name in enumerate(model_stems) if name in self.stems]
