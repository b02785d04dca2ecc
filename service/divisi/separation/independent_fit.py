"""A fit of the channels that do not depend on others, and what it means for all channels and all stems of the plan.

Channels made of others (`channel_relations`) are left out of the fit: its images are spread to them. As many sources
can be told apart as there are independent channels; stems beyond them are silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from divisi.audio.recording import Samples
from divisi.models.engine import Fitter
from divisi.models.plan import FitPlan
from divisi.separation.channel_relations import IndependentChannels
from divisi.separation.full_band import Stems
from divisi.separation.source_order import order_sources


class IndependentFit:
    """One recording's fit, as `Fitter`, in all channels and in the stems' order.

    Args:
        engine: does it.
        plan: of all stems and channels.
        independent: of the recording.
        selected: places of the wanted stems.

    Attributes:
        plan: of the sources and channels that are fitted.
        num_steps: see `Fitter`.
    """

    def __init__(self, engine: Fitter, plan: FitPlan, independent: IndependentChannels, selected: list[int]) -> None:
        self._engine = engine
        self._independent = independent
        self._channels = list(independent.channels)
        self._fitted = _fitted_stems(plan, self._channels)
        self._selected = selected
        self._order: list[int] = []
        spots = [plan.spot_channels[place] for place in self._fitted]
        self.plan = replace(
            plan,
            stems=tuple(plan.stems[place] for place in self._fitted),
            spot_channels=tuple(self._channels.index(spot) if spot in self._channels else None for spot in spots),
        )
        self.num_steps = engine.num_steps(self.plan)

    def learn(self, stretches: Samples) -> Iterator[None]:
        """As `Fitter.fit`, of float32 (B, C, T)."""
        yield from self._engine.fit(stretches[:, self._channels], self.plan)
        self._order = order_sources(self._engine.levels(), self.plan)

    def adapt(self, stretch: Samples, num_iterations: int) -> Iterator[None]:
        """As `Fitter.adapt`, of float32 (C, T)."""
        yield from self._engine.adapt(stretch[self._channels], num_iterations)

    def stems(self, mixture: Samples) -> Stems:
        """The wanted stems, float32 (S, C, T), of the stretch that was given last; all stems together are that."""
        stems = np.zeros((len(self._selected), *mixture.shape), np.float32)
        # Faint hiss of the other channels; everybody has a share, so that the sum holds.
        rest = 0 if self._independent.are_all else self._independent.rest(mixture) / len(self._fitted)
        for stem, place in zip(stems, self._selected, strict=True):
            if place in self._fitted:
                image = self._engine.image(self._order[self._fitted.index(place)])[0]
                stem[:] = image if self._independent.are_all else self._independent.spread(image) + rest
        return stems


def _fitted_stems(plan: FitPlan, channels: list[int]) -> list[int]:
    """Places of the stems that there are sources for: those with an independent spot, then the first others."""
    without_spot = [place for place, spot in enumerate(plan.spot_channels) if spot not in channels]
    with_spot = [place for place in range(plan.num_sources) if place not in without_spot]
    return sorted([*with_spot, *without_spot][: len(channels)])
