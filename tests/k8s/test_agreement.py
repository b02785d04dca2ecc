"""What the manifests say equals what the code does: settings, ports, streams, times, paths, versions."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml
from fastapi.routing import APIRoute
from tests.k8s.manifests import (
    Resource,
    containers,
    environment,
    find,
    name,
    of_kind,
    pod,
    render,
    settings_of,
    workloads,
)

from divisi.bootstrap import open_bundles, open_door, open_store
from divisi.contract.request import Lane
from divisi.gateway.app import STOP_SECONDS, create_app
from divisi.gateway.open_routes import asset_router, page_router
from divisi.settings import Settings
from divisi.timing import ANSWER_SECONDS
from divisi.worker.health import STALE_HEARTBEAT_SECONDS
from divisi.worker.supervisor import _LAST_WORDS_SECONDS as LAST_WORDS_SECONDS

ROOT = Path(__file__).resolve().parents[2]
# What the ingress must not lead to.
INSIDE = {"/livez", "/readyz", "/metrics"}
OURS = {"gateway", "worker"}


def ours(resources: list[Resource]) -> dict[str, tuple[Resource, Resource]]:
    """Workload and container of each of divisi's own processes."""
    return {
        container["name"]: (workload, container)
        for workload in workloads(resources)
        for container in containers(workload)
        if container["name"] in OURS
    }


def port(container: Resource, wanted: str) -> int:
    return next(int(port["containerPort"]) for port in container["ports"] if port["name"] == wanted)


def test_every_setting_is_one_that_the_code_reads_and_takes(resources: list[Resource]) -> None:
    for _, container in ours(resources).values():
        settings_of(container, resources)


def test_a_setting_that_nobody_reads_is_found(tree: Path) -> None:
    path = tree / "base/kustomization.yaml"
    path.write_text(path.read_text().replace("DIVISI_LEASE_SECONDS", "DIVISI_LEASE_SECOND"))
    resources = render(tree / "overlays/dev")
    with pytest.raises(AssertionError, match="DIVISI_LEASE_SECOND"):
        settings_of(ours(resources)["worker"][1], resources)


def test_gateway_and_workers_read_the_same_queue_and_store(resources: list[Resource]) -> None:
    gateway, worker = (settings_of(ours(resources)[process][1], resources) for process in ("gateway", "worker"))
    for field in (
        *("redis_url", "redis_prefix", "store_url", "s3_endpoint", "s3_region", "s3_access_key_id"),
        *("lease_seconds", "max_attempts", "retention_seconds", "default_model"),
    ):
        assert getattr(gateway, field) == getattr(worker, field), field
    assert gateway.store_url.startswith("s3://")
    redis = find(resources, "Service/redis")
    assert f"@redis:{redis['spec']['ports'][0]['port']}/" in gateway.redis_url


def test_ports_are_those_that_the_processes_listen_on(resources: list[Resource]) -> None:
    _, gateway = ours(resources)["gateway"]
    _, worker = ours(resources)["worker"]
    assert port(gateway, "http") == settings_of(gateway, resources).port
    assert port(worker, "health") == settings_of(worker, resources).worker_metrics_port


def test_probes_ask_for_paths_that_are_served(resources: list[Resource]) -> None:
    for process, (_, container) in ours(resources).items():
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez", process
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz", process
    _, gateway = ours(resources)["gateway"]
    assert gateway["readinessProbe"]["timeoutSeconds"] > ANSWER_SECONDS
    _, worker = ours(resources)["worker"]
    probe = worker["livenessProbe"]
    # A loop may be silent for as long as the code says, and is not killed for one slow answer.
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 20
    assert probe["periodSeconds"] <= STALE_HEARTBEAT_SECONDS


def test_grace_periods_outlast_draining(resources: list[Resource]) -> None:
    workload, worker = ours(resources)["worker"]
    drain = settings_of(worker, resources).drain_seconds
    assert pod(workload)["spec"]["terminationGracePeriodSeconds"] >= drain + LAST_WORDS_SECONDS + 10
    workload, gateway = ours(resources)["gateway"]
    pause = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(workload)["spec"]["terminationGracePeriodSeconds"] >= pause + STOP_SECONDS + 5


def streams(resources: list[Resource]) -> set[str]:
    """Streams that decide how many workers there are."""
    (scaler,) = of_kind(resources, "ScaledObject")
    assert {trigger["type"] for trigger in scaler["spec"]["triggers"]} == {"redis-streams"}
    return {trigger["metadata"]["stream"] for trigger in scaler["spec"]["triggers"]}


def streams_of_the_code(resources: list[Resource]) -> set[str]:
    door = open_door(settings_of(ours(resources)["worker"][1], resources))
    return {door.stream(lane) for lane in Lane}


@pytest.mark.parametrize("overlay", ["production-cpu", "production-gpu"])
def test_autoscaling_reads_the_streams_that_jobs_go_through(rendered: dict[str, list[Resource]], overlay: str) -> None:
    resources = rendered[overlay]
    assert streams(resources) == streams_of_the_code(resources)
    (scaler,) = of_kind(resources, "ScaledObject")
    redis = find(resources, "Service/redis")
    address = f"redis.{redis['metadata']['namespace']}.svc.cluster.local:{redis['spec']['ports'][0]['port']}"
    assert {trigger["metadata"]["address"] for trigger in scaler["spec"]["triggers"]} == {address}


