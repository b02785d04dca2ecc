"""Hostile names: nothing that a caller writes leads out of its place."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from tests.patience import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway

SECRET = b"not for callers"
# As they go over the wire: clients of good manners would tidy some of them up.
CLIMBS = [
    "../secret",
    "..%2fsecret",
    "%2e%2e/secret",
    "%2e%2e%2fsecret",
    "..%5csecret",
    "....//secret",
    "%252e%252e%252fsecret",
    "..%c0%afsecret",
    "%00",
    "secret%00.wav",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "..;/secret",
    "%ef%bc%8e%ef%bc%8e%2fsecret",
    "a" * 5000,
]
PLACES = [
    "/v1/jobs/{0}/stems/{1}",
    "/v1/jobs/{1}",
    "/v1/jobs/{1}/stems/alto",
    "/v1/models/{1}",
    "/{1}",
    "/v1/jobs/{0}/{1}",
]


def get_raw(url: str, path: str) -> tuple[int, bytes]:
    """The answer to a path sent byte for byte."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_SECONDS)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("place", PLACES)
def test_no_path_leads_out_of_its_place(gateway: Gateway, http: httpx.Client, song: bytes, place: str) -> None:
    job_id = http.post("/v1/jobs", files={"file": song}).json()["id"]
    for folder in (gateway.folder, gateway.folder / "store", gateway.folder / "store" / "jobs"):
        (folder / "secret").write_bytes(SECRET)
    for climb in CLIMBS:
        status, body = get_raw(gateway.url, place.format(job_id, climb))
        assert status in (400, 404, 409, 422), climb
        assert SECRET not in body
        assert b"root:" not in body


@pytest.mark.parametrize(
    "name", ["../../escaped.wav", "..\\..\\escaped.wav", "/tmp/escaped.wav", "a\x00b.wav", "..", "\u202egnp.wav"]
)
def test_no_file_name_leads_out_of_its_place(gateway: Gateway, http: httpx.Client, song: bytes, name: str) -> None:
    http.get("/livez")  # once it answers, the gateway has laid out its own folder
    before = everything(gateway.folder)
    answer = http.post("/v1/jobs", params={"file_name": name}, content=song)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    new = everything(gateway.folder) - before
    assert new == {Path("store/jobs", job["id"], part) for part in ("mixture", "accepted.json")}
    assert not set("/\\\x00\u202e") & set(job["file_name"])


@pytest.mark.parametrize("field", ["model", "stems"])
@pytest.mark.parametrize("name", ["../quartet", "quartet/../../x", "/etc", "quartet\x00", "."])
def test_no_name_of_a_model_or_stem_leads_out_of_its_place(
    gateway: Gateway, http: httpx.Client, song: bytes, field: str, name: str
) -> None:
    answer = http.post("/v1/jobs", files={"file": song}, data={field: name})
    assert answer.status_code == 422
    assert gateway.objects() == []


def everything(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
