"""Recordings put one after the other in one file (Ogg chains, FLAC files joined by `cat`), decoded as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from divisi.audio.block_source import BlockSource, check_promise
from divisi.audio.waveform import Samples
from divisi.contract.errors import InputError


class ChainedSource:
    """A BlockSource over several, each opened when the one in front of it is at its end.

    Args:
        links: open the parts, in order.

    Raises:
        InputError: while reading, `unsupported-format` where rate or channels change; `undecodable`.
    """

    promised_samples: int | None = None  # each link is held to its own promise

    def __init__(self, links: Sequence[Callable[[], BlockSource]]) -> None:
        self._waiting = list(links[1:])
        self._link = links[0]()
        self.facts = replace(self._link.facts, num_samples=0)
        self._taken = self._taken_of_link = 0

    def read(self, num_samples: int) -> Samples:
        while True:
            block = self._link.read(num_samples)
            self._taken_of_link += block.shape[1]
            self._taken += block.shape[1]
            if block.shape[1]:
                return block
            check_promise(self._link.promised_samples, self._taken_of_link)
            if not self._waiting:
                return block
            self._open_next()

    def close(self) -> None:
        self._link.close()

    def _open_next(self) -> None:
        self._link.close()
        self._link, self._taken_of_link = self._waiting.pop(0)(), 0
        facts = self._link.facts
        if (facts.sample_rate, facts.num_channels) != (self.facts.sample_rate, self.facts.num_channels):
            raise InputError(
                f"rate or channels change at {self._taken / self.facts.sample_rate:.1f} s; that cannot be separated",
                code="unsupported-format",
            )
