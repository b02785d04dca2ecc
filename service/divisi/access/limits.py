"""What one caller may use: requests a minute, bytes and audio a day. One Lua script for each question.

A caller is named by the `owner` that jobs carry: `key:<id>`, or `address:<ip>` where no keys are asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from divisi.contract.errors import LimitError
from divisi.door.redis_door import RedisDoor

WINDOW_SECONDS = 60


@dataclass(frozen=True)
class Allowance:
    """What is left of a sliding window. `reset_seconds`: until the oldest request leaves it and makes room."""

    is_admitted: bool
    limit: int
    remaining: int
    reset_seconds: int


@dataclass(frozen=True)
class UploadQuota:
    """What one caller may upload in 24 hours; 0: no limit."""

    num_bytes: int
    audio_seconds: float


class Limits:
    """Counts what callers use."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def admit_request(self, owner: str, limit: int) -> Allowance:
        """Counts one request within the last minute, unless there have been `limit` of them."""
        admitted, remaining, reset_ms = await self.door.run("admit", owner, WINDOW_SECONDS * 1000, limit)
        return Allowance(admitted == 1, limit, remaining, math.ceil(reset_ms / 1000))

    async def spend_upload(self, owner: str, quota: UploadQuota, num_bytes: int = 0, audio_seconds: float = 0) -> None:
        """Takes an upload off the owner's quota; negative amounts return it, none asks whether anything is left.

        Raises:
            LimitError: the quota does not suffice (`upload-quota-used-up`); nothing was taken.
        """
        what, wait_ms = await self.door.run(
            "spend",
            owner,
            num_bytes,
            round(audio_seconds * 1000),
            quota.num_bytes,
            round(quota.audio_seconds * 1000),
        )
        if what == "ok":
            return
        limit = f"{quota.num_bytes} bytes" if what == "bytes" else f"{quota.audio_seconds:g} s of audio"
        raise LimitError(
            f"this caller may upload {limit} in 24 hours, and not so much of it is left",
            code="upload-quota-used-up",
            violated=f"upload-{what}",
            retry_after_seconds=math.ceil(wait_ms / 1000),
        )
