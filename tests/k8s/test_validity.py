"""Every overlay renders to what a strict API server takes, and whatever one names in another is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.k8s.manifests import (
    Resource,
    containers,
    find,
    name,
    of_kind,
    pod,
    problems,
    render,
    workloads,
)

# Made by the operator, not by us: docs/deployment.md.
SECRETS_FROM_OUTSIDE = {"divisi-secrets", "divisi-tls"}


def all_problems(resources: list[Resource]) -> list[str]:
    return [problem for resource in resources for problem in problems(resource)]


def plant(tree: Path, file: str, old: str, new: str) -> None:
    path = tree / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_api_server_takes_every_resource(resources: list[Resource]) -> None:
    assert all_problems(resources) == []


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("base/worker.yaml", "terminationGracePeriodSeconds", "terminationGracePeriodSecond"),
        ("components/autoscaling/scaled-object.yaml", "cooldownPeriod", "coolDownPeriod"),
        ("components/autoscaling/scaled-object.yaml", "streamLength", "streamLenght"),
        ("components/monitoring/monitors.yaml", "podMetricsEndpoints", "podMetricEndpoints"),
    ],
    ids=["core", "keda", "trigger", "prometheus"],
)
def test_a_misspelt_field_is_found(tree: Path, file: str, old: str, new: str) -> None:
    plant(tree, file, old, new)
    found = all_problems(render(tree / "overlays/production-cpu"))
    assert any(new in problem for problem in found), found


@pytest.mark.parametrize(
    ("old", "new"), [("kind: ScaledObject", "kind: ScaledObjekt"), ("keda.sh/v1alpha1", "keda.sh/v1")]
)
def test_an_unknown_kind_is_found(tree: Path, old: str, new: str) -> None:
    plant(tree, "components/autoscaling/scaled-object.yaml", old, new)
    assert any("find schema" in problem for problem in all_problems(render(tree / "overlays/production-cpu")))


def test_secrets_config_maps_and_accounts_that_are_named_exist(resources: list[Resource]) -> None:
    there = {name(resource) for resource in resources}
    there |= {f"Secret/{secret}" for secret in SECRETS_FROM_OUTSIDE}
    for workload in workloads(resources):
        named = {f"ServiceAccount/{pod(workload)['spec']['serviceAccountName']}"}
        for container in containers(workload):
            named |= {f"ConfigMap/{source['configMapRef']['name']}" for source in container.get("envFrom", [])}
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    named.add(f"Secret/{reference['name']}")
        assert named <= there, f"{name(workload)}: {sorted(named - there)}"


def test_volumes_that_are_mounted_exist_and_nothing_else_is_written_to(resources: list[Resource]) -> None:
    for workload in workloads(resources):
        volumes = {volume["name"] for volume in pod(workload)["spec"].get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        mounted = {mount["name"] for container in containers(workload) for mount in container.get("volumeMounts", [])}
        assert mounted == volumes, name(workload)
        for volume in pod(workload)["spec"].get("volumes", []):
            assert "sizeLimit" in volume.get("emptyDir", {}), f"{name(workload)}: {volume['name']} may grow for ever"


def test_selectors_find_their_pods(resources: list[Resource]) -> None:
    labels = {name(workload): pod(workload)["metadata"]["labels"] for workload in workloads(resources)}

    def selects(selector: dict[str, str]) -> bool:
        return any(selector.items() <= found.items() for found in labels.values())

    for workload in workloads(resources):
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels[name(workload)].items()
    for service in of_kind(resources, "Service"):
        assert selects(service["spec"]["selector"]), name(service)
    for policy in of_kind(resources, "NetworkPolicy"):
        assert selects(policy["spec"]["podSelector"].get("matchLabels", {})), name(policy)
    for budget in of_kind(resources, "PodDisruptionBudget"):
        assert selects(budget["spec"]["selector"]["matchLabels"]), name(budget)
    for monitor in of_kind(resources, "PodMonitor"):
        assert selects(monitor["spec"]["selector"]["matchLabels"]), name(monitor)
    services = [service["metadata"]["labels"] for service in of_kind(resources, "Service")]
    for monitor in of_kind(resources, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        assert any(wanted.items() <= found.items() for found in services), name(monitor)


def test_what_scales_and_what_the_ingress_leads_to_exists(resources: list[Resource]) -> None:
    for scaler in of_kind(resources, "HorizontalPodAutoscaler"):
        find(resources, f"Deployment/{scaler['spec']['scaleTargetRef']['name']}")
    for scaler in of_kind(resources, "ScaledObject"):
        target = find(resources, f"Deployment/{scaler['spec']['scaleTargetRef']['name']}")
        assert "replicas" not in target["spec"], "every apply would undo what KEDA decided"
        for trigger in scaler["spec"]["triggers"]:
            find(resources, f"TriggerAuthentication/{trigger['authenticationRef']['name']}")
    for ingress in of_kind(resources, "Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            backend = path["backend"]["service"]
            service = find(resources, f"Service/{backend['name']}")
            assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
