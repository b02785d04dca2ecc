"""Beats of a choir, from when its notes begin: the sequence of beats under which these moments are likeliest.

A choir has no drums, but its notes begin on beats, less often on halves and quarters of beats, and seldom elsewhere.
That is an intensity over the phase of a beat, of mean 1 whatever the beat's length, so that a tempo twice too fast
spreads thin and one twice too slow meets notes where few should be. Beats are found by dynamic programming over the
moments of a beat and the time since the beat before (after the bar pointer of Whiteley, Cemgil and Godsill, 2006, with
one state a beat): it may change a little from beat to beat, so ritardandi are followed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of the grid of time, seconds.
_STEP_SECONDS = 0.02
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.33, 1.6
# Where no note begins for longer, the beat is lost, and found anew.
_LONGEST_PAUSE_SECONDS = 8.0
# Neighbouring lengths of a beat differ by this share, and changing from one to the next costs this much.
_LENGTH_RATIO = 1.05
_CHANGE_COST = 1.0
_MOST_CHANGES = 3
# What people beat to lies around 84 a minute; so many octaves are one standard deviation. Weighed for each second.
_USUAL_SECONDS, _OCTAVES, _PRIOR_WEIGHT = 60 / 84, 0.5, 0.6
# How exactly singers meet the beat, seconds.
_SPREAD_SECONDS = 0.04
# Share of the notes that begin at each phase of the beat; the others begin anywhere.
_PHASES = ((0.0, 0.74), (0.5, 0.16), (0.25, 0.02), (0.75, 0.03))
_ANYWHERE = 1 - sum(share for _, share in _PHASES)


def find_beats(onsets: Floats, weights: Floats, end_seconds: float) -> Floats:
    """Beats from about the first note on, and up to the last.

    Args:
        onsets: (M,) seconds at which notes begin, of all voices, in any order.
        weights: (M,) how much each is worth; four voices that move together are one event more than four.
        end_seconds: when the last note ends.

    Returns:
        (beats,) seconds, rising; none where fewer than two notes begin within some seconds.
    """
    order = np.argsort(onsets, kind="stable")
    breaks = np.flatnonzero(np.diff(onsets[order]) > _LONGEST_PAUSE_SECONDS) + 1
    beats = np.zeros(0)
    for stretch in np.split(order, breaks):
        if len(np.unique(onsets[stretch])) > 1:
            beats = _joined(beats, _beats_of(onsets[stretch], weights[stretch]))
    if len(beats) < 2:
        return np.zeros(0)
    last = beats[-1] - beats[-2]
    beats = np.concatenate([beats, np.arange(beats[-1] + last, end_seconds, last)])
    return beats[beats < end_seconds - last / 2]


def _beats_of(onsets: Floats, weights: Floats) -> Floats:
    """Of a stretch without long pauses, from half a beat before its first note to half a beat after its last."""
    first = float(onsets.min()) - _LONGEST_SECONDS
    margin = round(_LONGEST_SECONDS / _STEP_SECONDS)
    events = _events(onsets - first, weights, round((float(onsets.max()) - first) / _STEP_SECONDS) + margin + 1)
    beats = first + np.array(_best_path(events, margin)) * _STEP_SECONDS
    beats = _nearer_to_onsets(beats, onsets, weights)
    reach = 0.5 * float(np.median(np.diff(beats))) if len(beats) > 1 else 0.0
    return beats[(beats > onsets.min() - reach) & (beats < onsets.max() + reach)]


def _joined(before: Floats, after: Floats) -> Floats:
    """Beats of two stretches, and as many between them as there would have been."""
    if len(before) < 2 or len(after) < 2:
        return after if len(before) < 2 else before
    usual = (np.median(np.diff(before)) + np.median(np.diff(after))) / 2
    count = max(1, round((after[0] - before[-1]) / usual))
    return np.concatenate([before, np.linspace(before[-1], after[0], count + 1)[1:-1], after])


def _events(onsets: Floats, weights: Floats, num_steps: int) -> Floats:
    """Weight of what begins in each step, shared between the two nearest. Shape: (num_steps,)."""
    places = onsets / _STEP_SECONDS
    before = np.floor(places).astype(np.int64)
    events = np.zeros(num_steps + 1)
    np.add.at(events, before, weights * (1 - (places - before)))
    np.add.at(events, before + 1, weights * (places - before))
    return events[:num_steps]


def _lengths() -> list[int]:
    """Lengths of a beat that are tried, in steps."""
    count = round(math.log(_LONGEST_SECONDS / _SHORTEST_SECONDS) / math.log(_LENGTH_RATIO))
    seconds = np.geomspace(_SHORTEST_SECONDS, _LONGEST_SECONDS, count + 1)
    return sorted(set(np.round(seconds / _STEP_SECONDS).astype(int).tolist()))


def _worth(length: int) -> Floats:
    """How much likelier a note begins so many steps after a beat, the last being the next beat, than anywhere:
    logarithms. Shape: (length,).
    """
    phase = (np.arange(length) + 1) / length
    spread = _SPREAD_SECONDS / (length * _STEP_SECONDS)
    intensity = np.full(length, _ANYWHERE)
    for place, share in _PHASES:
        away = np.abs(phase - place)
        away = np.minimum(away, 1 - away)
        intensity += share * np.exp(-0.5 * (away / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
    return np.log(intensity / intensity.mean())


def _prior(length: int) -> float:
    octaves = math.log2(length * _STEP_SECONDS / _USUAL_SECONDS) / _OCTAVES
    return -_PRIOR_WEIGHT * length * _STEP_SECONDS * 0.5 * octaves**2


def _best_path(events: Floats, margin: int) -> list[int]:
    """Steps at which beats fall, by dynamic programming; the first and the last lie within the margins.

    Of each step and length of the beat that ends there, the best sum so far is held for as long as a beat may last, and
    the change of length for good: a byte each.
    """
    lengths = _lengths()
    longest, spans, places = lengths[-1], np.array(lengths), np.arange(len(lengths))
    worths = np.zeros((len(lengths), longest))
    for place, length in enumerate(lengths):
        worths[place, longest - length :] = _worth(length)
    priors = np.array([_prior(length) for length in lengths])
    jumps = np.arange(-_MOST_CHANGES, _MOST_CHANGES + 1)
    before = places[:, None] + jumps
    costs = np.where((before < 0) | (before >= len(lengths)), np.inf, _CHANGE_COST * np.abs(jumps))
    before = np.clip(before, 0, len(lengths) - 1)
    padded = np.concatenate([np.zeros(longest), events])
    # Of the last `longest` steps, the newest at the end; before the first step any beat may begin.
    totals = np.zeros((longest, len(lengths)))
    came_from = np.zeros((len(events), len(lengths)), np.int8)
    for step in range(len(events)):
        reached = totals[longest - spans[:, None], before] - costs
        best = reached.argmax(axis=1)
        came_from[step] = before[places, best]
        now = reached[places, best] + worths @ padded[step + 1 : step + 1 + longest] + priors
        totals = np.concatenate([totals[1:], now[None]])
    tail = totals[longest - margin :]
    last, place = divmod(int(tail.argmax()), len(lengths))
    path = [last + len(events) - margin]
    while (start := path[-1] - lengths[place]) >= 0:
        place = int(came_from[path[-1], place])
        path.append(start)
    return path[::-1]


def _nearer_to_onsets(beats: Floats, onsets: Floats, weights: Floats) -> Floats:
    """Each beat moved to the mean of the notes that begin around it, where some do. Shape: (beats,)."""
    away = onsets - beats[:, None]
    nearness = weights * np.exp(-0.5 * (away / _SPREAD_SECONDS) ** 2) * (np.abs(away) < 3 * _SPREAD_SECONDS)
    worth = nearness.sum(axis=1)
    return np.asarray(beats + (nearness * away).sum(axis=1) / (worth + 0.5))
