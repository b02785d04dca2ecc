"""Every start leads to a fit; the same seed to the same one; spots to the right instruments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fitted_bundle import RATE, publish_fitted, two_players

from divisi.contract.errors import ModelError
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, open_fitter
from divisi.models.plan import FitPlan, FitRequest, Spot, plan_fit
from divisi.models.torch_script import ScriptFitter
from divisi_workshop.metrics import si_sdr_db

SUM_BAR = 10 ** (-90 / 20)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return publish_fitted(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def fitter(bundle: ModelBundle) -> ScriptFitter:
    opened = open_fitter(bundle, EngineOptions())
    assert isinstance(opened, ScriptFitter)
    return opened


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return two_players(2.0)


def plan(bundle: ModelBundle, **asked: object) -> FitPlan:
    return plan_fit(bundle.card, FitRequest(**asked), 3, RATE)  # type: ignore[arg-type]


def fit(fitter: ScriptFitter, plan: FitPlan, images: np.ndarray) -> np.ndarray:
    """Estimated images (S, C, T)."""
    mixture = images.sum(axis=0)
    steps = sum(1 for _ in fitter.fit(mixture[None], plan))
    assert steps == fitter.num_steps(plan)
    estimates = np.stack([fitter.image(source)[0] for source in range(plan.num_sources)])
    assert np.abs(estimates.sum(axis=0) - mixture).max() <= SUM_BAR
    return estimates


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("start", ["circular", "two_step", "spots"])
def test_every_start_leads_to_images_of_the_recording(
    start: str, precision: str, bundle: ModelBundle, fitter: ScriptFitter, images: np.ndarray
) -> None:
    spots = (Spot("low", 1), Spot("high", 2)) if start == "spots" else ()
    fit(fitter, plan(bundle, initialisation=start, precision=precision, spots=spots), images)


def test_spots_put_each_instrument_into_its_stem(bundle: ModelBundle, fitter: ScriptFitter, images: np.ndarray) -> None:
    for channels in ((1, 2), (2, 1)):
        spots = (Spot("first", channels[0]), Spot("second", channels[1]))
        estimates = fit(fitter, plan(bundle, spots=spots), images)
        for stem, channel in enumerate(channels):
            ratios = [si_sdr_db(estimates[stem, 2], image[2]) for image in images]
            assert int(np.argmax(ratios)) == channel - 1
            assert max(ratios) > 10


def test_the_same_seed_gives_the_same_images_and_another_seed_others(
    bundle: ModelBundle, fitter: ScriptFitter, images: np.ndarray
) -> None:
    first = fit(fitter, plan(bundle, seed=5), images)
    np.testing.assert_array_equal(fit(fitter, plan(bundle, seed=5), images), first)
    assert np.abs(fit(fitter, plan(bundle, seed=6), images) - first).max() > 1e-4


def test_more_iterations_make_the_recording_more_likely(
    bundle: ModelBundle, fitter: ScriptFitter, images: np.ndarray
) -> None:
    likelihoods = []
    for num_iterations in (2, 10):
        fit(fitter, plan(bundle, initialisation="circular", num_iterations=num_iterations), images)
        likelihoods.append(fitter.log_likelihood())
    assert likelihoods[1] > likelihoods[0]


def test_another_stretch_is_separated_by_the_same_room(
    bundle: ModelBundle, fitter: ScriptFitter, images: np.ndarray
) -> None:
    asked = plan(bundle, spots=(Spot("low", 1), Spot("high", 2)))
    fit(fitter, asked, images)
    others = two_players(1.0, seed=1)
    assert sum(1 for _ in fitter.adapt(others.sum(axis=0), 5)) == 5
    estimates = np.stack([fitter.image(source)[0] for source in range(2)])
    assert np.abs(estimates.sum(axis=0) - others.sum(axis=0)).max() <= SUM_BAR
    assert si_sdr_db(estimates[0, 2], others[0, 2]) > 5
    assert si_sdr_db(estimates[1, 2], others[1, 2]) > 5


def test_ilrma_gives_as_many_sources_as_microphones(tmp_path: Path, images: np.ndarray) -> None:
    bundle = publish_fitted(tmp_path, algorithm="ilrma", num_sources=None)
    fitter = open_fitter(bundle, EngineOptions())
    assert isinstance(fitter, ScriptFitter)
    estimates = fit(fitter, plan(bundle, spots=(Spot("low", 1), Spot("high", 2))), images)
    assert estimates.shape == (3, 3, images.shape[2])
    assert si_sdr_db(estimates[0, 0], images[0, 0]) > 10


def test_an_extra_source_without_a_spot_is_possible(
    bundle: ModelBundle, fitter: ScriptFitter, images: np.ndarray
) -> None:
    asked = plan(bundle, num_sources=3, spots=(Spot("low", 1),))
    assert fit(fitter, asked, images).shape[0] == 3
    every = replace(asked, stems=("a", "b", "c"), spot_channels=(0, 1, 2))
    assert fit(fitter, every, images).shape[0] == 3


def test_a_recording_shorter_than_a_window_is_borne(bundle: ModelBundle, fitter: ScriptFitter) -> None:
    fit(fitter, plan(bundle, num_iterations=2), two_players(0.01))


def test_a_closed_fitter_says_so(bundle: ModelBundle, images: np.ndarray) -> None:
    fitter = open_fitter(bundle, EngineOptions())
    fitter.close()
    fitter.close()
    with pytest.raises(ModelError) as caught:
        next(fitter.fit(images.sum(axis=0)[None], plan(bundle)))
    assert caught.value.code == "engine-closed"
