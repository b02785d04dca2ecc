"""What Redis says of itself: all that decides whether jobs are safe in it, for `divisi doctor`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from divisi.door.redis_door import RedisDoor


@dataclass(frozen=True)
class RedisFacts:
    """One Redis server.

    Args:
        is_append_only: it writes each change to its append-only file.
        last_write_failed: the latest attempt to write that file, or a snapshot, came to nothing.
        eviction_policy: `noeviction`, or whom it forgets when its memory is full.
        max_memory, used_memory: bytes; max_memory 0: no limit of its own.
        role: `master` or `slave`.
        runs_scripts: it may be sent Lua scripts.
        clock_ahead_seconds: its clock against this machine's.
    """

    version: str
    role: str
    is_append_only: bool
    last_write_failed: bool
    eviction_policy: str
    max_memory: int
    used_memory: int
    runs_scripts: bool
    clock_ahead_seconds: float

    @property
    def version_number(self) -> tuple[int, ...]:
        """Such as (6, 2, 14)."""
        return tuple(int(part) for part in self.version.split(".") if part.isdecimal())


async def server_facts(door: RedisDoor) -> RedisFacts:
    """What this Redis is like. Asked by INFO alone: managed servers forbid CONFIG."""
    info = await door.ask(door.redis.info())
    asked_at = time.time()
    seconds, microseconds = await door.ask(door.redis.time())
    # The answer was made about halfway between asking and hearing it.
    here = (asked_at + time.time()) / 2
    return RedisFacts(
        version=str(info["redis_version"]),
        role=str(info.get("role", "master")),
        is_append_only=bool(info.get("aof_enabled", 0)),
        last_write_failed="err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")),
        eviction_policy=str(info.get("maxmemory_policy", "unknown")),
        max_memory=int(info.get("maxmemory", 0)),
        used_memory=int(info.get("used_memory", 0)),
        runs_scripts=await door.ask(door.redis.eval("return 1", 0)) == 1,
        clock_ahead_seconds=int(seconds) + int(microseconds) / 1e6 - here,
    )
