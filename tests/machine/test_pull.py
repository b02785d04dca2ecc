"""Bundles fetched from a static file server: all of them or nothing."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.models.test_bundle import publish

from divisi.contract.errors import ConflictError, DivisiError, InputError, UnavailableError
from divisi.machine.separation import pull_bundle
from divisi.models.bundle import BundleStore


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return publish(tmp_path / "published")


@pytest.fixture
def url(published: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=published.parents[1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{published.parent.name}/{published.name}"
        server.shutdown()


def test_a_pulled_bundle_is_the_published_one_and_nothing_else_is_left(
    url: str, published: Path, tmp_path: Path
) -> None:
    arrived = []
    bundle = pull_bundle(url + "/", tmp_path / "store", arrived.append)
    assert {path.name: path.read_bytes() for path in bundle.path.iterdir()} == {
        path.name: path.read_bytes() for path in published.iterdir()
    }
    assert sum(arrived) == sum(path.stat().st_size for path in published.iterdir())
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["duo"]
    assert BundleStore(tmp_path / "store").get("duo").card.version == "1.0.0"


@pytest.mark.parametrize("harm", ["changed", "missing", "unlisted card"])
def test_a_bundle_that_arrives_damaged_is_not_there(url: str, published: Path, tmp_path: Path, harm: str) -> None:
    if harm == "changed":
        (published / "model.onnx").write_bytes(b"other")
    elif harm == "missing":
        (published / "model.onnx").unlink()
    else:
        lines = (published / "SHA256SUMS").read_text().splitlines(keepends=True)
        (published / "SHA256SUMS").write_text("".join(line for line in lines if "card" not in line))
    with pytest.raises(DivisiError):
        pull_bundle(url, tmp_path / "store")
    assert BundleStore(tmp_path / "store").model_ids() == []
    assert not list((tmp_path / "store").glob(".pull-*"))


def test_what_is_there_is_never_replaced(url: str, tmp_path: Path) -> None:
    pull_bundle(url, tmp_path / "store")
    with pytest.raises(ConflictError, match="nothing was fetched"):
        pull_bundle(url, tmp_path / "store")


@pytest.mark.parametrize(
    "address",
    [
        "duo/1.0.0",
        "ftp://host/duo/1.0.0",
        "http://host/",
        "http://host/duo",
        "http://host/../1.0.0",
        "https:///duo/1.0.0",
    ],
)
def test_an_address_that_names_no_bundle_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"address"):
        pull_bundle(address, tmp_path)


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/"):
        pull_bundle("http://127.0.0.1:1/duo/1.0.0", tmp_path)
