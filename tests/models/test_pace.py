"""The batch size that an engine is found to suit, with a clock that the engine itself moves."""

from __future__ import annotations

import numpy as np
import pytest
from tests.models.tiny_bundle import HOP, tiny_draft

from divisi.contract.card import ModelCard
from divisi.contract.errors import ModelError
from divisi.models.engine import LARGEST_BATCH, batch_size_for, find_pace, measure_pace


class Device:
    """An engine that takes `call_seconds` a call and `segment_seconds` a segment; over `room` it is out of memory."""

    name = "device"
    provider = "a device"

    def __init__(
        self,
        call_seconds: float,
        segment_seconds: float,
        room: int = 1000,
        device: str = "cuda",
        code: str = "engine-failed",
    ) -> None:
        self.device = device
        self.now = 0.0
        self.shapes: list[tuple[int, ...]] = []
        self._costs = (call_seconds, segment_seconds)
        self._room, self._code = room, code

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        self.shapes.append(mixture.shape)
        if len(mixture) > self._room:
            raise ModelError("out of memory", code=self._code)
        self.now += self._costs[0] + self._costs[1] * len(mixture)
        return {}

    def clock(self) -> float:
        return self.now

    def close(self) -> None:
        """Nothing to give back."""


def card(**changes: object) -> ModelCard:
    return ModelCard.model_validate(tiny_draft(**changes).model_dump())


def test_context_does_not_count_as_audio() -> None:
    device = Device(0.0, 0.1)
    pace = measure_pace(device, card(), 3, clock=device.clock)
    fresh_seconds = 3 * (40 - 2 * 4) * HOP / 8000
    assert pace.batch_size == 3
    assert pace.real_time_factor == pytest.approx(0.3 / fresh_seconds)
    assert device.shapes[-1] == (3, 1, 40 * HOP)


def test_a_gpu_chooses_its_kernels_before_it_is_timed_and_a_cpu_loses_no_time() -> None:
    gpu, cpu = Device(1.0, 1.0), Device(1.0, 1.0, device="cpu")
    for device in (gpu, cpu):
        measure_pace(device, card(), clock=device.clock)
    assert (len(gpu.shapes), len(cpu.shapes)) == (2, 1)


@pytest.mark.parametrize(
    ("device", "best"),
    [
        pytest.param(Device(0.0, 1.0), 1, id="no gain at all"),
        pytest.param(Device(1.0, 1.0), 8, id="gain until calls cost little"),
        pytest.param(Device(1.0, 0.0), LARGEST_BATCH, id="as many as are tried"),
        pytest.param(Device(1.0, 0.0, room=20), 16, id="until memory is full"),
        pytest.param(Device(1.0, 0.0, room=1), 1, id="memory for one"),
    ],
)
def test_the_batch_doubles_until_it_gains_little_or_memory_is_full(device: Device, best: int) -> None:
    assert find_pace(device, card(), clock=device.clock).batch_size == best


def test_any_other_failure_is_a_failure() -> None:
    device = Device(1.0, 0.0, room=2, code="non-finite-estimates")
    with pytest.raises(ModelError, match="out of memory"):
        find_pace(device, card(), clock=device.clock)


def test_not_even_one_segment_fits_is_a_failure() -> None:
    device = Device(1.0, 0.0, room=0)
    with pytest.raises(ModelError, match="out of memory"):
        find_pace(device, card(), clock=device.clock)


def test_a_model_of_whole_recordings_has_batches_of_one() -> None:
    device = Device(1.0, 0.0)
    whole = card(segment_length="whole", context_length=0)
    pace = find_pace(device, whole, clock=device.clock)
    assert pace.batch_size == 1
    assert pace.real_time_factor == pytest.approx(1 / 4)
    assert device.shapes[-1] == (1, 1, 4 * 8000)


def test_only_a_gpu_whose_batch_size_is_not_set_is_tried() -> None:
    cpu, gpu = Device(1.0, 0.0, device="cpu"), Device(1.0, 0.0, room=4)
    assert batch_size_for(cpu, card(), None) == 1
    assert batch_size_for(gpu, card(), 7) == 7
    assert cpu.shapes == gpu.shapes == []
    gpu_found = batch_size_for(gpu, card(), None)
    assert 1 <= gpu_found <= 4
    assert gpu.shapes != []
