"""Who works: what each worker says of itself every few seconds, for people who watch (`divisi top`) and for alerts.

No work depends on it: a job's lease is its own, and a worker that cannot say anything works on. The gateway asks it
whether anybody can run a model that is fitted to the recording, before it takes a job for one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import TypeAdapter

from divisi.door.redis_door import RedisDoor

# A worker that has said nothing for this long is no longer listed.
FORGET_SECONDS = 60.0


class WorkerState(StrEnum):
    """What a worker does."""

    STARTING = "starting"  # its engine is not warm (yet)
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"


@dataclass(frozen=True)
class WorkerStatus:
    """What one worker says of itself.

    Args:
        consumer: its name in the queue, unlike any other process's.
        engine, device: what runs the model, and where; None before the engine is warm.
        job_id: the job at hand.
        attempts: attempts ended since it started.
        started_at: Unix seconds.
        problem: why it is not ready.
        can_fit: True where it can run models that are fitted to the recording; None before the engine is warm.
        silent_seconds: since it said so, by Redis's clock.
    """

    consumer: str
    state: WorkerState
    started_at: float
    engine: str | None = None
    device: str | None = None
    job_id: str | None = None
    attempts: int = 0
    problem: str | None = None
    can_fit: bool | None = None
    silent_seconds: float = 0.0


_STATUS: TypeAdapter[WorkerStatus] = TypeAdapter(WorkerStatus)


class RollCall:
    """Workers announce themselves; whoever watches asks for all of them."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def announce(self, status: WorkerStatus) -> None:
        """Notes what a worker says of itself."""
        text = _STATUS.dump_json(status, exclude_defaults=True).decode()
        await self.door.run("announce", status.consumer, text, int(FORGET_SECONDS * 1000))

    async def sign_off(self, consumer: str) -> None:
        """Forgets a worker that stops."""
        await self.door.run("announce", consumer, "", int(FORGET_SECONDS * 1000))

    async def workers(self) -> tuple[WorkerStatus, ...]:
        """All workers that were seen within a minute, by name."""
        answer = await self.door.run("roll_call", int(FORGET_SECONDS * 1000))
        seen = [
            replace(_STATUS.validate_json(text), silent_seconds=int(ago_ms) / 1000)
            for text, ago_ms in zip(answer[::2], answer[1::2], strict=True)
        ]
        return tuple(sorted(seen, key=lambda status: status.consumer))
