"""`divisi doctor` against deployments that are really broken."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from divisi.contract.card import ModelCard
from divisi.models.bundle import CARD_FILE, write_card, write_checksums

if TYPE_CHECKING:
    from tests.machine.conftest import Divisi, Ran

StartRedis = Callable[[int], subprocess.Popen[str]]


@pytest.fixture
def model_store(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "quartet" / "1.0.0"
    folder.mkdir(parents=True)
    card = ModelCard(
        id="quartet",
        version="1.0.0",
        title="quartet",
        description="For tests.",
        stem_family="satb",
        stems=("soprano", "alto", "tenor", "bass"),
        sample_rate=16_000,
        segment_length=16_000,
    )
    write_card(card, folder / CARD_FILE)
    write_checksums(folder, [CARD_FILE])
    return tmp_path / "models"


@pytest.fixture
def doctor(divisi: Divisi, model_store: Path, tmp_path: Path) -> Divisi:
    def run(*arguments: str, **settings: object) -> Ran:
        plain = {
            "model_store": model_store,
            "default_model": "quartet",
            "work_dir": tmp_path / "work",
            "max_upload_bytes": 10**6,
        }
        return divisi("doctor", *arguments, **{**plain, **settings})

    return run


@pytest.fixture
def own_redis(start_redis: StartRedis) -> tuple[str, redis.Redis]:
    """A Redis that the test may spoil."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    start_redis(port)
    url = f"redis://127.0.0.1:{port}/0"
    return url, redis.Redis.from_url(url)


def findings(run: Ran) -> dict[str, tuple[str, str]]:
    """By subject: verdict, and what was said of it."""
    found: dict[str, tuple[str, str]] = {}
    subject = ""
    for line in run.stdout.splitlines():
        if not line.startswith("│"):
            continue
        verdict, name, said = (cell.strip() for cell in re.split("│", line)[1:4])
        subject = name or subject
        known = found.get(subject, (verdict, ""))
        found[subject] = (known[0], f"{known[1]} {said}".strip())
    return found


def test_a_sound_deployment_passes(doctor: Divisi, own_redis: tuple[str, redis.Redis], tmp_path: Path) -> None:
    url, client = own_redis
    client.config_set("appendonly", "yes")
    run = doctor(redis_url=url)
    assert run.returncode == 0, run.stdout + run.stderr
    assert {verdict for verdict, _ in findings(run).values()} == {"good"}, run.stdout
    assert not list((tmp_path / "store").rglob("*"))  # nothing is left of the probe


def test_no_redis_is_a_fault_and_the_rest_is_examined_all_the_same(doctor: Divisi) -> None:
    run = doctor(redis_url="redis://127.0.0.1:9/0")
    found = findings(run)
    assert run.returncode == 1
    assert found["Redis"][0] == "bad"
    assert "→ start Redis, or set DIVISI_REDIS_URL" in found["Redis"][1]
    assert found["object store"][0] == found["engine"][0] == "good"


def test_a_redis_that_evicts_is_a_fault(doctor: Divisi, own_redis: tuple[str, redis.Redis]) -> None:
    url, client = own_redis
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    run = doctor(redis_url=url)
    verdict, said = findings(run)["Redis memory"]
    assert (run.returncode, verdict) == (1, "bad")
    assert "maxmemory-policy noeviction" in said


def test_a_redis_that_keeps_nothing_on_disk_is_doubtful(doctor: Divisi, own_redis: tuple[str, redis.Redis]) -> None:
    run = doctor(redis_url=own_redis[0])
    verdict, said = findings(run)["Redis on disk"]
    assert (run.returncode, verdict) == (0, "doubtful")
    assert "appendonly yes" in said


def test_a_replica_is_a_fault(doctor: Divisi, own_redis: tuple[str, redis.Redis], redis_url: str) -> None:
    url, client = own_redis
    primary = redis.connection.parse_url(redis_url)
    client.slaveof(primary["host"], primary["port"])
    run = doctor(redis_url=url)
    assert run.returncode == 1
    assert findings(run)["Redis"][0] == "bad"


def test_a_store_that_cannot_be_written_is_a_fault(doctor: Divisi, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    run = doctor(store_url=f"file://{tmp_path / 'a file' / 'store'}")
    verdict, said = findings(run)["object store"]
    assert (run.returncode, verdict) == (1, "bad")
    assert "DIVISI_STORE_URL" in said


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A folder that nobody can write to, root neither."""
    folder = tmp_path / "sealed"
    folder.mkdir()
    if os.getuid() != 0:
        folder.chmod(0o555)
        return folder
    # What root may not write to: a file system of the kernel's own.
    return Path("/proc/sys")


def test_folders_that_are_read_only_are_faults(doctor: Divisi, read_only: Path) -> None:
    run = doctor(store_url=f"file://{read_only}", work_dir=read_only)
    found = findings(run)
    assert run.returncode == 1
    assert found["object store"][0] == found["work folder"][0] == "bad"
    assert "DIVISI_WORK_DIR" in found["work folder"][1]


def test_a_bucket_is_written_read_linked_and_left_clean(doctor: Divisi, s3_endpoint: str) -> None:
    keys = {"s3_access_key_id": "test", "s3_secret_access_key": "test"}
    run = doctor(store_url="s3://recordings/doctor-test", s3_endpoint=s3_endpoint, **keys)
    found = findings(run)
    assert found["object store"][0] == found["download links"][0] == "good", run.stdout


def test_links_that_clients_cannot_follow_are_a_fault(doctor: Divisi, s3_endpoint: str) -> None:
    keys = {"s3_access_key_id": "test", "s3_secret_access_key": "test"}
    place = {"s3_endpoint": s3_endpoint, "s3_public_endpoint": "http://127.0.0.1:9"}
    run = doctor(store_url="s3://recordings/doctor-test", **place, **keys)
    verdict, said = findings(run)["download links"]
    assert (run.returncode, verdict) == (1, "bad")
    assert "DIVISI_S3_PUBLIC_ENDPOINT" in said


def test_a_bucket_that_is_not_there_is_a_fault(doctor: Divisi, s3_endpoint: str) -> None:
    keys = {"s3_access_key_id": "test", "s3_secret_access_key": "test"}
    run = doctor(store_url="s3://no-such-bucket", s3_endpoint=s3_endpoint, **keys)
    verdict, said = findings(run)["object store"]
    assert (run.returncode, verdict) == (1, "bad")
    assert "bucket" in said


def test_a_damaged_bundle_is_a_fault(doctor: Divisi, model_store: Path) -> None:
    card = model_store / "quartet" / "1.0.0" / CARD_FILE
    card.write_text(card.read_text() + "\n")
    run = doctor()
    verdict, said = findings(run)["model quartet 1.0.0"]
    assert (run.returncode, verdict) == (1, "bad")
    assert "SHA-256" in said


def test_no_models_are_a_fault_except_where_none_are_needed(doctor: Divisi, model_store: Path) -> None:
    shutil.rmtree(model_store / "quartet")
    run = doctor()
    assert run.returncode == 1
    assert "DIVISI_MODEL_STORE" in findings(run)["models"][1]
    assert doctor("--without-models").returncode == 0


def test_a_device_that_is_not_there_is_a_fault(doctor: Divisi) -> None:
    run = doctor(device="cuda")
    verdict, said = findings(run)["engine"]
    assert (run.returncode, verdict) == (1, "bad")
    assert "DIVISI_DEVICE" in said
