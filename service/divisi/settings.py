"""What this deployment is: every setting, read once from the environment (`DIVISI_…`), frozen, validated.

The service's only door to `os.environ`. What belongs to a model is in its card, what belongs to a request in
SeparationOptions.
"""

from __future__ import annotations

import ipaddress
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def default_model_store() -> Path:
    """`./model_store` where the process stands, else that of the checkout that this package runs from.

    An installed package has no checkout: its own model comes with it (`models.bundle.SHIPPED`).
    """
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
    default_model: str = Field("chorus", description="Model used when a request names none.")

    host: str = Field("127.0.0.1", description="Address the gateway listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the gateway listens on.")
    require_keys: bool = Field(False, description="Serve only callers with an API key (`divisi keys create`).")
    allow_open_access: bool = Field(False, description="Allow a non-loopback address without access control.")
    trusted_proxies: str = Field("", description="Addresses or networks of proxies whose X-Forwarded-For is believed.")
    root_path: str = Field("", description="Path that a proxy serves the gateway below, such as `/divisi`.")
    behind_tls: bool = Field(
        False, description="Clients reach the gateway by HTTPS only; answers ask them to remember it (HSTS)."
    )
    cors_origins: str = Field("", description="Origins whose pages may call the API, such as `https://choir.example`.")
    signing_secret: SecretStr | None = Field(
        None, description="Signs links and seals webhook secrets; unset: one that Redis keeps."
    )
    requests_per_minute: int = Field(600, ge=0, description="Requests a minute of one caller; 0: no limit.")
    max_unfinished_jobs: int = Field(100, ge=0, description="Unfinished jobs of one caller; 0: no limit.")
    max_kept_jobs: int = Field(100, ge=0, description="Jobs that one caller may keep from expiring; 0: no limit.")
    max_upload_bytes_per_day: int = Field(
        50 * 1024**3, ge=0, description="Bytes that one caller may upload in 24 hours; 0: no limit."
    )
    max_audio_seconds_per_day: float = Field(
        48 * 3600, ge=0, description="Audio that one caller may have separated in 24 hours; 0: no limit."
    )
    webhook_allowed_networks: str = Field(
        "", description="Networks that webhooks may reach though they are not public, such as `10.1.0.0/16`."
    )
    webhook_seconds: float = Field(15, gt=0, description="Longest wait for a webhook's receiver.")
    source_allowed_networks: str = Field(
        "", description="Networks that `source_url` may reach though they are not public, such as `10.1.0.0/16`."
    )
    source_buckets: str = Field(
        "", description="Buckets and prefixes that `source_url` may read, such as `s3://choir/incoming`."
    )
    target_buckets: str = Field(
        "", description="Buckets and prefixes that `target` may write to, such as `s3://choir/results`."
    )
    source_seconds: float = Field(600, gt=0, description="Longest time for fetching a recording from `source_url`.")
    max_upload_bytes: int = Field(2 * 1024**3, gt=0, description="Largest upload in bytes.")
    max_duration_seconds: float = Field(3 * 3600, gt=0, description="Longest recording in seconds.")
    max_channels: int = Field(32, ge=1, description="Most audio channels in a recording.")
    max_decoded_bytes: int = Field(
        32 * 1024**3, gt=0, description="Most bytes that a recording may fill as 32-bit samples."
    )
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
    engine: str = Field("onnx_runtime", description="Engine: onnx_runtime, torch_script, torch_serve, passthrough.")
    device: str = Field(
        "cpu",
        pattern=r"^(cpu|cuda(:\d{1,2})?)$",
        description="Where the engine must run: cpu, cuda, cuda:1; no fallback.",
    )
    engine_threads: int = Field(1, ge=1, description="Threads inside one operation; scale by processes instead.")
    torch_serve_url: str = Field("http://127.0.0.1:8080", description="Inference API of engine torch_serve.")
    torch_serve_key_file: Path | None = Field(None, description="File with TorchServe's inference key, JSON.")
    torch_serve_timeout_seconds: float = Field(120, gt=0, description="Longest wait for one answer of TorchServe.")
    batch_size: int | None = Field(
        None, ge=1, description="Segments given to the engine at a time; unset: 1 on a CPU, found at warm-up on a GPU."
    )
    half_precision: bool = Field(False, description="Compute in float16 where model card and engine allow it.")

    otel_endpoint: str | None = Field(
        None, description="Collector of traces (OTLP over HTTP), such as http://collector:4318; needs the extra otel."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else json."
    )

    @model_validator(mode="after")
    def _is_not_open_to_the_world_by_accident(self) -> Self:
        if self.host not in LOOPBACK_HOSTS and not self.require_keys and not self.allow_open_access:
            raise ValueError(
                f"DIVISI_HOST={self.host} is not a loopback address and no access control is configured; "
                "set DIVISI_REQUIRE_KEYS=true, or DIVISI_ALLOW_OPEN_ACCESS=true if this network is trusted"
            )
        return self

    @field_validator("cors_origins")
    @classmethod
    def _names_origins(cls, value: str) -> str:
        for origin in listed(value):
            if not re.fullmatch(r"https?://[^/*\s]+", origin):
                raise ValueError(f"{origin!r} is no origin; origins look like https://choir.example, joined by commas")
        return value

    @field_validator("root_path")
    @classmethod
    def _is_a_path_of_its_own(cls, value: str) -> str:
        segments = value.split("/")[1:]
        if (value and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value)) or {".", ".."} & set(segments):
            raise ValueError(
                f"{value!r} is no path to serve below; such paths begin with / and do not end with one, as /divisi "
                "does, and have letters, digits and . _ ~ - between; leave it empty where divisi has a host of its own"
            )
        if segments and segments[0] in ("v1", "page", "docs"):
            raise ValueError(f"{value!r} begins as addresses of divisi's own do; serve it below another path")
        return value

    @field_validator("source_buckets", "target_buckets")
    @classmethod
    def _names_buckets(cls, value: str) -> str:
        for bucket in listed(value):
            if not re.fullmatch(r"s3://[^/\s]+(/[^/\s]+)*/?", bucket):
                raise ValueError(f"{bucket!r} is no bucket; buckets look like s3://choir or s3://choir/incoming")
        return value

    @field_validator("webhook_allowed_networks", "source_allowed_networks")
    @classmethod
    def _names_networks(cls, value: str) -> str:
        for network in listed(value):
            ipaddress.ip_network(network)
        return value

    @property
    def is_private(self) -> bool:
        """True where only this machine's users can call, without keys: nobody is limited then."""
        return not self.require_keys and self.host in LOOPBACK_HOSTS


def listed(value: str) -> tuple[str, ...]:
    """The parts of a setting that is a list joined by commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read from the environment at the first call."""
    return Settings()


def settings_with(**changes: Any) -> Settings:
    """The settings of the environment, with the given fields (those that are not None) set by the command line."""
    given = {name: value for name, value in changes.items() if value is not None}
    return Settings(**given) if given else load_settings()


def child_environment(settings: Settings, **changes: str) -> dict[str, str]:
    """The environment for a process of the same deployment.

    Args:
        settings: handed on field by field, so that the child reads the same values whatever set them here.
        changes: fields by name that the child shall see otherwise.
    """
    values = {name: value for name, value in settings.model_dump(mode="json").items() if value is not None}
    for name in values:
        secret = getattr(settings, name)
        if isinstance(secret, SecretStr):
            values[name] = secret.get_secret_value()
    values.update(changes)
    return {**os.environ, **{f"DIVISI_{name.upper()}": str(value) for name, value in values.items()}}
