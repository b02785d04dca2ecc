"""What every engine must do, whatever runs inside: one suite over all that `ENGINES` names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.models.tiny_bundle import HOP, STEMS, noise, replace_artifact, restate

from divisi.contract.card import ArtifactKind
from divisi.contract.errors import ModelError
from divisi.models.bundle import ModelBundle, open_bundle
from divisi.models.engine import ENGINES, Engine, EngineOptions, open_engine

# Matrix products over another batch size sum in another order: some float32 rounding (6e-8) at full scale.
ROUNDING = 1e-5

ARTIFACT_OF_ENGINE: dict[str, ArtifactKind] = {"onnx_runtime": "onnx", "torch_script": "torchscript"}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: ModelBundle) -> ModelBundle:
    return tiny_bundle


@pytest.fixture(scope="module")
def roster_bundle(tiny_roster_bundle: ModelBundle) -> ModelBundle:
    return tiny_roster_bundle


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine_name(request: pytest.FixtureRequest) -> str:
    """Name of every engine in turn."""
    return request.param


@pytest.fixture(scope="module")
def options(request: pytest.FixtureRequest, engine_name: str) -> EngineOptions:
    """What this engine needs to know; TorchServe is started for the one that needs it."""
    return request.getfixturevalue("torch_serve").options if engine_name == "torch_serve" else EngineOptions()


@pytest.fixture(scope="module")
def engine(engine_name: str, options: EngineOptions, bundle: ModelBundle) -> Iterator[Engine]:
    engine = open_engine(engine_name, bundle, options)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def roster_engine(engine_name: str, options: EngineOptions, roster_bundle: ModelBundle) -> Iterator[Engine]:
    engine = open_engine(engine_name, roster_bundle, options)
    yield engine
    engine.close()


@pytest.fixture(params=sorted(ARTIFACT_OF_ENGINE))
def artifact_engine(request: pytest.FixtureRequest) -> str:
    """Name of an engine that needs an artifact."""
    return request.param


@pytest.mark.parametrize(("batch", "hops"), [(1, 1), (1, 40), (3, 17)])
def test_outputs_have_the_names_and_shapes_of_the_card(engine: Engine, batch: int, hops: int) -> None:
    outputs = engine.run(noise(batch, 1, hops * HOP))
    assert list(outputs) == ["estimates", "f0", "resynthesis"]
    assert outputs["estimates"].shape == (batch, len(STEMS), 1, hops * HOP)
    assert outputs["f0"].shape[:2] == (batch, len(STEMS))
    assert outputs["f0"].shape[2] in (hops, hops + 1)
    assert outputs["resynthesis"].shape == (batch, 1, hops * HOP)
    for array in outputs.values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


def test_an_engine_says_its_name_and_where_it_runs(engine: Engine) -> None:
    assert engine.name in ENGINES
    assert engine.device == "cpu"


def test_the_same_mixture_gives_the_same_bytes_whatever_came_between(engine: Engine) -> None:
    mixture = noise(2, 1, 20 * HOP)
    first = engine.run(mixture)
    engine.run(noise(1, 1, 9 * HOP, seed=2))
    second = engine.run(mixture)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_a_batch_equals_its_segments_one_by_one(engine: Engine) -> None:
    mixture = noise(3, 1, 20 * HOP)
    together = engine.run(mixture)
    for index in range(3):
        alone = engine.run(mixture[index : index + 1])
        for name, array in alone.items():
            scale = np.maximum(array, 1)  # f0 is in Hz
            assert np.max(np.abs(array[0] - together[name][index]) / scale[0]) <= ROUNDING


def test_answers_share_no_memory_with_the_mixture_or_with_each_other(engine: Engine) -> None:
    mixture = noise(1, 1, 8 * HOP)
    kept = mixture.copy()
    first = engine.run(mixture)
    copies = {name: array.copy() for name, array in first.items()}
    for array in first.values():
        array.fill(9)
    np.testing.assert_array_equal(mixture, kept)
    for name, array in engine.run(mixture).items():
        np.testing.assert_array_equal(array, copies[name])


def test_a_view_with_strides_is_as_good_as_a_copy(engine: Engine) -> None:
    wide = noise(1, 1, 16 * HOP)
    view = wide[:, :, ::2]
    np.testing.assert_array_equal(engine.run(view)["estimates"], engine.run(view.copy())["estimates"])


@pytest.mark.parametrize(
    "mixture",
    [
        pytest.param(noise(1, 8 * HOP), id="without a batch"),
        pytest.param(noise(1, 1, 1, 8 * HOP), id="with an axis too many"),
        pytest.param(noise(1, 2, 8 * HOP), id="with a channel too many"),
        pytest.param(noise(1, 1, 8 * HOP + 1), id="no multiple"),
        pytest.param(noise(0, 1, 8 * HOP), id="an empty batch"),
        pytest.param(noise(1, 1, 0), id="no samples"),
        pytest.param(noise(1, 1, 8 * HOP).astype(np.float64), id="float64"),
        pytest.param(np.zeros((1, 1, 8 * HOP), np.int16), id="integers"),
        pytest.param([[[0.0] * 8 * HOP]], id="a list"),
    ],
)
def test_a_mixture_of_another_shape_or_type_is_refused(engine: Engine, mixture: np.ndarray) -> None:
    with pytest.raises(ModelError, match="tiny-duo: mixture must") as refused:
        engine.run(mixture)
    assert refused.value.code == "wrong-input"


def test_a_mixture_with_nan_gives_an_error_not_estimates(engine: Engine) -> None:
    mixture = noise(1, 1, 8 * HOP)
    mixture[0, 0, 5] = np.nan
    with pytest.raises(ModelError) as refused:
        engine.run(mixture)
    assert refused.value.code == "non-finite-estimates"


def test_closing_twice_is_fine_and_a_closed_engine_runs_no_more(
    engine_name: str, options: EngineOptions, bundle: ModelBundle
) -> None:
    engine = open_engine(engine_name, bundle, options)
    engine.close()
    engine.close()
    with pytest.raises(ModelError) as refused:
        engine.run(noise(1, 1, HOP))
    assert refused.value.code == "engine-closed"


def test_a_device_that_is_not_there_is_refused_not_replaced(
    engine_name: str, options: EngineOptions, bundle: ModelBundle
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    for device in ("cuda", "cuda:1"):
        with pytest.raises(
            ModelError, match=f"device {device} was asked for|on {device}|device {device} needs"
        ) as refused:
            open_engine(engine_name, bundle, replace(options, device=device))
        assert refused.value.code == "wrong-device"


def test_voices_that_the_roster_leaves_out_are_silent_in_their_segment_alone(roster_engine: Engine) -> None:
    mixture = noise(3, 1, 20 * HOP)
    roster = np.array([[1, 1], [0, 1], [1, 0]], np.float32)
    estimates = roster_engine.run(mixture, roster)["estimates"]
    sounds = np.abs(estimates).max(axis=(2, 3)) > 0
    np.testing.assert_array_equal(sounds, roster.astype(bool))


def test_without_a_roster_all_voices_may_sing(roster_engine: Engine) -> None:
    mixture = noise(2, 1, 9 * HOP)
    everyone = roster_engine.run(mixture, roster=np.ones((2, 2), np.float32))
    for name, array in roster_engine.run(mixture).items():
        np.testing.assert_array_equal(array, everyone[name])


def test_the_same_mixture_with_another_roster_gives_other_estimates(roster_engine: Engine) -> None:
    mixture = noise(1, 1, 9 * HOP)
    answers = [roster_engine.run(mixture, np.array([row], np.float32))["estimates"] for row in ([1, 1], [1, 0])]
    assert not np.array_equal(answers[0], answers[1])


def test_a_roster_for_a_model_that_takes_none_is_refused(engine: Engine) -> None:
    with pytest.raises(ModelError, match="takes none") as refused:
        engine.run(noise(1, 1, 8 * HOP), np.ones((1, 2), np.float32))
    assert refused.value.code == "wrong-input"


@pytest.mark.parametrize(
    "roster",
    [
        pytest.param(np.ones((2, 2), np.float32), id="for another batch"),
        pytest.param(np.ones((1, 3), np.float32), id="for another number of voices"),
        pytest.param(np.ones(2, np.float32), id="without a batch"),
        pytest.param(np.ones((1, 2)), id="float64"),
        pytest.param(np.full((1, 2), 0.5, np.float32), id="neither here nor there"),
        pytest.param(np.full((1, 2), np.nan, np.float32), id="not a number"),
        pytest.param([[1.0, 0.0]], id="a list"),
    ],
)
def test_a_roster_of_another_shape_type_or_value_is_refused(roster_engine: Engine, roster: np.ndarray) -> None:
    with pytest.raises(ModelError, match="tiny-roster: roster must") as refused:
        roster_engine.run(noise(1, 1, 8 * HOP), roster)
    assert refused.value.code == "wrong-input"


@pytest.mark.parametrize("takes_roster", [True, False])
def test_a_graph_and_a_card_that_disagree_on_the_roster_do_not_open(
    artifact_engine: str, bundle: ModelBundle, roster_bundle: ModelBundle, tmp_path: Path, takes_roster: bool
) -> None:
    copy = restate(bundle if takes_roster else roster_bundle, tmp_path, takes_roster=takes_roster)
    with pytest.raises(ModelError, match="inputs") as refused:
        open_engine(artifact_engine, copy, EngineOptions())
    assert refused.value.code == "wrong-signature"


def test_two_engines_with_an_artifact_agree(bundle: ModelBundle) -> None:
    mixture = noise(2, 1, 30 * HOP)
    answers = [open_engine(name, bundle, EngineOptions()).run(mixture) for name in sorted(ARTIFACT_OF_ENGINE)]
    assert bundle.card.parity is not None
    limit = 2 * bundle.card.parity.tolerance
    np.testing.assert_allclose(answers[0]["estimates"], answers[1]["estimates"], rtol=0, atol=limit)
    np.testing.assert_allclose(answers[0]["f0"], answers[1]["f0"], rtol=limit)


def test_a_missing_artifact_is_refused(artifact_engine: str, bundle: ModelBundle, tmp_path: Path) -> None:
    copy = restate(bundle, tmp_path)
    (copy.path / copy.artifact(ARTIFACT_OF_ENGINE[artifact_engine]).file).unlink()
    with pytest.raises(ModelError, match="is missing") as refused:
        open_engine(artifact_engine, copy, EngineOptions())
    assert refused.value.code == "missing-artifact"


def test_a_bundle_without_such_an_artifact_is_refused(
    artifact_engine: str, bundle: ModelBundle, tmp_path: Path
) -> None:
    copy = restate(bundle, tmp_path, artifacts=(), parity=None)
    with pytest.raises(ModelError, match="has no") as refused:
        open_engine(artifact_engine, copy, EngineOptions())
    assert refused.value.code == "missing-artifact"


def test_an_artifact_with_one_changed_byte_is_refused(
    artifact_engine: str, bundle: ModelBundle, tmp_path: Path
) -> None:
    shutil.copytree(bundle.path, tmp_path / "tiny-duo" / "1.0.0")
    path = tmp_path / "tiny-duo" / "1.0.0" / bundle.artifact(ARTIFACT_OF_ENGINE[artifact_engine]).file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256") as refused:
        open_engine(artifact_engine, open_bundle(tmp_path / "tiny-duo" / "1.0.0"), EngineOptions())
    assert refused.value.code == "damaged-bundle"


def test_an_artifact_that_its_runtime_cannot_load_is_refused(
    artifact_engine: str, bundle: ModelBundle, tmp_path: Path
) -> None:
    kind = ARTIFACT_OF_ENGINE[artifact_engine]
    copy = replace_artifact(bundle, tmp_path, kind, bundle.artifact_path(kind).read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot load") as refused:
        open_engine(artifact_engine, copy, EngineOptions())
    assert refused.value.code == "damaged-bundle"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"stems": ("upper", "middle", "lower")}, id="more stems"),
        pytest.param({"num_channels": 2}, id="more channels"),
        pytest.param({"extra_outputs": [{"name": "f0", "hop_length": HOP}]}, id="an output less"),
        pytest.param(
            {"extra_outputs": [{"name": "resynthesis"}, {"name": "f0", "hop_length": HOP}]},
            id="outputs in another order",
        ),
        pytest.param(
            {"extra_outputs": [{"name": "f0", "hop_length": 2 * HOP}, {"name": "resynthesis"}]}, id="another hop"
        ),
    ],
)
def test_a_graph_that_disagrees_with_its_card_does_not_open(
    artifact_engine: str, bundle: ModelBundle, tmp_path: Path, changes: dict[str, object]
) -> None:
    copy = restate(bundle, tmp_path, **changes)
    with pytest.raises(ModelError) as refused:
        open_engine(artifact_engine, copy, EngineOptions())
    assert refused.value.code in {"wrong-signature", "wrong-output"}
