"""Published bundle → `.mar` for TorchServe: the TorchScript artifact, our handler, and how TorchServe shall run it.

An archive is a zip file with a manifest. It is made of a bundle rather than kept in one, so that the same weights are
not published twice.
"""

import json
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from divisi.contract.errors import InputError
from divisi.models.bundle import ModelBundle

HANDLER = Path(__file__).resolve().parents[3] / "torchserve" / "handler.py"
_ARTIFACT = "model.ts"
_CONFIG = "model-config.yaml"
# TorchServe's own 120 s are too few for a worker that starts on a busy machine, and after 5 minutes of failed starts it
# would give a model up for good.
_STARTUP_SECONDS = 600
_RETRY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class ArchiveOptions:
    """How TorchServe runs a model.

    Attributes:
        num_workers: processes that hold the model.
        num_threads: threads of one of them.
        batch_size: requests that TorchServe may join. On a CPU 1 is best.
        batch_delay_ms: how long it waits for them; a lone request pays the whole of it.
        response_timeout_seconds: a worker that does not answer for longer is started anew.
    """

    num_workers: int = 1
    num_threads: int = 1
    batch_size: int = 1
    batch_delay_ms: int = 5
    response_timeout_seconds: int = 300


def write_archive(bundle: ModelBundle, folder: Path, options: ArchiveOptions = ArchiveOptions()) -> Path:
    """Writes `<folder>/<model_id>-<version>.mar`, over an older one; the same bundle gives the same bytes.

    Raises:
        ModelError: the bundle has no TorchScript artifact, or a damaged one.
        InputError: code `missing-handler`, where only the package is installed and not its checkout.
    """
    if not HANDLER.is_file():
        raise InputError(f"{HANDLER} is missing; archives are made in a checkout", code="missing-handler")
    card = bundle.card
    manifest = {
        "createdOn": (card.created or datetime.fromtimestamp(0, UTC)).strftime("%d/%m/%Y %H:%M:%S"),
        "runtime": "python",
        "model": {
            "modelName": card.id,
            "modelVersion": card.version,
            "serializedFile": _ARTIFACT,
            "handler": HANDLER.name,
            "configFile": _CONFIG,
        },
        "archiverVersion": "0.12.0",
    }
    config = {
        "minWorkers": options.num_workers,
        "maxWorkers": options.num_workers,
        "batchSize": options.batch_size,
        "maxBatchDelay": options.batch_delay_ms,
        "responseTimeout": options.response_timeout_seconds,
        "startupTimeout": _STARTUP_SECONDS,
        "maxRetryTimeoutInSec": _RETRY_SECONDS,
        "threads": options.num_threads,
    }
    content = {
        "MAR-INF/MANIFEST.json": json.dumps(manifest, indent=2).encode(),
        _CONFIG: yaml.safe_dump(config, sort_keys=False).encode(),
        HANDLER.name: HANDLER.read_bytes(),
        _ARTIFACT: bundle.artifact_path("torchscript").read_bytes(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{card.id}-{card.version}.mar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # a ZipInfo made from a name has a fixed date
    return path
