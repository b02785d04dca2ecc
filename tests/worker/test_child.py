from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from divisi.contract.errors import ModelError, NotFoundError
from divisi.models import engine
from divisi.models.bundle import BundleStore, ModelBundle
from divisi.settings import Settings
from divisi.worker import child
from divisi.worker.child import WarmModels


def test_a_model_is_opened_once_and_kept(settings: Settings, model_store: Path) -> None:
    models = WarmModels(settings, BundleStore(model_store))
    first = models.get("first", "1.0.0")
    assert models.get("first") is first
    assert models.get("second") is not first


def test_the_model_unused_for_longest_is_closed_for_a_new_one(
    settings: Settings, model_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "MAX_WARM_MODELS", 1)
    models = WarmModels(settings, BundleStore(model_store))
    first = models.get("first")
    models.get("second")
    with pytest.raises(ModelError, match="closed"):
        first.engine.run(None)  # type: ignore[arg-type]
    assert models.get("first") is not first


def test_warming_up_opens_the_default_model_and_says_where_and_how_fast_it_runs(
    settings: Settings, model_store: Path
) -> None:
    facts = WarmModels(settings, BundleStore(model_store)).warm_up()
    assert (facts["name"], facts["device"], facts["provider"]) == ("passthrough", "cpu", "numpy")
    assert facts["divisi"]
    assert facts["batch_size"] == 1
    assert facts["real_time_factor"] >= 0


@pytest.mark.parametrize("has_torch", [True, False])
def test_warming_up_says_whether_fitted_models_run_and_loads_nothing_for_it(
    has_torch: bool, settings: Settings, model_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "find_spec", lambda name: object() if name == "torch" and has_torch else None)
    assert WarmModels(settings, BundleStore(model_store)).warm_up()["can_fit"] is has_torch


def test_a_batch_size_that_is_set_is_kept(make_settings: Callable[..., Settings], model_store: Path) -> None:
    models = WarmModels(make_settings(batch_size=3), BundleStore(model_store))
    assert models.warm_up()["batch_size"] == 3
    assert models.get("second").batch_size == 3


def test_without_the_default_model_another_is_warmed_up(
    make_settings: Callable[..., Settings], model_store: Path
) -> None:
    models = WarmModels(make_settings(default_model="missing"), BundleStore(model_store))
    assert models.warm_up()["name"] == "passthrough"


def test_a_worker_without_any_model_cannot_start(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        WarmModels(settings, BundleStore(tmp_path / "empty")).warm_up()
    assert caught.value.code == "no-models"


def test_a_device_that_is_not_there_is_an_error_not_a_fallback(
    make_settings: Callable[..., Settings], model_store: Path
) -> None:
    with pytest.raises(ModelError):
        WarmModels(make_settings(device="cuda"), BundleStore(model_store)).warm_up()


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("onnx_runtime", "device cuda:1 needs CUDAExecutionProvider.*install the extra worker-gpu"),
        ("torch_script", r"device cuda:1 was asked for; torch .* sees \d CUDA devices"),
    ],
)
def test_a_worker_for_a_gpu_that_is_not_there_says_what_is_missing(
    make_settings: Callable[..., Settings], tiny_bundle: ModelBundle, engine: str, reason: str
) -> None:
    settings = make_settings(engine=engine, device="cuda:1", default_model="tiny-duo")
    with pytest.raises(ModelError, match=reason) as refused:
        WarmModels(settings, BundleStore(tiny_bundle.path.parents[1])).warm_up()
    assert refused.value.code == "wrong-device"


def test_an_unknown_model_is_not_found(settings: Settings, model_store: Path) -> None:
    with pytest.raises(NotFoundError):
        WarmModels(settings, BundleStore(model_store)).get("third", "1.0.0")
