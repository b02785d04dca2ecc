"""A fitted model is published as a bundle like any other, and its artifact holds the steps of a fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fitted_bundle import fitted_draft

from divisi.bundles.store import BundleStore
from divisi.errors import ConflictError, ModelError
from divisi.export.fitted import export_fitted


def test_a_fitted_model_is_published_once(tmp_path: Path) -> None:
    bundle = export_fitted(fitted_draft(), tmp_path)
    assert BundleStore(tmp_path).get("fitted").card == bundle.card
    assert bundle.card.parity is not None
    assert bundle.card.parity.max_abs_error["torchscript"] <= bundle.card.parity.tolerance
    bundle.verify()
    with pytest.raises(ConflictError):
        export_fitted(fitted_draft(), tmp_path)


def test_a_card_without_fitting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fitting"):
        export_fitted(fitted_draft().model_copy(update={"fitting": None}), tmp_path)
    assert not list(tmp_path.iterdir())