def test_a_renamed_stream_is_found(tree: Path) -> None:
    path = tree / "components/autoscaling/scaled-object.yaml"
    path.write_text(path.read_text().replace("divisi:jobs:batch", "divisi:jobs:bulk"))
    resources = render(tree / "overlays/production-cpu")
    assert streams(resources) != streams_of_the_code(resources)


def test_another_prefix_of_the_keys_is_found(tree: Path) -> None:
    path = tree / "base/kustomization.yaml"
    path.write_text(path.read_text().replace("REDIS_PREFIX=divisi", "REDIS_PREFIX=choirs"))
    resources = render(tree / "overlays/production-cpu")
    assert streams(resources) != streams_of_the_code(resources)


def test_gpu_workers_ask_for_a_gpu_and_refuse_to_do_without(rendered: dict[str, list[Resource]]) -> None:
    workload, worker = ours(rendered["production-gpu"])["worker"]
    assert settings_of(worker, rendered["production-gpu"]).device.startswith("cuda")
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "worker-gpu" in worker["image"]
    assert any(toleration["key"] == "nvidia.com/gpu" for toleration in pod(workload)["spec"]["tolerations"])
    assert settings_of(ours(rendered["production-cpu"])["worker"][1], rendered["production-cpu"]).device == "cpu"


def test_images_are_of_this_version(resources: list[Resource]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = [container["image"] for workload in workloads(resources) for container in containers(workload)]
    assert {image.split(":")[1] for image in images if image.startswith("divisi-")} == {version}
    targets = (ROOT / "service/Dockerfile").read_text()
    for image in images:
        if image.startswith("divisi-") and not image.startswith("divisi-store"):
            assert f" AS {image.split(':')[0].removeprefix('divisi-')}\n" in targets


@pytest.mark.parametrize("overlay", ["production-cpu", "production-gpu"])
def test_the_ingress_leads_to_page_and_api_and_to_nothing_else(
    rendered: dict[str, list[Resource]], overlay: str
) -> None:
    (ingress,) = of_kind(rendered[overlay], "Ingress")
    rules = ingress["spec"]["rules"][0]["http"]["paths"]

    def is_led_to(path: str) -> bool:
        return any(
            path == rule["path"] or (rule["pathType"] == "Prefix" and path.startswith(rule["path"].rstrip("/") + "/"))
            for rule in rules
        )

    unused = Settings(store_url="memory://")
    app = create_app(unused, open_door(unused), open_store(unused), open_bundles(unused))
    shown = [*page_router.routes, *asset_router.routes]
    paths = {*app.openapi()["paths"], *(route.path for route in shown if isinstance(route, APIRoute))}
    assert {"/", "/page/{name}", "/docs", "/docs/{name}", "/openapi.json"} < paths
    assert {path for path in paths if not is_led_to(path)} == INSIDE


def test_uploads_may_be_as_large_at_the_door_as_behind_it(rendered: dict[str, list[Resource]]) -> None:
    resources = rendered["production-cpu"]
    gateway = settings_of(ours(resources)["gateway"][1], resources)
    (ingress,) = of_kind(resources, "Ingress")
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size) == gateway.max_upload_bytes
    assert gateway.behind_tls
    assert gateway.require_keys


def test_torchserve_stands_beside_its_worker_and_shares_its_key(rendered: dict[str, list[Resource]]) -> None:
    resources = rendered["torchserve"]
    workload, worker = ours(resources)["worker"]
    settings = settings_of(worker, resources)
    assert settings.engine == "torch_serve"
    (server,) = pod(workload)["spec"]["initContainers"]
    assert server["restartPolicy"] == "Always"
    # On loopback alone: whoever shares the pod reaches it, and nobody else.
    assert (
        settings.torch_serve_url == server["args"][server["args"].index("--inference") + 1] == "http://127.0.0.1:8080"
    )
    assert "ports" not in server
    folders = [
        {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "keys"}
        for container in (worker, server)
    ]
    assert settings.torch_serve_key_file is not None
    assert folders == [{str(settings.torch_serve_key_file.parent)}] * 2
    assert f'"--key-file", "{settings.torch_serve_key_file}"' in (ROOT / "service/Dockerfile").read_text()


def test_prometheus_shows_a_key_where_the_gateway_asks_for_one(resources: list[Resource]) -> None:
    _, gateway = ours(resources)["gateway"]
    for monitor in of_kind(resources, "ServiceMonitor"):
        for endpoint in monitor["spec"]["endpoints"]:
            assert ("authorization" in endpoint) == settings_of(gateway, resources).require_keys


def test_alerts_are_those_of_the_rule_file(rendered: dict[str, list[Resource]]) -> None:
    groups = find(rendered["production-cpu"], "PrometheusRule/divisi")["spec"]["groups"]
    assert groups == yaml.safe_load((ROOT / "service/monitoring/alerts.yml").read_text())["groups"]


def test_redis_keeps_everything(resources: list[Resource]) -> None:
    (container,) = containers(find(resources, "StatefulSet/redis"))
    options = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert environment(container, resources)["REDIS_PASSWORD"]


def test_pods_may_speak_only_where_a_policy_says_so(resources: list[Resource]) -> None:
    policies = {name(policy): policy["spec"] for policy in of_kind(resources, "NetworkPolicy")}
    deny = policies["NetworkPolicy/default-deny"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for label, spec in policies.items():
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            assert rule.get("ports"), f"{label} opens every port"
            assert rule.get("from") or rule.get("to"), f"{label} opens to everybody"
