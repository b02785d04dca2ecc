"""What this deployment is: every setting, read once from the environment (`DIVISI_…`), frozen, validated.

The only door to `os.environ`. What belongs to a model is in its card, what belongs to a request in SeparationOptions.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def default_model_store() -> Path:
    """`./model_store` where the process stands, else the one of the checkout that this package runs from."""
    here = Path("model_store")
    beside_package = Path(__file__).resolve().parents[2] / "model_store"
    return here.resolve() if here.is_dir() else beside_package


class Settings(BaseSettings):
    """Settings of one deployment. Every field is set by the variable `DIVISI_<FIELD>` or keeps its default."""

    model_config = SettingsConfigDict(env_prefix="DIVISI_", frozen=True, extra="ignore")

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis that holds the job queue.")
    redis_prefix: str = Field("divisi", description="First part of every Redis key.")
    store_url: str = Field(
        "file://./.divisi/store", description="Object store: file://PATH, memory:// or s3://BUCKET/PREFIX."
    )
    s3_endpoint: str | None = Field(None, description="Address of an S3-speaking server other than AWS.")
    s3_public_endpoint: str | None = Field(None, description="Address of that server as clients reach it, for links.")
    s3_region: str = Field("us-east-1", description="S3 region.")
    s3_access_key_id: str | None = Field(None, description="S3 access key; unset: the usual AWS sources.")
    s3_secret_access_key: SecretStr | None = Field(None, description="S3 secret key.")
    model_store: Path = Field(default_factory=default_model_store, description="Folder of model bundles.")
    default_model: str = Field("satb-small", description="Model used when a request names none.")

    host: str = Field("127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the gateway listens on.")
    allow_open_access: bool = Field(False, description="Allow a non-loopback address without access control.")
    max_upload_bytes: int = Field(2 * 1024**3, gt=0, description="Largest upload in bytes.")
    max_duration_seconds: float = Field(3 * 3600, gt=0, description="Longest recording in seconds.")
    max_channels: int = Field(32, ge=1, description="Most audio channels in a recording.")
    inspect_seconds: float = Field(20, gt=0, description="Longest time spent on examining one upload.")
    max_queued_jobs: int = Field(10_000, ge=1, description="Queue length beyond which uploads are answered 503.")
    retention_seconds: float = Field(24 * 3600, gt=0, description="What remains of an ended job is erased after this.")
    link_seconds: float = Field(3600, gt=0, description="Life of a signed download link.")

    lease_seconds: float = Field(15, gt=0, description="A worker silent for longer loses its job to another.")
    max_attempts: int = Field(3, ge=1, description="Attempts before a job goes to the dead letters.")
    job_timeout_seconds: float = Field(6 * 3600, gt=0, description="Longest run of one attempt.")
    drain_seconds: float = Field(
        25, ge=0, description="After SIGTERM a job may run on this long, then it is handed back."
    )
    worker_heartbeat_file: Path | None = Field(None, description="File the worker touches while its loop is alive.")
    worker_metrics_port: int = Field(0, ge=0, le=65535, description="Port of the worker's probes and metrics; 0: none.")
    work_dir: Path | None = Field(None, description="Folder for temporary files; unset: the system's.")
    engine: str = Field("onnx_runtime", description="Engine: onnx_runtime, torch_script, passthrough.")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where the engine must run; no silent fallback.")
    engine_threads: int = Field(1, ge=1, description="Threads inside one operation; scale by processes instead.")
    batch_size: int = Field(1, ge=1, description="Segments of one recording given to the engine at a time.")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else json."
    )

    @model_validator(mode="after")
    def _is_not_open_to_the_world_by_accident(self) -> Self:
        if self.host not in LOOPBACK_HOSTS and not self.allow_open_access:
            raise ValueError(
                f"DIVISI_HOST={self.host} is not a loopback address and no access control is configured; "
                "set DIVISI_ALLOW_OPEN_ACCESS=true if this network is trusted"
            )
        return self


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read from the environment at the first call."""
    return Settings()


def child_environment(settings: Settings, **changes: str) -> dict[str, str]:
    """The environment for a process of the same deployment.

    Args:
        settings: handed on field by field, so that the child reads the same values whatever set them here.
        changes: fields by name that the child shall see otherwise.
    """
    values = {name: value for name, value in settings.model_dump(mode="json").items() if value is not None}
    if settings.s3_secret_access_key is not None:
        values["s3_secret_access_key"] = settings.s3_secret_access_key.get_secret_value()
    values.update(changes)
    return {**os.environ, **{f"DIVISI_{name.upper()}": str(value) for name, value in values.items()}}
