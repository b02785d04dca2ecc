"""A gateway below a path of a proxy: every address that it gives opens there, and asks for what it asks elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from tests.gateway.keyed import BOTH, KeyedGateway, keyed_gateway
from tests.path_proxy import proxy_below

from divisi.gateway.jobs import message_of
from divisi.queue.job_queue import JobQueue
from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Serve, WorkOff

ROOT = "/choir/divisi"


@pytest.fixture
def keyed(settings: Settings, serve: Serve) -> Iterator[KeyedGateway]:
    with keyed_gateway(settings, serve, root_path=ROOT) as gateway:
        yield gateway


@pytest.fixture(params=[True, False], ids=["stripped", "kept"])
def below(request: pytest.FixtureRequest, keyed: KeyedGateway) -> Iterator[str]:
    """Where a proxy serves the gateway, which takes the path away or leaves it."""
    with proxy_below(ROOT, keyed.url, strips=request.param) as url:
        yield url


@pytest.fixture
def caller(keyed: KeyedGateway) -> Iterator[httpx.Client]:
    with keyed.caller(keyed.make_key(*BOTH)) as client:
        yield client


def addresses_in(body: Any) -> set[str]:
    """Every string of an answer that is an address."""
    if isinstance(body, dict):
        return set().union(*map(addresses_in, body.values()))
    if isinstance(body, list):
        return set().union(*map(addresses_in, body))
    return {body} if isinstance(body, str) and "/v1/" in body else set()


def separated(keyed: KeyedGateway, work_off: WorkOff, times: int = 1) -> None:
    async def work(queue: JobQueue) -> None:
        for _ in range(times):
            await work_off(queue, keyed.store, sings_again=True)

    keyed.ask(work)


def test_every_address_of_an_answer_opens_as_browsers_resolve_it(
    keyed: KeyedGateway, below: str, caller: httpx.Client, song: bytes, work_off: WorkOff
) -> None:
    files = {"file": song, "reference_alto": song}
    accepted = caller.post(f"{below}/v1/jobs", files=files, data={"model": ["quartet", "duo"]})
    location = accepted.headers["location"]
    assert location.startswith(f"{ROOT}/v1/groups/")
    separated(keyed, work_off, 2)
    comparison = caller.get(urljoin(str(accepted.url), location))
    job = caller.get(urljoin(below, comparison.json()["systems"][0]["job"]["links"]["self"]))
    listed = caller.get(f"{below}/v1/jobs").json()
    found = addresses_in([accepted.json(), comparison.json(), job.json(), listed])
    assert len(found) > 40
    assert all(address.startswith(f"{ROOT}/v1/") for address in found)
    for address in found - {address for address in found if "/mixes/" in address}:  # made of real stems
        with caller.stream("GET", urljoin(below, address)) as answer:
            assert answer.status_code == 200, address


def test_links_open_without_a_key_behind_the_proxy_and_beside_it(
    keyed: KeyedGateway, below: str, caller: httpx.Client, song: bytes, work_off: WorkOff
) -> None:
    job = caller.post(f"{below}/v1/jobs", files={"file": song}).headers["location"]
    separated(keyed, work_off)
    links = caller.post(f"{urljoin(below, job)}/links").json()
    with httpx.Client() as nobody:
        for link in addresses_in(links):
            assert link.startswith(f"{ROOT}/v1/")
            assert nobody.get(urljoin(below, link)).status_code == 200
            assert nobody.get(keyed.url + link).status_code == 200
            assert nobody.get(keyed.url + link.removeprefix(ROOT)).status_code == 200
        shared = nobody.get(urljoin(below, links["shared"])).json()
        signed = {link for link in addresses_in(shared) if "signature=" in link and "/mixes/" not in link}
        assert len(signed) > 10
        for link in signed:
            assert nobody.get(urljoin(below, link)).status_code == 200, link


def test_a_link_made_before_the_path_was_set_still_opens(
    settings: Settings, serve: Serve, song: bytes, work_off: WorkOff
) -> None:
    with keyed_gateway(settings, serve) as before, before.caller(before.make_key(*BOTH)) as caller:
        job = caller.post("/v1/jobs", files={"file": song}).headers["location"]
        separated(before, work_off)
        link = caller.post(f"{job}/links").json()["archive"]
    with keyed_gateway(settings, serve, root_path=ROOT) as after, proxy_below(ROOT, after.url, strips=False) as url:
        assert httpx.get(url + link).status_code == 200


def test_the_path_in_front_opens_nothing(keyed: KeyedGateway) -> None:
    with keyed.caller() as nobody:
        for path in ("/v1/jobs", f"{ROOT}/v1/jobs"):
            assert nobody.get(path).status_code == 401
        reader = keyed.make_key()
        with keyed.caller(reader) as powerless:
            assert powerless.get(f"{ROOT}/v1/jobs").status_code == 403
        for path in (f"{ROOT}{ROOT}/livez", f"{ROOT}x/livez", "/choir/livez", f"{ROOT}//livez"):
            assert nobody.get(path).status_code == 404, path
        forwarded = {"X-Forwarded-Prefix": "/evil", "X-Script-Name": "/evil", "X-Forwarded-Path": "/evil"}
        assert "evil" not in nobody.get("/v1/jobs", headers=forwarded).text
        assert "evil" not in nobody.get("/", headers=forwarded).text


def test_requests_are_the_same_to_metrics_with_and_without_the_path(keyed: KeyedGateway) -> None:
    with keyed.caller(keyed.make_key(*BOTH)) as caller, keyed.caller() as nobody:
        for path in ("/v1/jobs", f"{ROOT}/v1/jobs"):
            caller.get(path)
        assert nobody.get(f"{ROOT}/readyz").status_code == nobody.get("/readyz").status_code == 200
    with keyed.caller(keyed.make_key("metrics")) as scraper:
        assert 'divisi_gateway_request_seconds_count{method="GET",route="/v1/jobs",status="200"} 2.0' in (
            scraper.get(f"{ROOT}/metrics").text
        )


def test_problems_and_the_document_name_the_path(keyed: KeyedGateway, below: str) -> None:
    problem = httpx.get(f"{below}/v1/jobs").json()
    assert problem["instance"] == f"{ROOT}/v1/jobs"
    document = httpx.get(f"{below}/openapi.json").json()
    assert document["servers"] == [{"url": ROOT}]
    assert "/v1/jobs" in document["paths"]


def test_webhooks_name_the_path(keyed: KeyedGateway, caller: httpx.Client, song: bytes, work_off: WorkOff) -> None:
    job_id = caller.post("/v1/jobs", files={"file": song}).json()["id"]
    separated(keyed, work_off)
    job = keyed.ask(lambda queue: queue.get(job_id))
    message = json.loads(message_of(job, ROOT, "succeeded"))
    found = addresses_in(message)
    assert len(found) > 5
    assert all(address.startswith(f"{ROOT}/v1/jobs/") for address in found)


@pytest.mark.parametrize("end", ["", "/"])
def test_the_page_names_its_files_wherever_it_is_opened(below: str, end: str) -> None:
    page = httpx.get(below + end)
    assert page.status_code == 200
    files = {part.split('"')[0] for part in page.text.split('="')[1:] if "/page/" in part.split('"')[0]}
    names = {"icon.png", "icon.svg", "main.js", "manifest.webmanifest", "style.css"}
    assert {urlsplit(file).path.rsplit("/", 1)[-1] for file in files} == names
    for file in files:
        assert httpx.get(urljoin(below + end, file)).status_code == 200


def test_without_the_setting_the_page_leaves_the_path_to_the_browser(settings: Settings, serve: Serve) -> None:
    with keyed_gateway(settings, serve) as plain, proxy_below("/any/path", plain.url, strips=True) as url:
        page = httpx.get(f"{url}/").text
        assert 'src="page/main.js"' in page
        assert '"/page/' not in page
        assert "servers" not in httpx.get(f"{url}/openapi.json").json()


@pytest.mark.parametrize("path", ["divisi", "/divisi/", "/", "//x", "/a//b", "/a?b", "/a#b", "/a/../b", "/ä", "/a b"])
def test_what_is_no_path_to_serve_below_is_refused_at_the_start(path: str) -> None:
    with pytest.raises(ValueError, match="no path to serve below"):
        Settings(root_path=path)


@pytest.mark.parametrize("path", ["/v1", "/v1/jobs", "/page", "/docs"])
def test_a_path_that_cannot_be_told_from_ours_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="another path"):
        Settings(root_path=path)
    assert Settings(root_path="/v1x/page").root_path == "/v1x/page"
