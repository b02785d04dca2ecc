"""Half precision is computed in only where settings and card both say so. Exercised on the CPU, which gains nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.models.tiny_bundle import HOP, noise, restate

from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, open_engine

# Of full scale: ten bits of a float16, through a network.
HALF_ROUNDING = 2e-2


@pytest.mark.parametrize(("is_asked_for", "is_safe"), [(False, False), (True, False), (False, True), (True, True)])
def test_it_takes_both_the_settings_and_the_card(
    tiny_bundle: ModelBundle, tmp_path: Path, is_asked_for: bool, is_safe: bool
) -> None:
    bundle = restate(tiny_bundle, tmp_path, half_precision_safe=is_safe)
    mixture = noise(1, 1, 9 * HOP)
    full = open_engine("torch_script", tiny_bundle, EngineOptions()).run(mixture)["estimates"]
    found = open_engine("torch_script", bundle, EngineOptions(half_precision=is_asked_for)).run(mixture)["estimates"]
    assert found.dtype == np.float32
    assert np.array_equal(found, full) == (not (is_asked_for and is_safe))
    np.testing.assert_allclose(found, full, rtol=0, atol=HALF_ROUNDING)
