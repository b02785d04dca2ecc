"""Stands between divisi and an S3-speaking server and breaks what passes: for broken_store.py.

Four things go wrong with what is written, as they do with real stores:

- an object is refused for longer than its writer is patient (503, slow down);
- the connection breaks in the middle of the body;
- the object is stored, but the answer is lost;
- for a while nothing at all is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field

# Longer than a request is retried by divisi's object store: refused means refused.
REFUSAL_SECONDS = 4.0
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
WRITES = ("PUT", "POST")


@dataclass
class Faults:
    """What goes wrong now: shares of writes 0..1, and whether everything stands still. `counts` tells what has gone."""

    refused: float = 0.0
    torn: float = 0.0
    unanswered: float = 0.0
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.flowing.set()

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self.refused = self.torn = self.unanswered = 0.0
        self.flowing.set()


class StoreProxy:
    """An HTTP proxy for one server, as an async context manager. One request a connection."""

    def __init__(self, endpoint: str) -> None:
        """
        Args:
            endpoint: the real server, `http://HOST:PORT`.
        """
        self._host, _, port = endpoint.removeprefix("http://").partition(":")
        self._port = int(port)
        self._refused_until: dict[str, float] = {}
        self.faults = Faults()
        self.url = ""

    async def __aenter__(self) -> StoreProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.faults.heal()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._pass_on(reader, writer)
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = lines[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        if not self.faults.flowing.is_set():
            self.faults.counts["stalled"] += 1
            await self.faults.flowing.wait()
        fault = self._choose(method, path)
        if fault:
            self.faults.counts[fault] += 1
        if fault == "torn":
            await reader.readexactly(length // 2)
            writer.transport.abort()
            return
        body = await reader.readexactly(length)
        if fault == "refused":
            answer = b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(SLOW_DOWN)
            writer.write(answer + SLOW_DOWN)
            await writer.drain()
            return
        kept = [line for line in lines if not line.lower().startswith("connection:")]
        upstream_reader, upstream = await asyncio.open_connection(self._host, self._port)
        upstream.write("\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1") + body)
        await upstream.drain()
        answer = await upstream_reader.read()
        upstream.close()
        if fault == "unanswered":
            writer.transport.abort()
            return
        writer.write(answer)
        await writer.drain()

    def _choose(self, method: str, path: str) -> str | None:
        """Which fault befalls this request; a refused object stays refused for a while."""
        if method not in WRITES:
            return None
        now = time.monotonic()
        key = path.partition("?")[0]
        if self._refused_until.get(key, 0.0) > now:
            return "refused"
        chance, faults = random.random(), self.faults
        if chance < faults.refused:
            self._refused_until[key] = now + REFUSAL_SECONDS
            return "refused"
        if chance < faults.refused + faults.torn:
            return "torn"
        if chance < faults.refused + faults.torn + faults.unanswered:
            return "unanswered"
        return None
