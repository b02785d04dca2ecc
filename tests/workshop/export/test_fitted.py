"""A fitted model is published as a bundle like any other, and its artifact holds the steps of a fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fitted_bundle import fitted_draft

from divisi.contract.card import CardDraft
from divisi.contract.errors import ConflictError, ModelError
from divisi.models.bundle import BundleStore, read_card
from divisi.models.engine import EngineOptions, open_fitter
from divisi.models.plan import FitRequest, plan_fit
from divisi.settings import default_model_store
from divisi_workshop.export.export import export_fitted

DRAFTS = Path(__file__).parents[3] / "service" / "workshop" / "divisi_workshop" / "export" / "cards"


def test_a_fitted_model_is_published_once(tmp_path: Path) -> None:
    bundle = export_fitted(fitted_draft(), tmp_path)
    assert BundleStore(tmp_path).get("fitted").card == bundle.card
    assert bundle.card.parity is not None
    assert bundle.card.parity.max_abs_error["torchscript"] <= bundle.card.parity.tolerance
    bundle.verify()
    with pytest.raises(ConflictError):
        export_fitted(fitted_draft(), tmp_path)


@pytest.mark.parametrize("draft_file", sorted(DRAFTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_bundle_that_ships_is_what_its_draft_and_the_code_say_now(draft_file: Path, tmp_path: Path) -> None:
    draft = read_card(draft_file, CardDraft)
    shipped = BundleStore(default_model_store()).get(draft.id)
    shipped.verify()
    assert {name: getattr(shipped.card, name) for name in CardDraft.model_fields} == dict(draft)
    fresh = export_fitted(draft, tmp_path)
    generator = torch.Generator().manual_seed(1)
    recording = 0.1 * torch.randn(1, 5, 6000, generator=generator)
    plan = plan_fit(fresh.card, FitRequest(num_iterations=3, fft_length=512), 5, 8000)
    images = []
    for bundle in (shipped, fresh):
        fitter = open_fitter(bundle, EngineOptions())
        assert sum(1 for _ in fitter.fit(recording.numpy(), plan)) == fitter.num_steps(plan)
        images.append(np.stack([fitter.image(source) for source in range(plan.num_sources)]))
    np.testing.assert_allclose(images[0], images[1], atol=1e-5)


def test_a_card_without_fitting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fitting"):
        export_fitted(fitted_draft().model_copy(update={"fitting": None}), tmp_path)
    assert not list(tmp_path.iterdir())
