"""Is Redis there, and are jobs safe in it?"""

from __future__ import annotations

from collections.abc import Iterator

from divisi.contract.errors import UnavailableError
from divisi.doctor.finding import Finding, bad, doubtful, good
from divisi.door.redis_door import RedisDoor
from divisi.jobs.figures import Figures
from divisi.jobs.server_facts import RedisFacts, server_facts

OLDEST_VERSION = (6, 2)
FULL_SHARE = 0.8
# Ages and leases are told by Redis's clock alone; signed links and listings by this machine's.
CLOCK_SECONDS = 2.0


async def examine_queue(door: RedisDoor) -> list[Finding]:
    """Looks at the Redis of the queue and at what stands in it."""
    try:
        facts = await server_facts(door)
        await door.connect()
        dead = await Figures(door).dead_count()
    except UnavailableError as error:
        remedy = "start Redis, or set DIVISI_REDIS_URL to where it is; `divisi up` brings its own"
        return [bad("Redis", error.message, remedy)]
    findings = [*_server(facts), *_memory(facts), _clock(facts)]
    if dead:
        findings.append(
            doubtful("dead letters", f"{dead} jobs used up their attempts", "see why: `divisi dead list`, then retry")
        )
    return findings


def _server(facts: RedisFacts) -> Iterator[Finding]:
    if facts.version_number < OLDEST_VERSION:
        yield bad("Redis", f"version {facts.version}", "run Redis 6.2 or newer: older ones lack stream commands")
    elif facts.role != "master":
        yield bad("Redis", f"it is a {facts.role}", "set DIVISI_REDIS_URL to the primary: replicas take no writes")
    elif not facts.runs_scripts:
        yield bad("Redis", "it runs no scripts", "allow EVAL and EVALSHA to divisi's Redis user")
    else:
        yield good("Redis", f"version {facts.version} answers and runs scripts")
    if facts.last_write_failed:
        yield bad("Redis on disk", "its last write to disk failed", "see Redis's log; its disk may be full")
    elif facts.is_append_only:
        yield good("Redis on disk", "append-only file on")
    else:
        yield doubtful(
            "Redis on disk",
            "no append-only file: a restart forgets jobs, idempotency keys and results",
            "set `appendonly yes` in Redis (accepted jobs are rebuilt from the object store, their progress is not)",
        )


def _memory(facts: RedisFacts) -> Iterator[Finding]:
    used = f"{facts.used_memory / 1024**2:.0f} MiB used"
    if facts.eviction_policy != "noeviction":
        what = f"policy {facts.eviction_policy}: when memory is full, Redis forgets jobs"
        remedy = "set `maxmemory-policy noeviction` in Redis, and give divisi a Redis that is no cache of others"
        yield bad("Redis memory", what, remedy) if facts.max_memory else doubtful("Redis memory", what, remedy)
    elif facts.max_memory and facts.used_memory > FULL_SHARE * facts.max_memory:
        share = facts.used_memory / facts.max_memory
        remedy = "raise `maxmemory`: when it is full, uploads are refused"
        yield doubtful("Redis memory", f"{used}, {share:.0%} of its limit", remedy)
    else:
        yield good("Redis memory", f"{used}, never evicts")


def _clock(facts: RedisFacts) -> Finding:
    ahead = facts.clock_ahead_seconds
    if abs(ahead) <= CLOCK_SECONDS:
        return good("clock", f"within {CLOCK_SECONDS:g} s of Redis's")
    what = f"{abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} Redis's clock"
    return doubtful("clock", what, "keep both machines' clocks by NTP; expiry and signed links go by them")
