"""A receiver of webhooks on loopback: a real HTTP server that answers what it is told to and notes what came."""

from __future__ import annotations

import queue
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.patience import PATIENCE_SECONDS


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers with the given statuses in turn, the last one for ever."""

    def __init__(self, address: tuple[str, int], statuses: Sequence[int], headers: dict[str, str]) -> None:
        self.port = address[1]
        self._statuses = list(statuses)
        self._headers = headers
        self._arrived: queue.Queue[Received] = queue.Queue()
        self._lock = threading.Lock()

    def next(self) -> Received:
        """The next request, waited for."""
        return self._arrived.get(timeout=PATIENCE_SECONDS)

    @property
    def has_more(self) -> bool:
        """True when something came that nobody has looked at."""
        return not self._arrived.empty()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Notes a request and answers it."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        handler.send_response(status)
        for name, value in self._headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        self._arrived.put(Received(handler.path, headers, body))


@contextmanager
def receiving(
    *statuses: int, tls: ssl.SSLContext | None = None, headers: dict[str, str] | None = None
) -> Iterator[Receiver]:
    """A running receiver on 127.0.0.1; answers 204 unless told otherwise."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self)

        def log_message(self, format: str, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[:2], statuses or (204,), headers or {})
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
