"""A stack of docker-compose.yml's services under a name of its own, with docker or podman; compose_job.py uses it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 600.0
HEALTH_CHECK_SECONDS = 1.0
LANES = ("interactive", "batch")
# Services that separate, and how many of each docker-compose.yml starts.
WORKERS = {"worker": 2, "worker-torchserve": 1, "worker-gpu": 1}


@dataclass
class Stack:
    """The services under a project name, ports and volumes of their own.

    Args:
        engine: `docker` or `podman`.
        compose: the command that reads docker-compose.yml.
        worker: the service that separates, one of `WORKERS`; any but `worker` comes alone, by its profile.
    """

    engine: str
    compose: list[str]
    worker: str = "worker"
    project: str = field(default_factory=lambda: f"divisi-{uuid.uuid4().hex[:6]}")
    port: int = field(default_factory=lambda: free_port())
    store_port: int = field(default_factory=lambda: free_port())

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        return f"http://127.0.0.1:{self.port}"

    def run_compose(self, *arguments: str) -> None:
        """A command of compose; ends the script with what it printed when it fails."""
        file = str(ROOT / "docker-compose.yml")
        profile = [] if self.worker == "worker" else ["--profile", self.worker.removeprefix("worker-")]
        command = [*self.compose, "--project-name", self.project, "--file", file, *profile, *arguments]
        run = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{run.stdout}{run.stderr}")

    def ask(self, *arguments: str) -> str:
        """What a command of the engine prints."""
        command = [self.engine, *arguments]
        return subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False
        ).stdout.strip()

    def containers(self, service: str = "") -> list[str]:
        """Names of this stack's containers, of one service or of all."""
        filters = ["--filter", f"label=com.docker.compose.project={self.project}"]
        if service:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        return sorted(self.ask("ps", *filters, "--format", "{{.Names}}").split())

    def keep_checking(self, stopping: threading.Event) -> None:
        """Runs health checks until all is well. podman leaves this to systemd, which is not everywhere."""
        while not stopping.wait(HEALTH_CHECK_SECONDS):
            for name in self.containers():
                if self._health(name) != "healthy":
                    self.ask("healthcheck", "run", name)

    def start(self) -> None:
        """Brings the services up; returns when the gateway and all workers say that they are ready."""
        self.run_compose("up", "--detach", *([] if self.worker == "worker" else ["--scale", "worker=0"]))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (is_ready(self.url) and self._healthy_workers() == WORKERS[self.worker]):
            if time.monotonic() > deadline:
                logs = "".join(self.ask("logs", "--tail", "20", name) for name in self.containers())
                sys.exit(f"not ready after {PATIENCE_SECONDS:.0f} s:\n{self.ask('ps', '--all')}\n{logs}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Takes the services down and removes their volumes."""
        self.run_compose("down", "--volumes")

    def stream_length(self) -> int:
        """Entries left in the streams of both lanes."""
        redis = self.containers("redis")[0]
        return sum(int(self.ask("exec", redis, "redis-cli", "xlen", f"divisi:jobs:{lane}")) for lane in LANES)

    def _healthy_workers(self) -> int:
        return [self._health(name) for name in self.containers(self.worker)].count("healthy")

    def _health(self, container: str) -> str:
        return self.ask("inspect", "--format", "{{.State.Health.Status}}", container)

    def _environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_CONF": str(ROOT / "service/images/containers.conf"),
            **os.environ,
            "DIVISI_PUBLISHED_PORT": str(self.port),
            "DIVISI_STORE_PUBLISHED_PORT": str(self.store_port),
            "DIVISI_S3_PUBLIC_ENDPOINT": f"http://127.0.0.1:{self.store_port}",
        }


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def is_ready(url: str) -> bool:
    """Whether a gateway answers that it is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def find_engine(wanted: str | None, worker: str) -> Stack:
    """docker with its compose plugin where it works, else podman with podman-compose."""
    if wanted in (None, "docker") and shutil.which("docker"):
        alive = subprocess.run(["docker", "compose", "ls"], capture_output=True, check=False).returncode == 0
        if alive:
            return Stack("docker", ["docker", "compose"], worker)
    beside = Path(sys.executable).with_name("podman-compose")
    compose = shutil.which("podman-compose") or (str(beside) if beside.exists() else None)
    if wanted == "docker" or compose is None or not shutil.which("podman"):
        sys.exit("needs docker with its compose plugin, or podman and podman-compose (pip install podman-compose)")
    return Stack("podman", [compose], worker)
