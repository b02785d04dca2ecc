"""Below a path of a proxy's (`DIVISI_ROOT_PATH`): requests with and without it in front are the same. Plain ASGI.

Some proxies take the path away and some leave it; whoever stands beside them, a probe or a worker's neighbour, never
had it. Routes, rates, logs and signed links know the path without; `request.state.root_path` is for addresses in
answers. What proxies say of it in headers is not asked for: anybody can send those.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPath:
    """ASGI middleware; see the module's docstring."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, root = scope["path"], self._root_path
            if path == root or path.startswith(f"{root}/"):
                path = path.removeprefix(root) or "/"
            # Not as the scope's own `root_path`: routes would take that away once more.
            scope = {**scope, "path": path}
            scope.setdefault("state", {})["root_path"] = root
        await self._app(scope, receive, send)
