"""What is no sound recording or no sound request: refused with a stable code, and nothing of it is kept anywhere."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import soundfile
from tests.patience import PATIENCE_SECONDS

from divisi.audio.decode import pack_files

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway

RATE = 16_000


def noise(num_samples: int = RATE) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(num_samples).astype(np.float32) * 0.1


def encoded(container: str, subtype: str | None = None, samples: np.ndarray | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise() if samples is None else samples, RATE, format=container, subtype=subtype)
    return file.getvalue()


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def patched(data: bytes, offset: int, replacement: bytes) -> bytes:
    return data[:offset] + replacement + data[offset + len(replacement) :]


def not_finite() -> bytes:
    samples = noise()
    samples[RATE // 2] = np.nan
    return encoded("WAV", "FLOAT", samples)


@cache
def ten_hours_of_silence() -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as flac:
        for _ in range(10):
            flac.write(np.zeros(3600 * 8_000, np.int16))
    return file.getvalue()


def flac_bomb() -> bytes:
    """Ten hours in a small file whose header leaves the length open: only decoding tells."""
    data = ten_hours_of_silence()
    # STREAMINFO begins at byte 8; the sample count fills the low 4 bits of its byte 13 and the next 4 bytes.
    return patched(data, 8 + 13, bytes([data[8 + 13] & 0xF0, 0, 0, 0, 0]))


def text_renamed() -> bytes:
    return b"Dies irae, dies illa, solvet saeclum in favilla.\n" * 100


BAD_RECORDINGS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "truncated wav": (lambda: cut(encoded("WAV", "PCM_16")), 422, "undecodable"),
    "truncated flac": (lambda: cut(encoded("FLAC")), 422, "undecodable"),
    "truncated mp3": (lambda: cut(encoded("MP3")), 422, "undecodable"),
    "empty file": (bytes, 422, "empty-audio"),
    "wav without samples": (lambda: encoded("WAV", "PCM_16", noise(0)), 422, "empty-audio"),
    "text renamed": (text_renamed, 415, "not-audio"),
    "0 Hz wav": (lambda: patched(encoded("WAV", "PCM_16"), 24, bytes(4)), 422, "invalid-sample-rate"),
    "NaN in a float wav": (not_finite, 422, "non-finite-samples"),
    "ten hours of silence": (ten_hours_of_silence, 422, "audio-too-long"),
    "flac bomb": (flac_bomb, 422, "audio-too-long"),
}


def assert_nothing_is_left(gateway: Gateway) -> None:
    assert gateway.objects() == []
    assert gateway.redis_keys() == []
    assert gateway.uploads() == []


def assert_is_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["type"] == f"urn:divisi:problem:{code}"
    assert body["detail"]
    assert body["instance"] == "/v1/jobs"
    assert body["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("name", BAD_RECORDINGS)
def test_a_bad_recording_is_refused(name: str, http: httpx.Client, gateway: Gateway) -> None:
    make, status, code = BAD_RECORDINGS[name]
    answer = http.post("/v1/jobs", files={"file": ("song.wav", make())}, headers={"Idempotency-Key": "k"})
    assert_is_problem(answer, status, code)
    assert_nothing_is_left(gateway)


def test_the_same_bad_recording_as_a_bare_body_is_refused_alike(http: httpx.Client, gateway: Gateway) -> None:
    assert_is_problem(http.post("/v1/jobs", content=text_renamed()), 415, "not-audio")
    assert_is_problem(http.post("/v1/jobs", content=b""), 422, "empty-audio")
    assert_nothing_is_left(gateway)


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"model": "no-such-model"}, "unknown-model", None),
        ({"model": "../quartet"}, "unknown-model", None),
        ({"model": ["quartet", "no-such-model"]}, "unknown-model", None),
        ({"stems": "countertenor"}, "unknown-stem", None),
        ({"stems": "alto", "model": ["quartet", "duo"]}, "unknown-stem", None),
        ({"voices": "tuba"}, "unknown-voice", None),
        ({"voices": "alto,auto"}, "unknown-voice", None),
        ({"voices": ""}, "invalid-request", "/body/voices/0"),
        ({"voices": "auto", "model": "duo"}, "voices-not-supported", None),
        ({"voices": "alto", "model": ["quartet", "duo"]}, "voices-not-supported", None),
        ({"stem_format": "wma"}, "unsupported-stem-format", None),
        ({"lane": "express"}, "invalid-request", "/body/lane"),
        ({"lane": ["batch", "batch"]}, "invalid-request", "/body/lane"),
        ({"include_residual": "perhaps"}, "invalid-request", "/body/include_residual"),
        ({"stem": "alto"}, "invalid-request", "/body/stem"),
        ({"stems": "alto,,bass"}, "invalid-request", "/body/stems/1"),
        ({"model": ["quartet"] * 17}, "invalid-request", "/body/model"),
    ],
)
def test_a_bad_option_is_refused(
    fields: dict[str, str], code: str, pointer: str | None, http: httpx.Client, song: bytes, gateway: Gateway
) -> None:
    answer = http.post("/v1/jobs", files={"file": ("song.wav", song)}, data=fields)
    assert_is_problem(answer, 422, code)
    assert [error["pointer"] for error in answer.json()["errors"]] == ([pointer] if pointer else [])
    assert_nothing_is_left(gateway)


def test_a_refusal_lists_what_there_is(http: httpx.Client, song: bytes) -> None:
    model = http.post("/v1/jobs", files={"file": song}, data={"model": "no-such-model"}).json()
    assert model["facts"]["known"] == ["duo", "quartet"]
    stem = http.post("/v1/jobs", files={"file": song}, data={"model": "duo", "stems": "alto"}).json()
    assert stem["facts"] == {"model": "duo", "unknown": ["alto"], "known": ["upper", "lower"]}


def test_an_unknown_or_repeated_option_in_the_query_is_refused(
    http: httpx.Client, song: bytes, gateway: Gateway
) -> None:
    for query in ("stem=alto", "lane=batch&lane=batch"):
        answer = http.post(f"/v1/jobs?{query}", content=song)
        assert_is_problem(answer, 422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == f"/query/{query.split('=')[0]}"
    assert_nothing_is_left(gateway)


def test_a_stem_format_that_cannot_hold_the_recording_is_refused(http: httpx.Client, gateway: Gateway) -> None:
    six_channels = encoded("WAV", "PCM_16", np.stack([noise()] * 6, axis=1))
    answer = http.post("/v1/jobs", files={"file": six_channels}, data={"stem_format": "mp3"})
    assert_is_problem(answer, 422, "unsupported-stem-format")
    assert_nothing_is_left(gateway)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../../../etc/cron.d/evil.wav", "evil.wav"),
        ("..\\..\\boot.wav", "boot.wav"),
        ("a\u202egnp.wav", "agnp.wav"),
        ("x" * 300 + ".wav", "x" * 196 + ".wav"),
        ("聖歌.wav", "聖歌.wav"),
    ],
)
def test_a_path_in_a_file_name_is_only_a_label(
    name: str, label: str, http: httpx.Client, song: bytes, gateway: Gateway
) -> None:
    answer = http.post("/v1/jobs", files={"file": (name, song)})
    assert answer.status_code == 202
    assert answer.json()["file_name"] == label
    job_id = answer.json()["id"]
    assert gateway.objects() == [f"jobs/{job_id}/accepted.json", f"jobs/{job_id}/mixture"]


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end


def field(name: str, value: bytes, extra: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + value


FILE = field("file", b"RIFF", '; filename="a.wav"')


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (form(FILE, end=b""), 400, "malformed-upload"),
        (form(FILE)[:40], 400, "malformed-upload"),
        (b"no boundary anywhere", 400, "malformed-upload"),
        (b"", 400, "malformed-upload"),
        (form(b"Content-Disposition: form-data\r\n\r\nx"), 400, "malformed-upload"),
        (form(b"Content-Type: audio/wav\r\n\r\nx"), 400, "malformed-upload"),
        (form(b"\x00\xff: \r\n\r\nx"), 400, "malformed-upload"),
        (form(field("lane", b"\xff\xfe"), FILE), 400, "malformed-upload"),
        (form(field("lane", b"x" * 5000), FILE), 400, "malformed-upload"),
        (form(*[field("stems", b"alto")] * 128, FILE), 400, "malformed-upload"),
        (form(field("lane", b"batch")), 422, "missing-file"),
        (form(field("audio", b"RIFF", '; filename="a.wav"')), 422, "missing-file"),
        (form(*[FILE] * 33), 422, "too-many-files"),
        (form(), 422, "missing-file"),
    ],
)
def test_a_broken_form_is_refused(body: bytes, status: int, code: str, http: httpx.Client, gateway: Gateway) -> None:
    answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert_is_problem(answer, status, code)
    assert_nothing_is_left(gateway)


@pytest.mark.parametrize(
    "media_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; x"]
)
def test_a_form_without_a_boundary_is_refused(media_type: str, http: httpx.Client, gateway: Gateway) -> None:
    answer = http.post("/v1/jobs", content=form(FILE), headers={"Content-Type": media_type})
    assert_is_problem(answer, 400, "malformed-upload")
    assert_nothing_is_left(gateway)


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "x"],
)
def test_a_body_of_another_type_is_refused(media_type: str, http: httpx.Client, song: bytes, gateway: Gateway) -> None:
    answer = http.post("/v1/jobs", content=song, headers={"Content-Type": media_type})
    assert_is_problem(answer, 415, "unsupported-media-type")
    assert_nothing_is_left(gateway)


# --- size: the server must answer while the caller is still sending, so these speak HTTP over a bare socket ---


@pytest.fixture
def wire(gateway: Gateway) -> Iterator[socket.socket]:
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
        yield connection


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /v1/jobs HTTP/1.1", "Host: test", *lines, "", ""]).encode()


def read_answer(wire: socket.socket) -> bytes:
    answer = b""
    while b"}" not in answer:
        received = wire.recv(65536)
        assert received, f"the connection ended after {answer!r}"
        answer += received
    return answer


@pytest.mark.parametrize("media_type", ["audio/wav", "multipart/form-data; boundary=x"])
def test_an_announced_length_beyond_the_cap_is_refused_before_any_byte(
    media_type: str, wire: socket.socket, gateway: Gateway
) -> None:
    wire.sendall(
        head(f"Content-Type: {media_type}", f"Content-Length: {gateway.settings.max_upload_bytes + 2**20 + 1}")
    )
    answer = read_answer(wire)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"upload-too-large"' in answer
    assert b'"limit_bytes":3000000' in answer
    assert_nothing_is_left(gateway)


@pytest.mark.parametrize("media_type", ["audio/wav", "multipart/form-data; boundary=x"])
def test_a_body_of_unknown_length_is_refused_as_soon_as_it_passes_the_cap(
    media_type: str, wire: socket.socket, gateway: Gateway
) -> None:
    wire.sendall(head(f"Content-Type: {media_type}", "Transfer-Encoding: chunked"))
    start = form(FILE, end=b"")[:-2] if "form" in media_type else b""
    chunk = start + bytes(2**20)
    for _ in range(3):  # 3 MiB: just beyond the cap, and no end of the body
        wire.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        chunk = bytes(2**20)
    assert read_answer(wire).startswith(b"HTTP/1.1 413 ")
    assert_nothing_is_left(gateway)


def test_fields_without_end_are_refused_at_their_own_limit(wire: socket.socket, gateway: Gateway) -> None:
    wire.sendall(head("Content-Type: multipart/form-data; boundary=x", "Transfer-Encoding: chunked"))
    chunk = form(field("lane", b"y" * 5000), end=b"")
    wire.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
    assert read_answer(wire).startswith(b"HTTP/1.1 400 ")
    assert_nothing_is_left(gateway)


def test_a_recording_of_exactly_the_cap_is_read(http: httpx.Client, gateway: Gateway) -> None:
    body = text_renamed().ljust(gateway.settings.max_upload_bytes, b".")
    assert http.post("/v1/jobs", content=body).status_code == 415
    assert http.post("/v1/jobs", files={"file": body}).status_code == 415
    assert http.post("/v1/jobs", content=body + b".").status_code == 413
    assert http.post("/v1/jobs", files={"file": body + b"."}).status_code == 413
    assert_nothing_is_left(gateway)


def test_a_caller_who_leaves_halfway_leaves_nothing(wire: socket.socket, http: httpx.Client, gateway: Gateway) -> None:
    wire.sendall(head("Content-Type: audio/wav", "Content-Length: 100000", "Idempotency-Key: k") + bytes(50_000))
    wire.close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while 'status="499"' not in http.get("/metrics").text:
        assert time.monotonic() < deadline
    assert_nothing_is_left(gateway)


def test_uploads_rest_in_the_work_folder_while_they_come(http: httpx.Client, gateway: Gateway) -> None:
    sizes: list[int] = []

    def body() -> Iterator[bytes]:
        for _ in range(5):
            yield bytes(500_000)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not sizes or sizes[-1] < 2**20:
            files = (path for upload in gateway.uploads() for path in upload.rglob("*") if path.is_file())
            sizes.extend(path.stat().st_size for path in files)
            assert time.monotonic() < deadline
        yield b"end"

    http.post("/v1/jobs", content=body())
    assert sizes[-1] >= 2**20
    assert_nothing_is_left(gateway)


def test_several_files_that_find_no_room_together_are_told_as_an_outage(
    http: httpx.Client, song: bytes, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("divisi.gateway.uploads.pack_files", lambda folder, _: pack_files(folder, Path("/dev/full")))
    answer = http.post("/v1/jobs", files=[("file", ("left.wav", song)), ("file", ("right.wav", song))])
    assert (answer.status_code, answer.json()["code"]) == (503, "disk-full")
    assert_nothing_is_left(gateway)
