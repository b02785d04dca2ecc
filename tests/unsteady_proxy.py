"""A reverse proxy on the loopback whose answers break off, arrive damaged or do not come, as it was told."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = Callable[[BaseHTTPRequestHandler, bytes], None]
"""Sends what becomes of an answer's body; its head has been sent."""


def cut_after(num_bytes: int) -> Fault:
    """The connection breaks off after so many bytes."""

    def send(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.wfile.write(body[:num_bytes])

    return send


def damage(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """One byte is another."""
    place = len(body) // 2
    handler.wfile.write(body[:place] + bytes([body[place] ^ 0xFF]) + body[place + 1 :])


@dataclass
class UnsteadyProxy:
    """Where it is, what it does to which answers, and what it was asked.

    Attributes:
        faults: by the end of the path, one for each answer in order; later answers pass as they are.
        every: as `faults`, but for all answers from now on.
        without_ranges: passes no ranges on, as some proxies do.
        asked: method, path and Range of each request.
    """

    url: str = ""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    every: dict[str, Fault] = field(default_factory=dict)
    without_ranges: bool = False
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def forget(self) -> None:
        """Back to how it was in the beginning."""
        self.faults.clear()
        self.every.clear()
        self.without_ranges = False
        self.asked.clear()

    def ranges_of(self, end: str) -> list[str | None]:
        """The ranges that were asked of paths with this end."""
        return [asked for method, path, asked in self.asked if method == "GET" and path.endswith(end)]

    def fault_for(self, path: str) -> Fault | None:
        """What becomes of the next answer."""
        for end, fault in self.every.items():
            if path.endswith(end):
                return fault
        return next((left.pop(0) for end, left in self.faults.items() if left and path.endswith(end)), None)


@contextmanager
def unsteady(target: str) -> Iterator[UnsteadyProxy]:
    """The proxy in front of the server at `target`."""
    proxy = UnsteadyProxy()

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            proxy.asked.append((self.command, self.path, self.headers["Range"]))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            left_out = {"connection"} | ({"range"} if proxy.without_ranges else set())
            upstream = http.client.HTTPConnection(urlsplit(target).netloc)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
                upstream.request(self.command, self.path, body or None, headers)
                answer = upstream.getresponse()
                received = answer.read()
            finally:
                upstream.close()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(received)))
            self.end_headers()
            if (fault := proxy.fault_for(self.path)) is not None:
                fault(self, received)
            else:
                self.wfile.write(received)

        def __getattr__(self, name: str) -> Callable[[], None]:
            if name.startswith("do_"):  # whatever the method
                return self.pass_on
            raise AttributeError(name)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield proxy
        finally:
            server.shutdown()
