"""Connections to one server, blocking and for asyncio: requests and answers, looking again, files on their way.

What is asked over them stands in `blocking` and `asynchronous`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

from divisi.client.arrivals import Arrival, Wanted, arriving
from divisi.client.wire import Patience, Recordings, form_of, json_of, no_answer, problem_to_error
from divisi.contract.errors import DivisiError, LimitError, UnavailableError

DEFAULT_SERVER = "http://127.0.0.1:8000"
Found = TypeVar("Found")


def _connected_to(base_url: str | None, timeout_seconds: float, api_key: str | None) -> dict[str, Any]:
    """How httpx opens a connection, what is left out by the environment: DIVISI_SERVER and DIVISI_API_KEY."""
    address = base_url or os.environ.get("DIVISI_SERVER") or DEFAULT_SERVER
    key = api_key or os.environ.get("DIVISI_API_KEY")
    return {
        "base_url": address.rstrip("/") + "/",
        "timeout": httpx.Timeout(timeout_seconds, write=None, read=max(timeout_seconds, 120.0)),
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
    }


class Connection:
    """A connection to one divisi server. Methods raise the errors of `divisi.contract.errors`, made of its problems.

    Args:
        base_url: address of the gateway; default: the environment's `DIVISI_SERVER`, else `http://127.0.0.1:8000`.
        timeout_seconds: patience for one answer; an upload may take as long as it needs.
        api_key: shown with every request; default: the environment's `DIVISI_API_KEY`, if there is one.
    """

    def __init__(
        self, base_url: str | None = None, timeout_seconds: float = 30.0, *, api_key: str | None = None
    ) -> None:
        self._http = httpx.Client(**_connected_to(base_url, timeout_seconds, api_key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def _submit(
        self,
        recording: Recordings,
        references: Mapping[str, Path] | None,
        options: Mapping[str, Any],
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        with ExitStack() as opened:
            form = form_of(recording, references, options, opened)
            return self._json("POST", "v1/jobs", headers=headers, **form)

    def _looks(
        self,
        look: Callable[[], Found],
        standing: Callable[[Found | None], str],
        timeout_seconds: float | None = None,
    ) -> Iterator[Found]:
        """What `look` finds, again and again, with pauses; through outages and limits. Raises as `Patience.pause`."""
        patience = Patience(timeout_seconds)
        while True:
            try:
                found = look()
            except (LimitError, UnavailableError) as refusal:
                time.sleep(patience.pause(standing(None), refusal))
                continue
            yield found
            time.sleep(patience.pause(standing(found)))

    def _bring(self, wanted: Sequence[Wanted], folder: Path) -> list[Path]:
        with arriving(wanted, folder) as arrivals:
            for arrival in arrivals:
                self._fetch(arrival)
        return [one.target for one in wanted]

    def _fetch(self, arrival: Arrival) -> None:
        while not arrival.is_complete:
            try:
                with self._http.stream(
                    "GET", arrival.address, headers=arrival.headers, follow_redirects=True
                ) as answer:
                    if not answer.is_success:
                        answer.read()
                    arrival.begin(answer)
                    for block in answer.iter_bytes():
                        arrival.write(block)
                arrival.end()
            except (httpx.HTTPError, DivisiError) as error:
                time.sleep(arrival.pause(error))

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return json_of(self._request(method, path, **request))

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise no_answer(str(self._http.base_url), error) from error
        if not answer.is_success:
            raise problem_to_error(answer)
        return answer


class AsyncConnection:
    """The same for asyncio; see `Connection`."""

    def __init__(
        self, base_url: str | None = None, timeout_seconds: float = 30.0, *, api_key: str | None = None
    ) -> None:
        self._http = httpx.AsyncClient(**_connected_to(base_url, timeout_seconds, api_key))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def _submit(
        self,
        recording: Recordings,
        references: Mapping[str, Path] | None,
        options: Mapping[str, Any],
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        with ExitStack() as opened:
            form = form_of(recording, references, options, opened)
            return await self._json("POST", "v1/jobs", headers=headers, **form)

    async def _looks(
        self,
        look: Callable[[], Awaitable[Found]],
        standing: Callable[[Found | None], str],
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Found]:
        patience = Patience(timeout_seconds)
        while True:
            try:
                found = await look()
            except (LimitError, UnavailableError) as refusal:
                await asyncio.sleep(patience.pause(standing(None), refusal))
                continue
            yield found
            await asyncio.sleep(patience.pause(standing(found)))

    async def _bring(self, wanted: Sequence[Wanted], folder: Path) -> list[Path]:
        with arriving(wanted, folder) as arrivals:
            downloads = [asyncio.create_task(self._fetch(arrival)) for arrival in arrivals]
            try:
                await asyncio.gather(*downloads)
            finally:  # when one has failed, nobody waits for the others
                for download in downloads:
                    download.cancel()
                await asyncio.gather(*downloads, return_exceptions=True)
        return [one.target for one in wanted]

    async def _fetch(self, arrival: Arrival) -> None:
        while not arrival.is_complete:
            try:
                async with self._http.stream(
                    "GET", arrival.address, headers=arrival.headers, follow_redirects=True
                ) as answer:
                    if not answer.is_success:
                        await answer.aread()
                    arrival.begin(answer)
                    async for block in answer.aiter_bytes():
                        await asyncio.to_thread(arrival.write, block)
                await asyncio.to_thread(arrival.end)
            except (httpx.HTTPError, DivisiError) as error:
                await asyncio.sleep(arrival.pause(error))

    async def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return json_of(await self._request(method, path, **request))

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise no_answer(str(self._http.base_url), error) from error
        if not answer.is_success:
            raise problem_to_error(answer)
        return answer
