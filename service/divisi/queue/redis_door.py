"""The one door to Redis: connection, scripts, its failures turned into UnavailableError, and what Redis says of itself.

Holds the only Redis client of a process; whatever keeps something in Redis takes the door. scripts/shared.lua lists
the keys.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import resources
from typing import Any, Self

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from divisi.contract.errors import UnavailableError
from divisi.contract.request import Lane
from divisi.timing import in_time

GROUP = "workers"
# Bounds of redis-py's own, by the clock on the wall: a process whose loop is late would lose healthy connections to
# short ones. Whoever asks has given up long before (`timing`).
_SILENT_SECONDS = 30.0
_CONNECT_SECONDS = 30.0
MOST_BLOCKING_SECONDS = 2.0
# Each listener to events holds a connection while it waits.
_MAX_CONNECTIONS = 10_000


@dataclass(frozen=True)
class QueueOptions:
    """What a deployment decides about its queue.

    Args:
        prefix: first part of every key; in braces for a Redis Cluster.
        lease_seconds: a worker silent for longer loses its job.
        max_attempts: lost or crashed attempts before a job becomes a dead letter.
        max_queued_jobs: waiting jobs beyond which submits are refused.
        retention_seconds: life of a job's record after its end.
        idempotency_seconds: life of an idempotency key.
        batch_head_start_seconds: a batch job counts as if submitted this much later, no more: it cannot starve.
        fit_patience_seconds: a fitted model's job that no worker can run waits this long, then is a dead letter.
    """

    prefix: str = "divisi"
    lease_seconds: float = 15.0
    max_attempts: int = 3
    max_queued_jobs: int = 10_000
    retention_seconds: float = 24 * 3600
    idempotency_seconds: float = 24 * 3600
    batch_head_start_seconds: float = 600.0
    fit_patience_seconds: float = 300.0


class RedisDoor:
    """Connection and scripts. Every call may raise UnavailableError (code `redis-unavailable`); try again later."""

    def __init__(self, redis_url: str, options: QueueOptions | None = None) -> None:
        """Makes a door to the Redis at `redis_url`; connects at the first call."""
        self.options = options or QueueOptions()
        # One quick retry gets past a pooled connection that a restart of Redis closed. Every script may run twice.
        self.redis = redis.asyncio.Redis.from_url(
            redis_url,
            decode_responses=True,
            protocol=2,
            socket_timeout=_SILENT_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            max_connections=_MAX_CONNECTIONS,
            retry=Retry(ConstantBackoff(0.05), 1),
        )
        self._scripts: dict[str, redis.commands.core.AsyncScript] = {}

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        """Makes sure that Redis answers and the consumer groups exist, from the first entry on."""
        await self.ping()
        await self._create_groups()

    async def close(self) -> None:
        """Closes all connections."""
        await self.redis.aclose()

    async def ping(self) -> None:
        """Returns when Redis answers."""
        await self.ask(self.redis.ping())

    async def require_writes(self) -> None:
        """Returns when Redis takes what a submit writes; nothing is written."""
        await self.run("probe")

    def key(self, *parts: str) -> str:
        """The name of a key, such as `divisi:jobs:interactive`."""
        return ":".join((self.options.prefix, *parts))

    def stream(self, lane: Lane) -> str:
        """The name of a lane's stream; its XLEN is queued + running, which autoscaling reads."""
        return self.key("jobs", lane)

    async def run(self, name: str, *arguments: str | int | float) -> Any:
        """Runs `scripts/<name>.lua`, creating the consumer groups first if Redis has lost them."""
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self.redis.register_script(_script_text(name))
        keys = [self.options.prefix]
        try:
            return await self.ask(script(keys, list(arguments)))
        except NoGroupError:
            await self._create_groups()
            return await self.ask(script(keys, list(arguments)))

    async def ask(self, answer: Any, blocking_seconds: float = 0.0) -> Any:
        """Awaits a call of redis-py, one that blocks for `blocking_seconds` for so much longer.

        Untyped: redis-py's annotations allow for bytes, which decode_responses rules out.
        """
        try:
            # In a task of its own: redis-py sends within asyncio.wait_for, which on Python 3.11 swallows a cancellation
            # that comes just when the sending is done, and whoever cancelled us would wait for ever.
            return await in_time(answer, blocking_seconds)
        except ResponseError as error:
            if "NOGROUP" in str(error) or "no such key" in str(error):
                raise NoGroupError("The consumer group is missing", code="redis-unavailable") from error
            if isinstance(error, ReadOnlyError) or "READONLY" in str(error):
                # After a fail-over the name leads to the new primary, these connections to the old one, for ever.
                await self.redis.connection_pool.disconnect(inuse_connections=False)
            raise _unavailable(error) from error
        except (RedisError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error

    async def _create_groups(self) -> None:
        for lane in Lane:
            try:
                await in_time(self.redis.xgroup_create(self.stream(lane), GROUP, id="0", mkstream=True))
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise _unavailable(error) from error
            except (RedisError, OSError, TimeoutError) as error:
                raise _unavailable(error) from error


class NoGroupError(UnavailableError):
    """Redis is there but has forgotten the consumer groups."""


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


def _unavailable(error: Exception) -> UnavailableError:
    return UnavailableError(f"Redis does not answer as it should: {error}", code="redis-unavailable")


def _script_text(name: str) -> str:
    folder = resources.files(__package__) / "scripts"
    return (folder / "shared.lua").read_text() + (folder / f"{name}.lua").read_text()
