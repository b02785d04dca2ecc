"""Examines a deployment as its settings describe it, and says of each fault what to do: `divisi doctor`."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import httpx
import numpy as np
from packaging.requirements import Requirement

from divisi import DISTRIBUTION
from divisi.bootstrap import open_bundles, open_door, open_store
from divisi.contract.errors import DivisiError, ModelError, UnavailableError
from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, open_engine
from divisi.queue.redis_door import RedisDoor, RedisFacts, server_facts
from divisi.queue.watching import Figures
from divisi.separation.separator import Separator
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore

OLDEST_VERSION = (6, 2)
FULL_SHARE = 0.8
# Ages and leases go by Redis's clock alone; signed links and listings by this machine's.
REDIS_CLOCK_SECONDS = 2.0
PROBE_BYTES = 256 * 1024
LINK_SECONDS = 60.0
# S3 refuses signatures that are 15 minutes off; half of that is time to act.
STORE_CLOCK_SECONDS = 450.0
AUDIO_SECONDS = 10.0
SLOW_FACTOR = 1.0
SMALLEST_FREE_BYTES = 512 * 1024**2
# A recording, its stems at the same size each, and the residual.
COPIES_OF_A_RECORDING = 6


class Verdict(StrEnum):
    """GOOD; DOUBTFUL: it works, and something may bite later; BAD: jobs fail or get lost."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `remedy` says what to do unless it is good."""

    verdict: Verdict
    subject: str
    what: str
    remedy: str | None = None


good = partial(Finding, Verdict.GOOD)
doubtful = partial(Finding, Verdict.DOUBTFUL)
bad = partial(Finding, Verdict.BAD)


async def examine(settings: Settings, *, without_models: bool = False) -> list[Finding]:
    """Looks at Redis, object store, models with their engine, and this machine."""
    door = open_door(settings)
    try:
        findings = await _examine_queue(door)
    finally:
        await door.close()
    findings += await _examine_store(settings)
    if not without_models:
        findings += _examine_models(settings, open_bundles(settings))
    work_dir = Path(tempfile.gettempdir()) if settings.work_dir is None else settings.work_dir
    return [*findings, _examine_folder("work folder", work_dir, settings.max_upload_bytes), *_versions()]


async def _examine_queue(door: RedisDoor) -> list[Finding]:
    """Is Redis there, and are jobs safe in it?"""
    try:
        facts = await server_facts(door)
        await door.connect()
        dead = await Figures(door).dead_count()
    except UnavailableError as error:
        remedy = "start Redis, or set DIVISI_REDIS_URL to where it is; `divisi up` brings its own"
        return [bad("Redis", error.message, remedy)]
    findings = [*_server(facts), *_memory(facts), _redis_clock(facts)]
    if dead:
        what, remedy = f"{dead} jobs used up their attempts", "see why: `divisi dead list`, then retry"
        findings.append(doubtful("dead letters", what, remedy))
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
        what = "no append-only file: a restart forgets jobs, idempotency keys and results"
        remedy = "set `appendonly yes` in Redis (accepted jobs are rebuilt from the store, their progress is not)"
        yield doubtful("Redis on disk", what, remedy)


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


def _redis_clock(facts: RedisFacts) -> Finding:
    ahead = facts.clock_ahead_seconds
    if abs(ahead) <= REDIS_CLOCK_SECONDS:
        return good("clock", f"within {REDIS_CLOCK_SECONDS:g} s of Redis's")
    what = f"{abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} Redis's clock"
    return doubtful("clock", what, "keep both machines' clocks by NTP; expiry and signed links go by them")


async def _examine_store(settings: Settings) -> list[Finding]:
    """Does the object store keep what is written? Writes a small object, reads it, has a link to it, erases it."""
    where = settings.store_url
    try:
        store = open_store(settings)
    except DivisiError as error:
        return [bad("object store", error.message, "see DIVISI_STORE_URL")]
    folder, data = f"doctor-{secrets.token_hex(8)}", secrets.token_bytes(PROBE_BYTES)
    key = f"{folder}/probe"
    doing = "write"
    try:
        await store.put_bytes(key, data)
        doing = "read"
        if await store.get_bytes(key) != data:
            return [bad("object store", f"{where} returned other bytes than were written", "do not use this store")]
        modified = (await store.head(key)).modified
        findings = [*await _link(store, key, settings), _store_clock(modified)]
        doing = "make a conditional put to"
        if not await store.keeps_first(key):
            remedy = "nothing: divisi does not lean on it"
            findings.append(doubtful("conditional put", "the store overwrites all the same", remedy))
        doing = "delete from"
        await store.delete_prefix(folder)
    except UnavailableError as error:
        cause = str(error.__cause__ or error.message).strip().splitlines()[0][:200]
        return [bad("object store", f"cannot {doing} {where}: {cause}", _remedy(settings))]
    return [good("object store", f"{where}: written, read and erased"), *findings]


