"""Which fitted source is whose stem: by its spot microphone where that is known, else in an order that stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from divisi.models.plan import FitPlan


def order_sources(levels: NDArray[np.float64], plan: FitPlan) -> list[int]:
    """For each stem of the plan, the place of its source.

    Sources that started at spot microphones are where they started. Of a blind fit, each spot takes the source that has
    the greatest share of what it hears, the clearest case first. Other stems are numbered by the microphone at which
    their source has its greatest share, and the louder first where two are at one.

    Args:
        levels: float (S, C), power of each source at each microphone.
        plan: of the fit.
    """
    if plan.initialisation == "spots" and None not in plan.spot_channels:
        return list(range(plan.num_sources))
    shares = levels / np.maximum(levels.sum(axis=0), np.finfo(np.float64).tiny)
    source_of: dict[int, int] = {}
    spotted = {place: channel for place, channel in enumerate(plan.spot_channels) if channel is not None}
    if plan.initialisation == "spots":
        source_of = {place: place for place in spotted}
    while len(source_of) < len(spotted):
        open_pairs = [
            (shares[source, channel], -source, place)
            for place, channel in spotted.items()
            for source in range(plan.num_sources)
            if place not in source_of and source not in source_of.values()
        ]
        _, minus_source, place = max(open_pairs)
        source_of[place] = -minus_source
    others = [source for source in range(plan.num_sources) if source not in source_of.values()]
    others.sort(key=lambda source: (int(shares[source].argmax()), -float(levels[source].sum())))
    return [source_of[place] if place in source_of else others.pop(0) for place in range(plan.num_sources)]
