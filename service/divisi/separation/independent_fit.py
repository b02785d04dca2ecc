"""What of a recording a fit takes: the channels that do not depend on others, and the stretches that say most; and what
it means for all channels and all stems of the plan.

Channels made of others (copies, safety tracks, upmixes, mid and side beside left and right) say nothing that the others
do not. They are left out of the fit, and its images are spread to them. As many sources can be separated as there are
independent channels; stems beyond them are silent. Only what holds for the whole recording and all frequencies counts
here; copies that are delayed, or alike in some bands, are the business of the fit (`noise_for_rank` of the networks).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples
from divisi.models.engine import Fitter
from divisi.models.plan import FitPlan
from divisi.separation.segments import Stems

# -50 dB: what a channel may hold beside what others make of it. A safety track's rounding is far less, another
# microphone's sound far more.
_LEAST_OWN = 1e-5
# Of the largest such share: as good as it, so that the order may decide.
_PLAIN_OWN = 0.1
# -40 dB of a channel: less than its parts.
_LEAST_PART = 0.01
# Of how loud each microphone is.
_ACTIVITY_SECONDS = 0.5


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


@dataclass(frozen=True)
class IndependentChannels:
    """Some channels, and how all others are made of them.

    Attributes:
        channels: their numbers, counted from 0.
        weights: float64 (C, channels), all channels from these.
    """

    channels: tuple[int, ...]
    weights: NDArray[np.float64]

    def parts_of(self, channel: int, covariance: NDArray[np.float64]) -> list[int]:
        """The channels that one channel is mostly made of; none for a silent one."""
        levels = np.sqrt(covariance.diagonal())
        parts = np.abs(self.weights[channel]) * levels[list(self.channels)]
        return [part for part, level in zip(self.channels, parts, strict=True) if level > _LEAST_PART * levels[channel]]

    @property
    def are_all(self) -> bool:
        """No channel depends on others."""
        return len(self.channels) == len(self.weights)

    def spread(self, image: Samples) -> Samples:
        """All channels, float32 (C, T), of what sounds in the independent ones, (channels, T)."""
        return (self.weights @ image).astype(np.float32)

    def rest(self, mixture: Samples) -> Samples:
        """What the independent channels do not explain of the others: float32 (C, T), rounding and faint hiss."""
        return mixture - self.spread(mixture[list(self.channels)])


def covariance_of(blocks: Iterable[Samples], num_channels: int) -> NDArray[np.float64]:
    """Sums of products of the channels, float64 (C, C), of blocks float32 (C, n)."""
    covariance = np.zeros((num_channels, num_channels))
    for block in blocks:
        samples = block.astype(np.float64)
        covariance += samples @ samples.T
    return covariance


def independent_channels(covariance: NDArray[np.float64], preferred: Sequence[int] = ()) -> IndependentChannels:
    """Channels none of which is made of others; silent ones are made of nothing. Where all are silent, all channels.

    Args:
        covariance: float64 (C, C), of the whole recording.
        preferred: taken where there is a choice, in this order; then the lowest numbers.
    """
    num_channels = len(covariance)
    chosen: list[int] = []
    while True:
        shares = _own_shares(covariance, chosen)
        if shares.max() <= _LEAST_OWN:
            break
        # By nearly equal channels others would be made with weights that know no bound.
        is_plain = shares > _PLAIN_OWN * shares.max()
        chosen.append(next(channel for channel in (*preferred, *range(num_channels)) if is_plain[channel]))
    if not chosen:
        return IndependentChannels(tuple(range(num_channels)), np.eye(num_channels))
    chosen.sort()
    weights = np.eye(num_channels)[:, chosen]
    others = [channel for channel in range(num_channels) if channel not in chosen]
    weights[others] = _weights(covariance, chosen, others).T
    return IndependentChannels(tuple(chosen), weights)


def _own_shares(covariance: NDArray[np.float64], chosen: list[int]) -> NDArray[np.float64]:
    """What each channel holds beside what the chosen ones make of it, of its power: (C,), 0 for silent ones."""
    powers = covariance.diagonal()
    made = (covariance[chosen] * _weights(covariance, chosen, range(len(powers)))).sum(axis=0)
    shares = np.where(powers > 0, 1 - made / np.where(powers > 0, powers, 1), 0)
    shares[chosen] = 0
    return shares


def _weights(covariance: NDArray[np.float64], chosen: Sequence[int], channels: Sequence[int]) -> NDArray[np.float64]:
    """What makes `channels` of the chosen ones, by least squares: (chosen, channels)."""
    levels = np.sqrt(covariance.diagonal()[list(chosen)])[:, None]
    own = covariance[np.ix_(chosen, chosen)] / (levels * levels.T)
    weights: NDArray[np.float64] = np.linalg.solve(own, covariance[np.ix_(chosen, channels)] / levels) / levels
    return weights


class ActivityMeter:
    """Where in a long recording a fit learns the room: in stretches in which, together, every microphone hears much.

    Args:
        num_channels: C.
        sample_rate: Hz.
    """

    def __init__(self, num_channels: int, sample_rate: int) -> None:
        self._block_length = max(round(_ACTIVITY_SECONDS * sample_rate), 1)
        self._energies = [np.zeros(num_channels)]
        self._num_in_block = 0

    def push(self, block: Samples) -> None:
        """Takes the next samples, float32 (C, n)."""
        while block.shape[1]:
            part, block = np.split(block, [self._block_length - self._num_in_block], axis=1)
            self._energies[-1] += np.square(part, dtype=np.float64).sum(axis=1)
            self._num_in_block += part.shape[1]
            if self._num_in_block == self._block_length:
                self._energies.append(np.zeros(len(self._energies[0])))
                self._num_in_block = 0

    def most_active(self, num_stretches: int, stretch_length: int) -> list[int]:
        """First samples of the stretches, rising; they do not overlap.

        One after the other is chosen, whichever adds most: sum over microphones of the logarithm of the energy that the
        chosen ones hold, each against the microphone's mean. So a second solo of the loudest player counts less than
        the only bars of the quietest.

        Args:
            num_stretches: how many are wanted; fewer when the recording holds no more.
            stretch_length: samples of each.
        """
        energies = np.stack(self._energies[:-1] or self._energies)
        per_stretch = max(stretch_length // self._block_length, 1)
        sums = np.lib.stride_tricks.sliding_window_view(energies, min(per_stretch, len(energies)), axis=0).sum(-1)
        activity = sums / np.maximum(sums.mean(axis=0), np.finfo(np.float64).tiny)
        chosen: list[int] = []
        held: NDArray[np.float64] = np.zeros(energies.shape[1])
        is_free = np.ones(len(activity), dtype=bool)
        while is_free.any() and len(chosen) < num_stretches:
            worth = np.log1p(held + activity).sum(axis=1)
            best = int(np.where(is_free, worth, -np.inf).argmax())
            chosen.append(best)
            held = held + activity[best]
            is_free[max(best - per_stretch + 1, 0) : best + per_stretch] = False
        return [place * self._block_length for place in sorted(chosen)]
