"""A full disk is an outage, not a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from divisi.errors import UnavailableError
from divisi.gateway.upload_sink import UploadSink

pytestmark = pytest.mark.anyio


async def test_a_full_disk_is_told_as_an_outage() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        sink = UploadSink(full, max_bytes=100)
        sink.add(b"some of it")
        with pytest.raises(UnavailableError) as caught:
            await sink.flush()
    assert caught.value.code == "disk-full"
