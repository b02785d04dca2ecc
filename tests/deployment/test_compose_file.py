"""docker-compose.yml agrees with the code, keeps to this machine, and contains what it runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from divisi.settings import Settings
from divisi.worker.supervisor import _LAST_WORDS_SECONDS as LAST_WORDS_SECONDS

ROOT = Path(__file__).resolve().parents[2]
Service = dict[str, Any]


def with_defaults(text: str) -> str:
    """`${NAME:-default}` as compose reads it where nothing is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


COMPOSE = yaml.safe_load(with_defaults((ROOT / "docker-compose.yml").read_text()))
SERVICES: dict[str, Service] = COMPOSE["services"]
OURS = [name for name in SERVICES if name == "gateway" or name.startswith("worker")]


def settings_of(service: Service) -> Settings:
    values = {key.removeprefix("DIVISI_").lower(): value for key, value in service["environment"].items()}
    assert values.keys() <= Settings.model_fields.keys()
    return Settings(**values)


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting_and_all_processes_share_queue_and_store(name: str) -> None:
    settings, gateway = settings_of(SERVICES[name]), settings_of(SERVICES["gateway"])
    for field in ("redis_url", "redis_prefix", "store_url", "s3_endpoint", "s3_access_key_id", "lease_seconds"):
        assert getattr(settings, field) == getattr(gateway, field), field


@pytest.mark.parametrize("name", [name for name in OURS if name != "gateway"])
def test_workers_have_the_time_to_hand_their_job_back(name: str) -> None:
    grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace >= settings_of(SERVICES[name]).drain_seconds + LAST_WORDS_SECONDS + 5


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_the_loopback_interface_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_what_runs_is_contained_and_of_one_version(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges"]
    image, _, tag = service["image"].rpartition(":")
    assert re.search(r"\d+\.\d+", tag), f"{service['image']} is not pinned"
    if image.startswith("divisi-"):
        assert tag == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_redis_keeps_everything() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def test_two_workers_run_and_a_gpu_worker_runs_on_the_gpu() -> None:
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert settings_of(SERVICES["worker"]).device == "cpu"
    assert settings_of(SERVICES["worker-gpu"]).device.startswith("cuda")
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_prometheus_asks_every_service_that_has_metrics() -> None:
    jobs = yaml.safe_load((ROOT / "service/monitoring/prometheus.yml").read_text())["scrape_configs"]
    assert {name for job in jobs for source in job["dns_sd_configs"] for name in source["names"]} == set(OURS)


def test_torchserve_and_its_worker_share_the_key() -> None:
    settings = settings_of(SERVICES["worker-torchserve"])
    assert settings.engine == "torch_serve"
    assert settings.torch_serve_url == "http://torchserve:8080"
    assert settings.torch_serve_key_file == Path("/keys/key.json")
    assert "keys:/keys" in SERVICES["torchserve"]["volumes"]
    assert "keys:/keys:ro" in SERVICES["worker-torchserve"]["volumes"]


def test_what_is_built_is_a_target_of_the_dockerfile() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "service/Dockerfile").read_text(), re.MULTILINE)
    for service in SERVICES.values():
        build = service.get("build", {})
        if "target" in build:
            assert build["target"] in stages
            assert service["image"].startswith(f"divisi-{build['target']}:")
