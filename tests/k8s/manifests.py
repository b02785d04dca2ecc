"""Renders overlays and says what is wrong with them; the tests of this folder ask here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from pydantic import ValidationError
from tests.k8s.custom_resources import CUSTOM_RESOURCES

from divisi.settings import Settings

KUBERNETES_VERSION = "1.32"
OVERLAYS = ("dev", "production-cpu", "production-gpu")
TREE = Path(__file__).resolve().parents[2] / "k8s"

Resource = dict[str, Any]


def render(overlay: Path) -> list[Resource]:
    """What `kubectl apply -k` would send, in order."""
    run = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [resource for resource in yaml.safe_load_all(run.stdout) if resource]


def problems(resource: Resource) -> list[str]:
    """What a strict API server would refuse: unknown fields, wrong types, and kinds that nobody knows."""
    kind = (resource["apiVersion"], resource["kind"])
    try:
        if kind in CUSTOM_RESOURCES:
            CUSTOM_RESOURCES[kind].model_validate(resource)
        else:
            kubernetes_validate.validate(resource, KUBERNETES_VERSION, strict=True)
    except (ValidationError, kubernetes_validate.ValidationError) as error:
        return [f"{name(resource)}: {error}"]
    except kubernetes_validate.SchemaNotFoundError as error:
        return [f"{name(resource)}: {error.message}"]
    return []


def name(resource: Resource) -> str:
    """`Kind/name`."""
    return f"{resource['kind']}/{resource['metadata']['name']}"


def find(resources: list[Resource], wanted: str) -> Resource:
    """The resource called `Kind/name`."""
    found = [resource for resource in resources if name(resource) == wanted]
    assert len(found) == 1, f"{wanted}: {len(found)} of them"
    return found[0]


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    """All resources of some kinds."""
    return [resource for resource in resources if resource["kind"] in kinds]


def workloads(resources: list[Resource]) -> list[Resource]:
    """Everything that makes pods."""
    return of_kind(resources, "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def pod(workload: Resource) -> Resource:
    """The pod template of a workload, with `metadata` and `spec`."""
    template: Resource = workload["spec"]["template"]
    return template


def containers(workload: Resource) -> Iterator[Resource]:
    """All containers of a workload's pods, those that run first included."""
    spec = pod(workload)["spec"]
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def environment(container: Resource, resources: list[Resource]) -> dict[str, str]:
    """What a container finds in its environment; a value out of a Secret is `secret`, as nobody here knows it."""
    values: dict[str, str] = {}
    for source in container.get("envFrom", []):
        values |= find(resources, f"ConfigMap/{source['configMapRef']['name']}")["data"]
    for variable in container.get("env", []):
        values[variable["name"]] = variable.get("value", "secret")
    return values


def settings_of(container: Resource, resources: list[Resource]) -> Settings:
    """The settings that a container of divisi would read there; a variable that no setting is named by fails."""
    given = {key: value for key, value in environment(container, resources).items() if key.startswith("DIVISI_")}
    fields = {key.removeprefix("DIVISI_").lower(): value for key, value in given.items()}
    unknown = sorted(key for key in given if key.removeprefix("DIVISI_").lower() not in Settings.model_fields)
    assert not unknown, f"{container['name']}: nobody reads {', '.join(unknown)}"
    return Settings(**fields)  # type: ignore[arg-type]
