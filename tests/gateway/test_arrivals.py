"""Downloads of both clients through a proxy that breaks them off: nothing is lost, replaced or left half-written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.gateway.working import worker
from tests.unsteady_proxy import UnsteadyProxy, cut_after, damage, unsteady

from divisi.client import AsyncClient, Client, Comparison, Job
from divisi.client.wire import MOST_TRIES
from divisi.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, StemBytes, WorkOff

Download = Callable[[str, str, Path], object]
"""Calls a method of a client of a server, such as `stems`, for the job."""


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("divisi.client.wire.FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def proxy(gateway: Gateway) -> Iterator[UnsteadyProxy]:
    with unsteady(gateway.url) as proxy:
        yield proxy


@pytest.fixture
def recording(tmp_path: Path, song: bytes) -> Path:
    path = tmp_path / "Ave verum.wav"
    path.write_bytes(song)
    return path


@pytest.fixture
def job(gateway: Gateway, recording: Path, work_off: WorkOff) -> Job:
    """A finished one, with all that a job can have."""
    with worker(gateway, work_off, 1, sings_again=True), Client(gateway.url) as client:
        return client.wait(client.submit(recording)["id"])


def blocking(url: str, what: str, job: Job | Comparison, folder: Path) -> object:
    with Client(url) as client:
        return getattr(client, what)(job, folder)


def asynchronous(url: str, what: str, job: Job | Comparison, folder: Path) -> object:
    async def download() -> object:
        async with AsyncClient(url) as client:
            return await getattr(client, what)(job, folder)

    return asyncio.run(download())


both = pytest.mark.parametrize("download", [blocking, asynchronous])


@both
def test_a_download_that_breaks_off_goes_on_from_there(
    download: Download, proxy: UnsteadyProxy, job: Job, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    proxy.faults["/stems/tenor"] = [cut_after(1000), cut_after(0), cut_after(500)]
    download(proxy.url, "download_stems", job, tmp_path / "out")
    assert (tmp_path / "out/tenor.wav").read_bytes() == stem_bytes("tenor")
    assert proxy.ranges_of("/stems/tenor") == [None, "bytes=1000-", "bytes=1000-", "bytes=1500-"]
    assert proxy.ranges_of("/stems/alto") == [None]


@both
def test_a_line_that_breaks_again_and_again_does_as_long_as_something_comes(
    download: Download, proxy: UnsteadyProxy, job: Job, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    proxy.every["/stems/bass"] = cut_after(9_000)
    download(proxy.url, "download_stems", job, tmp_path / "out")
    assert (tmp_path / "out/bass.wav").read_bytes() == stem_bytes("bass")
    assert len(proxy.ranges_of("/stems/bass")) > MOST_TRIES


@both
def test_where_ranges_do_not_pass_the_whole_is_fetched_again(
    download: Download, proxy: UnsteadyProxy, job: Job, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    proxy.without_ranges = True
    proxy.faults["/stems/tenor"] = [cut_after(1000), cut_after(99_999)]
    download(proxy.url, "download_stems", job, tmp_path / "out")
    assert (tmp_path / "out/tenor.wav").read_bytes() == stem_bytes("tenor")


@both
@pytest.mark.parametrize(
    ("what", "end", "name"),
    [
        ("download_stems", "/stems/tenor", "tenor.wav"),
        ("download_pitch", "/pitch.json", "pitch.json"),
        ("download_resynthesis", "/stems/resynthesis", "resynthesis.wav"),
        ("download_report", "/report.png", "report.png"),
    ],
)
def test_what_arrives_damaged_or_in_part_is_fetched_again_and_never_kept(
    download: Download, what: str, end: str, name: str, proxy: UnsteadyProxy, job: Job, gateway: Gateway, tmp_path: Path
) -> None:
    proxy.faults[end] = [damage, cut_after(1), damage]
    download(proxy.url, what, job, tmp_path / "out")
    download(gateway.url, what, job, tmp_path / "right")
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "right" / name).read_bytes()
    proxy.every[end] = damage
    with pytest.raises(UnavailableError, match="damaged"):
        download(proxy.url, what, job, tmp_path / "never")
    assert list((tmp_path / "never").iterdir()) == []


@both
def test_a_server_that_stays_away_is_given_up_and_the_job_is_still_there(
    download: Download, proxy: UnsteadyProxy, job: Job, gateway: Gateway, tmp_path: Path
) -> None:
    proxy.every["/stems/tenor"] = cut_after(0)
    with pytest.raises(UnavailableError, match="tenor broke off"):
        download(proxy.url, "download_stems", job, tmp_path / "out")
    assert len(proxy.ranges_of("/stems/tenor")) == MOST_TRIES
    assert list((tmp_path / "out").iterdir()) == []
    with Client(gateway.url) as client:
        assert client.get(job["id"])["state"] == "succeeded"


@both
@pytest.mark.parametrize("what", ["download_stems", "download_pitch", "download_resynthesis", "download_report"])
def test_no_download_takes_the_place_of_another_file(
    download: Download, what: str, gateway: Gateway, job: Job, tmp_path: Path
) -> None:
    download(gateway.url, what, job, tmp_path / "out")
    for made in list((tmp_path / "out").iterdir()):
        own = tmp_path / f"own {made.name}"
        own.mkdir()
        (own / made.name).write_bytes(b"the singer's own")
        with pytest.raises(InputError, match="holds something else"):
            download(gateway.url, what, job, own)
        assert [(path.name, path.read_bytes()) for path in own.iterdir()] == [(made.name, b"the singer's own")]


@both
def test_a_link_that_leads_nowhere_is_not_followed_and_not_replaced(
    download: Download, gateway: Gateway, job: Job, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/alto.wav").symlink_to(tmp_path / "elsewhere.wav")
    with pytest.raises(InputError, match=r"alto\.wav"):
        download(gateway.url, "download_stems", job, tmp_path / "out")
    assert not (tmp_path / "elsewhere.wav").exists()
    assert (tmp_path / "out/alto.wav").is_symlink()


@both
def test_what_lies_there_already_is_not_fetched_again(
    download: Download, proxy: UnsteadyProxy, job: Job, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/alto.wav").write_bytes(stem_bytes("alto"))
    download(proxy.url, "download_stems", job, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{name}.wav" for name in ("alto", "bass", "soprano", "tenor")
    ]
    assert proxy.ranges_of("/stems/alto") == []


@both
def test_an_exported_comparison_leaves_what_was_in_the_folder(
    download: Download, gateway: Gateway, proxy: UnsteadyProxy, recording: Path, work_off: WorkOff, tmp_path: Path
) -> None:
    with worker(gateway, work_off, 2), Client(gateway.url) as client:
        comparison = client.compare(recording, ["quartet", "duo"])
    proxy.faults["/folder.zip"] = [cut_after(5000)]
    download(proxy.url, "export", comparison, tmp_path / "new")
    assert (tmp_path / "new/audio/quartet/alto.wav").is_file()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("the choir's own page")
    with pytest.raises(InputError, match=r"index\.html"):
        download(gateway.url, "export", comparison, tmp_path / "site")
    assert [(path.name, path.read_text()) for path in (tmp_path / "site").iterdir()] == [
        ("index.html", "the choir's own page")
    ]


@both
def test_waiting_goes_on_over_an_outage(download: Download, proxy: UnsteadyProxy, job: Job, tmp_path: Path) -> None:
    async def wait() -> str:
        async with AsyncClient(proxy.url) as client:
            return (await client.wait(job["id"]))["state"]

    proxy.faults[f"/jobs/{job['id']}"] = [cut_after(0), cut_after(10)]
    if download is asynchronous:
        assert asyncio.run(wait()) == "succeeded"
    else:
        with Client(proxy.url) as client:
            assert client.wait(job["id"])["state"] == "succeeded"
    assert len(proxy.asked) == 3
