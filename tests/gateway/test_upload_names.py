"""Names of recordings travel in every form that clients write them, and come back in every download."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest
import requests
from tests.patience import PATIENCE_SECONDS

from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.storage.names import file_name_in

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, WorkOff

SUNG = "合唱"
# Whatever people write; each is one legal name of a file on Linux.
NAMES = ["合唱 – Χορός 👩‍🎤.wav", "100% AC\\DC [\"live\"]; take=2, 'b' a&b+c %41.wav"]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (f'filename="{SUNG}.wav"'.encode(), f"{SUNG}.wav"),
        (b"filename=plain.wav", "plain.wav"),
        (b"FileName = plain.wav ; x=y", "plain.wav"),
        (b'filename="a; filename=b.wav"', "a; filename=b.wav"),
        (b'filename="so %22so%22%0D%0A.wav"', 'so "so"\r\n.wav'),
        (rb'filename="so \"so\" \\ \x.wav"', 'so "so" \\ \\x.wav'),
        (b'filename="un"escaped".wav"', 'un"escaped".wav'),
        (rb'filename="C:\music\x.wav"', r"C:\music\x.wav"),
        (rb'filename="ends with \"', "ends with \\"),
        (b'filename="caf\xe9.wav"', "caf\ufffd.wav"),
        (f'filename="{quote(SUNG, safe="")}%20b.wav"'.encode(), f"{SUNG} b.wav"),
        (b'filename="Ave%20verum.wav"', "Ave%20verum.wav"),
        (b'filename="100%25 caf%C3%A9.wav"', "100%25 caf%C3%A9.wav"),
        (b'filename="caf%E9.wav"', "caf%E9.wav"),
        (b'filename="=?UTF-8?B?5ZCI5ZSx?=.wav"', "=?UTF-8?B?5ZCI5ZSx?=.wav"),
        (b'filename="=?UTF-8?B?5ZCI5ZSxLndhdg==?="', f"{SUNG}.wav"),
        (b'filename="=?iso-8859-1?Q?caf=E9_?= =?utf-8?q?=C3=BC.wav?="', "café ü.wav"),
        (b'filename="=?nonsense?Q?x?="', "=?nonsense?Q?x?="),
        (b'filename="=?utf-8?B?x?="', "=?utf-8?B?x?="),
        (f"filename*=UTF-8''{quote(SUNG)}.wav".encode(), f"{SUNG}.wav"),
        (f"filename=\"__.wav\"; filename*=utf-8'zh'{quote(SUNG)}.wav".encode(), f"{SUNG}.wav"),
        (f"filename*=UTF-8''{quote(SUNG)}.wav; filename=\"__.wav\"".encode(), f"{SUNG}.wav"),
        (f"filename*=\"UTF-8''{quote(SUNG)}.wav\"".encode(), f"{SUNG}.wav"),
        (b"filename*=iso-8859-1'en'caf%E9.wav", "café.wav"),
        (b"filename*=UTF-8''caf%E9%.wav", "caf\ufffd%.wav"),
        (b"filename=\"a.wav\"; filename*=nonsense''b.wav", "a.wav"),
        (b"filename=\"a.wav\"; filename*=hex''61", "a.wav"),
        (b'filename="a.wav"; filename*=b.wav', "a.wav"),
        (b'filename="a.wav"; filename="b.wav"', "a.wav"),
        (b'filename=""', ""),
        (b"filename=", ""),
        (b"", None),
    ],
)
def test_every_form_of_a_name_is_read(parameters: bytes, name: str | None) -> None:
    assert file_name_in(b'form-data; name="file"; ' + parameters) == name


@pytest.fixture
def url(gateway: Gateway) -> str:
    return f"{gateway.url}/v1/jobs"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_travels_with_every_client(name: str, url: str, song: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(song)
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    forms = [["-F", f'file=@"{tmp_path}/{quoted}"'], ["--form-escape", "-F", f'file=@"{tmp_path}/{quoted}"']]
    raw = ["-T", str(path), "-X", "POST", f"{url}?file_name={quote(name)}"]
    for arguments in ([*forms[0], url], [*forms[1], url], raw):
        sent = subprocess.run(
            ["curl", "-sS", "-g", *arguments], capture_output=True, check=True, timeout=PATIENCE_SECONDS
        )
        assert json.loads(sent.stdout)["file_name"] == name
    with path.open("rb") as file:
        assert requests.post(url, files={"file": file}, timeout=PATIENCE_SECONDS).json()["file_name"] == name
    assert httpx.post(url, files={"file": (name, song)}, timeout=PATIENCE_SECONDS).json()["file_name"] == name
    assert (
        httpx.post(url, content=song, params={"file_name": name}, timeout=PATIENCE_SECONDS).json()["file_name"] == name
    )
    header = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    assert httpx.post(url, content=song, headers=header, timeout=PATIENCE_SECONDS).json()["file_name"] == name


def as_aiohttp(name: str, song: bytes) -> bytes:
    """A form as aiohttp writes it: the type first, all of the name escaped."""
    head = f'Content-Type: audio/wav\r\nContent-Disposition: form-data; name="file"; filename="{quote(name, safe="")}"'
    return b"--x\r\n" + head.encode() + b"\r\n\r\n" + song + b"\r\n--x--\r\n"


def form(parameters: bytes, song: bytes) -> bytes:
    head = b'Content-Disposition: form-data; name="file"; ' + parameters
    return b"--x\r\n" + head + b"\r\n\r\n" + song + b"\r\n--x--\r\n"


LABELS = {
    b'filename="caf\xe9.wav"': "caf\ufffd.wav",
    b'filename="\xff\xfe\x00"': "\ufffd\ufffd",
    b'filename=".."': "recording",
    rb'filename="C:\dir\x.wav"': "x.wav",
    b'filename="' + "聖".encode() * 2000 + b'.flac"': "聖" * 195 + ".flac",
    b"filename*=UTF-8''" + quote(SUNG).encode() + b".wav": f"{SUNG}.wav",
}


def test_no_name_is_a_reason_to_refuse_a_recording(url: str, song: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for parameters, label in LABELS.items():
        answer = httpx.post(url, content=form(parameters, song), headers=headers, timeout=PATIENCE_SECONDS)
        assert (answer.status_code, answer.json().get("file_name")) == (202, label), answer.text


def test_a_name_of_its_own_field_or_of_the_query_is_none_either(url: str, song: bytes) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = httpx.post(url, content=as_aiohttp(f"{SUNG} b.wav", song), headers=headers, timeout=PATIENCE_SECONDS)
    assert answer.json()["file_name"] == f"{SUNG} b.wav"
    field = b'--x\r\nContent-Disposition: form-data; name="file_name"\r\n\r\ncaf\xe9' + b"x" * 5000 + b".wav\r\n"
    answer = httpx.post(url, content=field + form(b'filename="a.wav"', song), headers=headers, timeout=PATIENCE_SECONDS)
    assert answer.json()["file_name"].startswith("caf\ufffdxxx"), answer.text
    for query, label in (
        ("caf%E9.wav", "caf\ufffd.wav"),
        ("x" * 3000 + ".wav", "x" * 196 + ".wav"),
        ("%00", "recording"),
    ):
        answer = httpx.post(f"{url}?file_name={query}", content=song, timeout=PATIENCE_SECONDS)
        assert answer.json()["file_name"] == label, answer.text


def test_recordings_keep_apart_whatever_reads_their_names(
    url: str, song: bytes, gateway: Gateway, work_off: WorkOff, tmp_path: Path
) -> None:
    names = [f"{SUNG}.wav", "聖歌.wav", "x" * 250 + "1.wav", "x" * 250 + "2.wav"]
    jobs = [httpx.post(url, files={"file": (name, song)}).headers["location"] for name in names]
    jobs += [httpx.post(url, content=song).headers["location"] for _ in "12"]  # without a name

    async def finish() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            for _ in jobs:
                await work_off(queue, gateway.store, sings_again=True)

    asyncio.run(finish())
    files = ["stems/alto", "notes.mid", "recording", "archive.zip"]
    for job in jobs:
        for file in files:
            command = ["curl", "-sSf", "-O", "-J", f"{gateway.url}{job}/{file}"]
            subprocess.run(command, cwd=tmp_path, check=True, timeout=PATIENCE_SECONDS)
    saved = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert len(saved) == len(jobs) * len(files)
    assert all(name.isascii() for name in saved)
    assert sum(name.startswith("x") for name in saved) == 2 * len(files)
    with zipfile.ZipFile(io.BytesIO(httpx.get(f"{gateway.url}{jobs[0]}/archive.zip").content)) as archive:
        assert json.loads(archive.read("manifest.json"))["file_name"] == f"{SUNG}.wav"
        assert all(entry.flag_bits & 0x800 for entry in archive.infolist())  # names are UTF-8
