"""`divisi up` that asks for keys: made beside it, shown by the client, revoked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.client import Client
from divisi.contract.errors import AccessError

DIVISI = [sys.executable, "-m", "divisi.cli"]


def keys(*arguments: str) -> str:
    return subprocess.run(
        [*DIVISI, "keys", *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    ).stdout


def test_a_machine_that_asks_for_keys_serves_their_holders_only(tmp_path: Path) -> None:
    port, data = free_port(), str(tmp_path / "data")
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "DIVISI_REQUIRE_KEYS": "true", "DIVISI_ENGINE": "passthrough"}
    command = [*DIVISI, "up", "--data", data, "--port", str(port)]
    with subprocess.Popen(command, env=environment) as machine:
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not _answers(url):
                assert machine.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            token = keys("create", "tenor", "--data", data).split()[1]
            with Client(url) as nobody, pytest.raises(AccessError, match="API key"):
                nobody.models()
            with Client(url, api_key=token) as holder:
                assert holder.models()
                keys("revoke", token.split("_")[1], "--data", data)
                with pytest.raises(AccessError, match="revoked"):
                    holder.models()
        finally:
            machine.send_signal(signal.SIGTERM)
            machine.wait(PATIENCE_SECONDS)
    assert machine.returncode == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False
