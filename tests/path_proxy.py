"""A reverse proxy that serves a gateway below a path, as nginx and its like do, on a free port of the loopback."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PIECE_BYTES = 64 * 1024


@contextmanager
def proxy_below(path: str, target: str, *, strips: bool) -> Iterator[str]:
    """Where the gateway is then; nothing else is served there.

    Args:
        path: such as `/divisi`.
        target: address of the gateway.
        strips: the gateway is asked without the path in front, as by `proxy_pass http://gateway/`.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # an answer ends with its connection

        def pass_on(self) -> None:
            if self.path != path and not self.path.startswith((f"{path}/", f"{path}?")):
                self.send_error(404, "outside of the path")
                return
            asked = (self.path.removeprefix(path) or "/") if strips else self.path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection(urlsplit(target).netloc)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            try:
                upstream.request(self.command, asked, body or None, headers)
                answer = upstream.getresponse()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding"):
                        self.send_header(name, value)
                self.end_headers()
                while piece := answer.read1(PIECE_BYTES):
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                return  # one of the two has left
            finally:
                upstream.close()

        def __getattr__(self, name: str) -> Callable[[], None]:
            if name.startswith("do_"):  # whatever the method
                return self.pass_on
            raise AttributeError(name)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{path}"
        server.shutdown()
