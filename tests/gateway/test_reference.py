"""The API reference at `/docs`: served whole from the package, as it was published, under the policy of all answers."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpx
import pytest
from tests.gateway.keyed import keyed_gateway
from tests.path_proxy import proxy_below

from divisi.gateway import open_routes
from divisi.gateway.middleware import security_headers
from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve

FOLDER = Path(open_routes.__file__).parent / "reference"
VIEWER = ("swagger-ui-bundle.js", "swagger-ui.css")
ROOT = "/choir/divisi"


def addresses_in(html: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]+)"', html)


def test_the_page_and_all_it_is_made_of_come_from_the_package(http: httpx.Client, gateway: Gateway) -> None:
    page = http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"] == security_headers(gateway.settings)["Content-Security-Policy"]
    addresses = addresses_in(page.text)
    assert len(addresses) == 4
    for address in addresses:
        assert not re.match(r"[a-z]+:|//", address), address
        assert http.get(urljoin(str(page.url), address)).status_code == 200
    assert http.head("/docs").status_code == 200


@pytest.mark.parametrize("strips", [True, False], ids=["stripped", "kept"])
def test_below_a_path_they_are_found_as_well(strips: bool, settings: Settings, serve: Serve) -> None:
    with keyed_gateway(settings, serve, root_path=ROOT) as keyed, proxy_below(ROOT, keyed.url, strips=strips) as url:
        page = httpx.get(f"{url}/docs")
        for address in [*addresses_in(page.text), "openapi.json"]:
            asked = urljoin(str(page.url), address)
            assert asked.startswith(f"{url}/")
            assert httpx.get(asked).status_code == 200, asked


@pytest.mark.parametrize("name", VIEWER)
def test_the_viewer_is_what_its_authors_published(name: str) -> None:
    note = (FOLDER / "README.md").read_text(encoding="utf-8")
    data = gzip.decompress((FOLDER / f"{name}.gz").read_bytes())
    assert f"{hashlib.sha256(data).hexdigest()}  {name}" in note
    assert "Apache License" in (FOLDER / "swagger-ui.LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", VIEWER)
def test_it_is_sent_packed_to_those_who_unpack_it(name: str, gateway: Gateway) -> None:
    packed = (FOLDER / f"{name}.gz").read_bytes()
    tags = set()
    for accepted, is_packed in (("gzip, deflate, br", True), ("identity", False)):
        answer = httpx.get(f"{gateway.url}/docs/{name}", headers={"Accept-Encoding": accepted})
        assert answer.headers.get("content-encoding") == ("gzip" if is_packed else None)
        assert int(answer.headers["content-length"]) == len(packed if is_packed else gzip.decompress(packed))
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.content == gzip.decompress(packed)
        tags.add(answer.headers["etag"])
    assert len(tags) == 2


@pytest.mark.parametrize("name", ["swagger-ui.css.gz", "README.md", "swagger-ui.LICENSE", "main.js", "..%2Fapp.py"])
def test_nothing_else_of_the_package_is_given_away(name: str, http: httpx.Client) -> None:
    assert http.get(f"/docs/{name}").status_code == 404
