"""The listening page at `/` and the files it is made of: nothing is built, nothing comes from elsewhere.

Open to everybody like the API's own description: what the page shows it asks the API for, with the visitor's key.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from divisi.contract.errors import NotFoundError
from divisi.contract.request import page_options
from divisi.sample import MIXTURE, SOURCES, mixture_path, source_path

router = APIRouter(include_in_schema=False)

PAGE = files("divisi.gateway") / "page"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def page_files() -> dict[str, bytes]:
    """The page's files by name, read once."""
    return {
        entry.name: entry.read_bytes() for entry in PAGE.iterdir() if entry.name[entry.name.rfind(".") :] in MEDIA_TYPES
    }


@router.head("/")
@router.get("/")
def get_page(request: Request) -> Response:
    """The page itself."""
    return _answer(request, "index.html")


@router.get("/page/sample/{name}.flac")
def get_sample(name: str) -> Response:
    """The sample recording, for visitors without one at hand, and its true sources."""
    if name not in (MIXTURE, *SOURCES):
        raise NotFoundError(f"the sample has no {name!r}; it has {', '.join((MIXTURE, *SOURCES))}", code="not-found")
    path = mixture_path() if name == MIXTURE else source_path(name)
    return FileResponse(path, media_type="audio/flac", headers={"Cache-Control": "no-cache"})


@router.get("/page/options.json")
def get_options() -> list[dict[str, Any]]:
    """The options that visitors choose from."""
    return page_options()


@router.head("/page/{name}")
@router.get("/page/{name}")
def get_page_file(request: Request, name: str) -> Response:
    """A module, the style sheet or the icon."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    if name not in page_files():
        raise NotFoundError(f"the page has no file {name!r}", code="not-found")
    body = page_files()[name]
    root = getattr(request.state, "root_path", "")
    if name == "index.html" and root:
        # From `/divisi`, which proxies serve as well as `/divisi/`, the page's own addresses would lead astray.
        body = body.replace(b'"page/', f'"{root}/page/'.encode())
    # A new version of the service must be seen at the next visit, and an unchanged file not be sent twice.
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=MEDIA_TYPES[name[name.rfind(".") :]], headers=headers)