async def _link(store: ObjectStore, key: str, settings: Settings) -> list[Finding]:
    """Clients fetch stems by signed links straight from an S3-speaking store."""
    link = await store.signed_url(key, LINK_SECONDS)
    if link is None:
        return []
    try:
        async with httpx.AsyncClient(timeout=10) as http:
            status = (await http.get(link)).status_code
    except httpx.HTTPError as error:
        answer = type(error).__name__
    else:
        if status == httpx.codes.OK:
            return [good("download links", "signed links are answered")]
        answer = str(status)
    address = settings.s3_public_endpoint or settings.s3_endpoint or "the store"
    remedy = "set DIVISI_S3_PUBLIC_ENDPOINT to the store's address as clients reach it, and check the secret key"
    return [bad("download links", f"a signed link to {address} gave {answer}", remedy)]


def _store_clock(modified: datetime) -> Finding:
    apart = abs((datetime.now(UTC) - modified).total_seconds())
    if apart < STORE_CLOCK_SECONDS:
        return good("store's clock", "near enough for signed links")
    return bad("store's clock", f"{apart:.0f} s apart from this machine's", "set the clocks; signatures are refused")


def _remedy(settings: Settings) -> str:
    if settings.store_url.startswith("s3://"):
        return "check DIVISI_S3_ENDPOINT, the keys, the bucket's name, and that they may put, get, list and delete"
    return "check DIVISI_STORE_URL, that its folder may be written by this user, and that its disk is not full"


def _examine_models(settings: Settings, bundles: BundleStore) -> list[Finding]:
    """Are the models what was published, and does the engine run? Checks every file, then runs the default model."""
    model_ids = bundles.model_ids()
    if not model_ids:
        return [bad("models", f"none in {bundles.root}", "set DIVISI_MODEL_STORE to the folder of the models")]
    versions = [(model_id, version) for model_id in model_ids for version in bundles.versions(model_id)]
    findings = [_examine_bundle(bundles, model_id, version) for model_id, version in versions]
    if settings.default_model not in model_ids:
        what = f"the default model {settings.default_model} is not there; there are: {', '.join(model_ids)}"
        return [*findings, bad("default model", what, "set DIVISI_DEFAULT_MODEL to one of them")]
    return [*findings, _examine_engine(settings, bundles)]


def _examine_bundle(bundles: BundleStore, model_id: str, version: str) -> Finding:
    subject = f"model {model_id} {version}"
    try:
        bundles.get(model_id, version).verify()
    except ModelError as error:
        return bad(subject, error.message, "copy this version of the model again from where it was published")
    return good(subject, "all checksums agree")


def _examine_engine(settings: Settings, bundles: BundleStore) -> Finding:
    subject = "engine"
    try:
        bundle = bundles.get(settings.default_model)
        engine = open_engine(settings.engine, bundle, EngineOptions.of(settings))
        try:
            factor = _real_time_factor(Separator(engine, bundle.card, settings.batch_size or 1))
            where = f"{engine.name} on {engine.device} ({engine.provider})"
        finally:
            engine.close()
    except DivisiError as error:
        remedy = "see DIVISI_ENGINE and DIVISI_DEVICE; workers that cannot open their engine take no jobs"
        return bad(subject, f"{settings.engine} on {settings.device}: {error.message}", remedy)
    what = f"{where}: {factor:.3f} s of work a second of mono audio"
    if factor > SLOW_FACTOR:
        return doubtful(subject, what, "slower than the music plays: use a faster device, or more workers")
    return good(subject, what)


def _real_time_factor(separator: Separator) -> float:
    rate = separator.card.sample_rate
    noise = np.random.default_rng(0).standard_normal((1, int(AUDIO_SECONDS * rate))).astype(np.float32) * 0.1
    began = time.perf_counter()
    for _ in separator.separate([noise], rate, 1):
        pass
    return (time.perf_counter() - began) / AUDIO_SECONDS


def _examine_folder(subject: str, folder: Path, max_upload_bytes: int) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="divisi-doctor-") as file:
            file.write(os.urandom(1024))
            file.flush()
    except OSError as error:
        return bad(subject, f"{folder} cannot be written: {error.strerror}", "set DIVISI_WORK_DIR to a folder that can")
    free = shutil.disk_usage(folder).free
    what = f"{folder}: {free / 1024**3:.1f} GiB free"
    if free < SMALLEST_FREE_BYTES:
        return bad(subject, what, "make room, or set DIVISI_WORK_DIR to another disk")
    if free < COPIES_OF_A_RECORDING * max_upload_bytes:
        needed = COPIES_OF_A_RECORDING * max_upload_bytes / 1024**3
        return doubtful(subject, what, f"the largest upload may need {needed:.0f} GiB; or lower its limit")
    return good(subject, what)


def _versions() -> Iterator[Finding]:
    found = [f"divisi {version(DISTRIBUTION)}", f"Python {platform.python_version()}"]
    for requirement in _requirements(DISTRIBUTION):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield bad(
                "versions", f"{requirement.name} is missing", f"install divisi again: `pip install {DISTRIBUTION}`"
            )
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            what = f"{requirement.name} {installed} is installed; divisi is made for {requirement.specifier}"
            yield bad("versions", what, f"pip install '{requirement}'")
        found.append(f"{requirement.name} {installed}")
    yield good("versions", ", ".join(found))


def _requirements(distribution: str) -> Iterator[Requirement]:
    """What a distribution of ours needs besides its extras, and what those of ours need that it needs."""
    for requirement in map(Requirement, requires(distribution) or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement
            if requirement.name.startswith(DISTRIBUTION):
                with suppress(PackageNotFoundError):
                    yield from _requirements(requirement.name)
