"""How fast an engine separates, measured on itself when it opens, and how many segments at a time suit it best.

A GPU gains from batches until its units or its memory are full; a CPU gains nothing. Which size is best depends on
model and device, so it is tried rather than known.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from divisi.contract.card import ModelCard
from divisi.contract.errors import ModelError
from divisi.engines.engine import Engine

LARGEST_BATCH = 64
# A batch twice as large must be this much faster per segment to be worth its memory.
_LEAST_GAIN = 1.1
# Of a model that takes recordings whole.
_WHOLE_SECONDS = 4


@dataclass(frozen=True)
class Pace:
    """What an engine does at one batch size; `real_time_factor` is seconds of computing a second of audio."""

    batch_size: int
    real_time_factor: float


def measure_pace(
    engine: Engine, card: ModelCard, batch_size: int = 1, *, clock: Callable[[], float] = time.perf_counter
) -> Pace:
    """Times a batch of silent segments, after one that is not timed where a GPU first has to choose its kernels.

    Only the part of a segment that ends up in stems counts as audio; its context does not.

    Raises:
        ModelError: as `Engine.run`, such as when the device has no memory for the batch.
    """
    if card.segment_length == "whole":
        length = fresh = -(-_WHOLE_SECONDS * card.sample_rate // card.length_multiple) * card.length_multiple
    else:
        length, fresh = card.segment_length, card.segment_length - 2 * card.context_length
    num_channels = 1 if card.num_channels == "any" else card.num_channels
    segments = np.zeros((batch_size, num_channels, length), np.float32)
    if engine.device != "cpu":
        engine.run(segments)
    began = clock()
    engine.run(segments)
    return Pace(batch_size, (clock() - began) * card.sample_rate / (batch_size * fresh))


def find_pace(engine: Engine, card: ModelCard, *, clock: Callable[[], float] = time.perf_counter) -> Pace:
    """Doubles the batch until it gains little, or the device's memory is full; gives the best that ran.

    A model that takes recordings whole has batches of one.
    """
    best = measure_pace(engine, card, 1, clock=clock)
    while card.segment_length != "whole" and best.batch_size < LARGEST_BATCH:
        try:
            larger = measure_pace(engine, card, 2 * best.batch_size, clock=clock)
        except ModelError as error:
            if error.code != "engine-failed":
                raise
            break
        if best.real_time_factor < _LEAST_GAIN * larger.real_time_factor:
            break
        best = larger
    return best


def batch_size_for(engine: Engine, card: ModelCard, wanted: int | None) -> int:
    """The batch size that was asked for; where none was, 1 on a CPU, and on a GPU what `find_pace` finds."""
    if wanted is not None:
        return wanted
    return 1 if engine.device == "cpu" else find_pace(engine, card).batch_size
