"""Downloads of both clients through a proxy that breaks them off: nothing is lost, replaced or left half-written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.gateway.working import worker
from tests.unsteady_proxy import UnsteadyProxy, cut_after, damage, unsteady

from divisi.client import AsyncClient, Client, Comparison, Job
from divisi.client.wire import MOST_TRIES
from divisi.contract.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, StemBytes, WorkOff


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


CLIENTS = (blocking, asynchronous)


def test_a_download_that_breaks_off_goes_on_from_there(
    proxy: UnsteadyProxy, job: Job, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        proxy.forget()
        proxy.faults["/stems/tenor"] = [cut_after(1000), cut_after(0), cut_after(500)]
        download(proxy.url, "download_stems", job, folder / "out")
        assert (folder / "out/tenor.wav").read_bytes() == stem_bytes("tenor")
        assert proxy.ranges_of("/stems/tenor") == [None, "bytes=1000-", "bytes=1000-", "bytes=1500-"]
        assert proxy.ranges_of("/stems/alto") == [None]


def test_a_line_that_breaks_again_and_again_does_as_long_as_something_comes(
    proxy: UnsteadyProxy, job: Job, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        proxy.forget()
        proxy.every["/stems/bass"] = cut_after(9_000)
        download(proxy.url, "download_stems", job, folder / "out")
        assert (folder / "out/bass.wav").read_bytes() == stem_bytes("bass")
        assert len(proxy.ranges_of("/stems/bass")) > MOST_TRIES


def test_where_ranges_do_not_pass_the_whole_is_fetched_again(
    proxy: UnsteadyProxy, job: Job, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        proxy.forget()
        proxy.without_ranges = True
        proxy.faults["/stems/tenor"] = [cut_after(1000), cut_after(99_999)]
        download(proxy.url, "download_stems", job, folder / "out")
        assert (folder / "out/tenor.wav").read_bytes() == stem_bytes("tenor")


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
    what: str, end: str, name: str, proxy: UnsteadyProxy, job: Job, gateway: Gateway, tmp_path: Path
) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        proxy.forget()
        proxy.faults[end] = [damage, cut_after(1), damage]
        download(proxy.url, what, job, folder / "out")
        download(gateway.url, what, job, folder / "right")
        assert (folder / "out" / name).read_bytes() == (folder / "right" / name).read_bytes()
        proxy.every[end] = damage
        with pytest.raises(UnavailableError, match="damaged"):
            download(proxy.url, what, job, folder / "never")
        assert list((folder / "never").iterdir()) == []


def test_a_server_that_stays_away_is_given_up_and_the_job_is_still_there(
    proxy: UnsteadyProxy, job: Job, gateway: Gateway, tmp_path: Path
) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        proxy.forget()
        proxy.every["/stems/tenor"] = cut_after(0)
        with pytest.raises(UnavailableError, match="tenor broke off"):
            download(proxy.url, "download_stems", job, folder / "out")
        assert len(proxy.ranges_of("/stems/tenor")) == MOST_TRIES
        assert list((folder / "out").iterdir()) == []
        with Client(gateway.url) as client:
            assert client.get(job["id"])["state"] == "succeeded"


@pytest.mark.parametrize("what", ["download_stems", "download_pitch", "download_resynthesis", "download_report"])
def test_no_download_takes_the_place_of_another_file(what: str, gateway: Gateway, job: Job, tmp_path: Path) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        download(gateway.url, what, job, folder / "out")
        for made in list((folder / "out").iterdir()):
            own = folder / f"own {made.name}"
            own.mkdir()
            (own / made.name).write_bytes(b"the singer's own")
            with pytest.raises(InputError, match="holds something else"):
                download(gateway.url, what, job, own)
            assert [(path.name, path.read_bytes()) for path in own.iterdir()] == [(made.name, b"the singer's own")]


def test_a_link_that_leads_nowhere_is_not_followed_and_not_replaced(gateway: Gateway, job: Job, tmp_path: Path) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        (folder / "out").mkdir()
        (folder / "out/alto.wav").symlink_to(folder / "elsewhere.wav")
        with pytest.raises(InputError, match=r"alto\.wav"):
            download(gateway.url, "download_stems", job, folder / "out")
        assert not (folder / "elsewhere.wav").exists()
        assert (folder / "out/alto.wav").is_symlink()


def test_what_lies_there_already_is_not_fetched_again(
    proxy: UnsteadyProxy, job: Job, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        proxy.forget()
        (folder / "out").mkdir()
        (folder / "out/alto.wav").write_bytes(stem_bytes("alto"))
        download(proxy.url, "download_stems", job, folder / "out")
        assert sorted(path.name for path in (folder / "out").iterdir()) == [
            f"{name}.wav" for name in ("alto", "bass", "soprano", "tenor")
        ]
        assert proxy.ranges_of("/stems/alto") == []


def test_an_exported_comparison_leaves_what_was_in_the_folder(
    gateway: Gateway, proxy: UnsteadyProxy, recording: Path, work_off: WorkOff, tmp_path: Path
) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        proxy.forget()
        with worker(gateway, work_off, 2), Client(gateway.url) as client:
            comparison = client.compare(recording, ["quartet", "duo"])
        proxy.faults["/folder.zip"] = [cut_after(5000)]
        download(proxy.url, "export", comparison, folder / "new")
        assert (folder / "new/audio/quartet/alto.wav").is_file()
        (folder / "site").mkdir()
        (folder / "site/index.html").write_text("the choir's own page")
        with pytest.raises(InputError, match=r"index\.html"):
            download(gateway.url, "export", comparison, folder / "site")
        assert [(path.name, path.read_text()) for path in (folder / "site").iterdir()] == [
            ("index.html", "the choir's own page")
        ]


def test_an_exported_comparison_does_not_leave_its_folder_by_a_link(
    gateway: Gateway, recording: Path, work_off: WorkOff, tmp_path: Path
) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        with worker(gateway, work_off, 2), Client(gateway.url) as client:
            comparison = client.compare(recording, ["quartet", "duo"])
        (folder / "elsewhere").mkdir()
        (folder / "out").mkdir()
        (folder / "out/audio").symlink_to(folder / "elsewhere")
        with pytest.raises(InputError):
            download(gateway.url, "export", comparison, folder / "out")
        assert list((folder / "elsewhere").iterdir()) == []


def test_waiting_goes_on_over_an_outage(proxy: UnsteadyProxy, job: Job, tmp_path: Path) -> None:
    for download in CLIENTS:
        folder = tmp_path / download.__name__
        folder.mkdir()
        proxy.forget()

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
