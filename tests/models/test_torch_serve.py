"""The engine against a real TorchServe that loses workers and renews its key, and against the wrong one."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.conftest import free_port
from tests.models.running_torch_serve import CHECK, RunningTorchServe
from tests.models.tiny_bundle import HOP, TinyNetwork, noise, restate, tiny_draft

from divisi.contract.errors import ModelError, UnavailableError
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, ModelServerOptions, open_engine
from divisi_workshop.export.export import export_bundle

# Both run the same file in the same torch.
SAME = 1e-6


def test_estimates_are_those_of_torch_in_this_process(torch_serve: RunningTorchServe, tiny_bundle: ModelBundle) -> None:
    mixture = noise(2, 1, 30 * HOP)
    served = open_engine("torch_serve", tiny_bundle, torch_serve.options).run(mixture)
    here = open_engine("torch_script", tiny_bundle, EngineOptions()).run(mixture)
    for name, array in here.items():
        np.testing.assert_allclose(served[name], array, rtol=0, atol=SAME)


def test_a_key_that_was_renewed_is_noticed(torch_serve: RunningTorchServe, tiny_bundle: ModelBundle) -> None:
    engine = open_engine("torch_serve", tiny_bundle, torch_serve.options)
    mixture = noise(1, 1, 9 * HOP)
    before = engine.run(mixture)["estimates"]
    torch_serve.renew_key()
    np.testing.assert_array_equal(engine.run(mixture)["estimates"], before)


def test_a_worker_that_is_killed_costs_time_and_nothing_else(
    torch_serve: RunningTorchServe, tiny_bundle: ModelBundle
) -> None:
    engine = open_engine("torch_serve", tiny_bundle, torch_serve.options)
    mixture = noise(1, 1, 9 * HOP)
    before = engine.run(mixture)["estimates"]
    (worker,) = torch_serve.workers("tiny-duo")
    worker.kill()
    np.testing.assert_array_equal(engine.run(mixture)["estimates"], before)


def test_another_artifact_under_the_same_name_is_refused(torch_serve: RunningTorchServe, tmp_path: Path) -> None:
    other = export_bundle(TinyNetwork(), tiny_draft(), tmp_path)
    with pytest.raises(ModelError, match=r"serves another tiny-duo 1\.0\.0") as refused:
        open_engine("torch_serve", other, torch_serve.options)
    assert refused.value.code == "wrong-model"


def test_a_model_that_is_not_served_is_refused(
    torch_serve: RunningTorchServe, tiny_bundle: ModelBundle, tmp_path: Path
) -> None:
    newer = restate(tiny_bundle, tmp_path)
    unknown = ModelBundle(newer.path, newer.card.model_copy(update={"version": "2.0.0"}), newer.checksums)
    with pytest.raises(ModelError, match=r"does not serve tiny-duo 2\.0\.0") as refused:
        open_engine("torch_serve", unknown, torch_serve.options)
    assert refused.value.code == "missing-model"


def test_without_a_server_the_engine_does_not_open(tiny_bundle: ModelBundle) -> None:
    server = ModelServerOptions(f"http://127.0.0.1:{free_port()}", patience_seconds=0.01)
    with pytest.raises(UnavailableError) as away:
        open_engine("torch_serve", tiny_bundle, EngineOptions(model_server=server))
    assert away.value.code == "model-server-away"


def test_callers_get_the_inference_key_alone(torch_serve: RunningTorchServe) -> None:
    published = json.loads(torch_serve.key_file.read_text())
    assert list(published) == ["inference"]
    assert stat.S_IMODE(torch_serve.key_file.stat().st_mode) == 0o640
    headers = {"Authorization": f"Bearer {published['inference']['key']}"}
    assert httpx.get(f"{torch_serve.url}/ping").status_code == httpx.codes.BAD_REQUEST
    assert httpx.get(f"{torch_serve.url}/ping", headers=headers).is_success
    assert not httpx.get(f"{torch_serve.management}/models", headers=headers).is_success


def test_models_cannot_be_added_through_the_api(torch_serve: RunningTorchServe) -> None:
    keys = json.loads((torch_serve.work / "key_file.json").read_text())
    headers = {"Authorization": f"Bearer {keys['management']['key']}"}
    answer = httpx.post(f"{torch_serve.management}/models", params={"url": "tiny-duo-1.0.0.mar"}, headers=headers)
    assert answer.status_code == httpx.codes.METHOD_NOT_ALLOWED


def test_the_health_check_of_the_container_tells_a_server_from_none(torch_serve: RunningTorchServe) -> None:
    command = [sys.executable, str(CHECK), str(torch_serve.key_file)]
    assert subprocess.run([*command, torch_serve.url], check=False).returncode == 0
    assert subprocess.run([*command, f"http://127.0.0.1:{free_port()}"], check=False).returncode == 1
