"""A full disk is an outage, not a crash."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import pytest

from divisi.contract.errors import UnavailableError
from divisi.gateway.multipart_form import UploadSink

pytestmark = pytest.mark.anyio


async def test_what_comes_is_hashed_once_however_it_comes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    with (tmp_path / "upload").open("wb") as file:
        sink = UploadSink(lambda: file, max_bytes=len(data))
        for start in range(0, len(data), 65_537):
            sink.add(data[start : start + 65_537])
            await sink.settle()
        await sink.flush()
    assert (tmp_path / "upload").read_bytes() == data
    assert sink.measured == (len(data), hashlib.sha256(data).hexdigest(), zlib.crc32(data))


async def test_a_full_disk_is_told_as_an_outage() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        sink = UploadSink(lambda: full, max_bytes=100)
        sink.add(b"some of it")
        with pytest.raises(UnavailableError) as caught:
            await sink.flush()
    assert caught.value.code == "disk-full"
