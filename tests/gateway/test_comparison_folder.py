"""A comparison as a folder that opens from disk: what is in it, and that nothing in it leads elsewhere."""

from __future__ import annotations

import asyncio
import csv
import io
import zipfile
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import httpx

from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, StemBytes, WorkOff

NAME = "Ave <b> & verum.wav"


class Page(HTMLParser):
    """Addresses, players and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.players: dict[str, str] = {}
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.addresses += [value for name in ("src", "href") if (value := found.get(name))]
        if tag == "audio":
            self.players[found["aria-label"] or ""] = found["src"] or ""

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def submit(http: httpx.Client, song: bytes, **sources: bytes) -> str:
    files = {"file": (NAME, song), **{f"reference_{name}": (f"{name}.wav", data) for name, data in sources.items()}}
    answer = http.post("/v1/jobs", files=files, data={"model": "quartet,duo"})
    return str(answer.headers["location"])


def work(gateway: Gateway, work_off: WorkOff) -> None:
    async def run() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store, sings_again=True)
            await work_off(queue, gateway.store, ("upper", "lower"))

    asyncio.run(run())


def test_the_folder_holds_a_player_for_every_file_and_needs_nothing_else(
    http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff, stem_bytes: StemBytes
) -> None:
    url = submit(http, song, alto=song)
    assert http.get(http.get(url).json()["folder"]).json()["code"] == "job-not-finished"
    work(gateway, work_off)
    answer = http.get(f"{url}/folder.zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        page = Page(archive.read("index.html").decode())
        scores = list(csv.reader(io.StringIO(archive.read("scores.csv").decode())))
        assert archive.read("audio/quartet/tenor.wav") == stem_bytes("tenor")
        assert archive.read("audio/original/alto.wav") == archive.read("audio/recording.wav") == song
    assert set(page.addresses) == names - {"index.html", "scores.csv"}
    assert page.players["Alto, Original"] == "audio/original/alto.wav"
    assert page.players["Upper voice, duo"] == "audio/duo/upper.wav"
    assert page.players["Mixture, sung again, Original"] == "audio/recording.wav"
    assert page.players["Mixture, sung again, quartet"] == "audio/quartet/resynthesis.wav"
    assert "Bass, duo" not in page.players
    assert NAME in page.texts
    assert [row[0] for row in scores] == ["model", "quartet", "duo"]


def test_original_comes_first_and_the_mixture_sung_again_last(
    http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff
) -> None:
    url = submit(http, song, alto=song)
    work(gateway, work_off)
    with zipfile.ZipFile(io.BytesIO(http.get(f"{url}/folder.zip").content)) as archive:
        players = list(Page(archive.read("index.html").decode()).players)
    assert players[0] == "The recording"
    assert players.index("Alto, Original") < players.index("Alto, quartet")
    assert players[-2:] == ["Mixture, sung again, Original", "Mixture, sung again, quartet"]


def test_a_shared_comparison_leads_to_its_folder_without_a_key(
    http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff
) -> None:
    url = submit(http, song)
    work(gateway, work_off)
    shared = http.get(http.post(f"{url}/links").json()["shared"]).json()
    assert "signature=" in shared["folder"]
    assert http.get(shared["folder"]).status_code == 200
    assert http.get(shared["folder"].replace("expires=", "expires=9")).status_code == 403
