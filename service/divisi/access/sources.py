"""Recordings at an address: fetched when the job is submitted, as if they had been sent, under every limit of uploads.

`https://` and `http://` addresses go through `access.address`, at every redirect again; `s3://` ones must lie in a
bucket that the operator names (`DIVISI_SOURCE_BUCKETS`) and are read with the service's own access. An address is not
kept with the job: it may hold a signature.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from divisi import DISTRIBUTION
from divisi.access.address import AddressRefusedError, Guard, Lookup, client_for
from divisi.contract.errors import InputError, NotFoundError, UnavailableError
from divisi.settings import Settings, listed
from divisi.storage.bucket import SCHEME, Bucket, read_address
from divisi.storage.names import clean_label, file_name_in
from divisi.telemetry import get_logger

log = get_logger(__name__)

MOST_AT_ONCE = 32
MOST_REDIRECTS = 5
IDLE_SECONDS = 30.0
"""Longest silence of a server within an answer."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Sink(Protocol):
    """Takes the bytes of a recording, and bounds them (InputError `upload-too-large`)."""

    def require_room(self, num_bytes: int) -> None:
        """Refuses so many bytes before they come, when they are too many."""

    def add(self, data: bytes) -> None:
        """Takes bytes over."""

    async def settle(self) -> None:
        """Writes what waits once it is worth a write."""

    async def flush(self) -> None:
        """Writes all that waits."""


@dataclass(frozen=True)
class Fetched:
    """What came: the name that the server or the address gives it, for people."""

    label: str | None


class Sources:
    """Fetches recordings that callers name.

    Args:
        settings: networks, buckets and times that are allowed.
        open_bucket: opens a bucket by its name.
        lookup: finds the addresses of a host; None: the system.
    """

    def __init__(self, settings: Settings, open_bucket: Callable[[str], Bucket], lookup: Lookup | None = None) -> None:
        networks = [ipaddress.ip_network(text) for text in listed(settings.source_allowed_networks)]
        self._guard = Guard(networks, frozenset({"http", "https"}), lookup)
        self._buckets = listed(settings.source_buckets)
        self._seconds = settings.source_seconds
        self._open_bucket = open_bucket
        self._under_way = 0
        self._trust: ssl.SSLContext | None = None

    def check(self, url: str) -> None:
        """Refuses an address that can never be fetched from. Raises InputError `source-refused`."""
        try:
            if url.startswith(SCHEME):
                read_address(url, self._buckets)
            else:
                self._guard.check(url)
        except (AddressRefusedError, ValueError) as refusal:
            raise _refused(str(refusal)) from None

    async def fetch(self, url: str, sink: Sink) -> Fetched:
        """Brings the recording at an address into a sink, which bounds its bytes.

        Raises:
            InputError: `source-refused`, `source-failed` (it is not there, or broke off), `source-too-slow`,
                `upload-too-large`.
            UnavailableError: too many are under way; `disk-full`, `store-unavailable`.
        """
        self.check(url)
        if self._under_way >= MOST_AT_ONCE:
            raise UnavailableError(f"{MOST_AT_ONCE} recordings are being fetched; try again shortly", code="queue-full")
        self._under_way += 1
        try:
            async with asyncio.timeout(self._seconds):
                fetched = await (self._from_bucket if url.startswith(SCHEME) else self._from_web)(url, sink)
        except TimeoutError:
            message = f"the recording at source_url had not come after {self._seconds:g} s"
            raise InputError(message, code="source-too-slow", limit_seconds=self._seconds) from None
        finally:
            self._under_way -= 1
        await sink.flush()
        return fetched

    async def _from_web(self, url: str, sink: Sink) -> Fetched:
        if self._trust is None:  # reading all authorities takes a tenth of a second
            self._trust = await asyncio.to_thread(httpx.create_ssl_context)
        async with client_for(IDLE_SECONDS, self._trust) as client, self._answer(client, url) as (answer, final):
            announced = answer.headers.get("content-length", "")
            if announced.isdecimal():
                sink.require_room(int(announced))
            received = 0
            try:
                async for block in answer.aiter_raw():
                    received += len(block)
                    sink.add(block)
                    await sink.settle()
            except httpx.TimeoutException as error:
                message = f"the server of source_url sent nothing for {IDLE_SECONDS:g} s"
                raise InputError(message, code="source-too-slow") from error
            except httpx.HTTPError as error:
                raise _failed(f"the server of source_url broke off after {received} bytes") from error
            disposition = answer.headers.get("content-disposition", "").encode("latin-1", "replace")
            return Fetched(clean_label(file_name_in(disposition)) or _label_in(final))

    @asynccontextmanager
    async def _answer(self, client: httpx.AsyncClient, url: str) -> AsyncIterator[tuple[httpx.Response, str]]:
        """The answer that holds the recording and its address, after redirects, each checked as the first one was."""
        headers = {"User-Agent": f"divisi/{version(DISTRIBUTION)}", "Accept-Encoding": "identity"}
        for _ in range(MOST_REDIRECTS + 1):
            self.check(url)
            try:
                answer = await self._guard.send(client, "GET", url, headers)
            except AddressRefusedError as refusal:
                raise _refused(str(refusal)) from None
            except httpx.TimeoutException as error:
                message = f"the server of source_url did not answer within {IDLE_SECONDS:g} s"
                raise InputError(message, code="source-too-slow") from error
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                log.info("source not reached", reason=type(error).__name__)
                raise _failed("the server of source_url could not be reached") from error
            try:
                if answer.status_code in _REDIRECTS and "location" in answer.headers:
                    url = urljoin(url, answer.headers["location"])
                    continue
                if answer.status_code != httpx.codes.OK:
                    raise _failed(f"the server of source_url answered {answer.status_code}")
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise _failed("the server of source_url sent it compressed, which was not asked for")
                yield answer, url
                return
            finally:
                await answer.aclose()
        raise _failed(f"source_url led on more than {MOST_REDIRECTS} times")

    async def _from_bucket(self, url: str, sink: Sink) -> Fetched:
        bucket, key = read_address(url, self._buckets)
        opened = self._open_bucket(bucket)
        try:
            size = await opened.size_of(key)
        except NotFoundError:
            raise _failed("there is no such object at source_url") from None
        sink.require_room(size)
        async for block in opened.stream(key, size):
            sink.add(block)
            await sink.settle()
        return Fetched(clean_label(key.rpartition("/")[2]))


def _label_in(url: str) -> str | None:
    return clean_label(unquote(urlsplit(url).path).rpartition("/")[2])


def _refused(why: str) -> InputError:
    return InputError(f"source_url is refused: {why}", code="source-refused")


def _failed(why: str) -> InputError:
    return InputError(why, code="source-failed")
