"""Operators written for accuracy compute in ONNX Runtime what torch computes in double precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tests.models.tiny_bundle import HOP, tiny_draft
from torch import Tensor, nn

from divisi_workshop.export.graphs import export_onnx

# Single precision of values up to about 10, torch's own deviation being 2e-6. The exporter's own form is off by 1e-3.
ACCURACY = 2e-5
CHANNELS = 32
ROWS = 64


class Normalises(nn.Module):
    """Spreads a mixture (B, 1, T) over CHANNELS and axes of any number, normalises, and calls the result estimates."""

    def __init__(self, num_groups: int, num_axes: int, affine: bool) -> None:
        super().__init__()
        self.num_axes = num_axes
        self.norm = nn.GroupNorm(num_groups, CHANNELS, affine=affine)
        generator = torch.Generator().manual_seed(3)
        self.gain = nn.Parameter(torch.randn(1, CHANNELS, 1, generator=generator))
        for weights in self.norm.parameters():
            nn.init.normal_(weights, generator=generator)

    def forward(self, mixture: Tensor) -> Tensor:
        # Positive values, as after an activation: their sum grows with their number.
        features = torch.relu(mixture * self.gain) + 3
        if self.num_axes == 4:
            features = features.reshape(mixture.shape[0], CHANNELS, ROWS, -1)
        normalised = self.norm(features).reshape(mixture.shape[0], CHANNELS, 1, -1)
        return normalised[:, :2]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("num_axes", [3, 4])
@pytest.mark.parametrize("num_groups", [1, 4, CHANNELS])
def test_group_normalisation_over_many_values_is_accurate(
    tmp_path: Path, num_groups: int, num_axes: int, affine: bool
) -> None:
    network = Normalises(num_groups, num_axes, affine).eval().requires_grad_(False)
    export_onnx(network, (torch.randn(2, 1, 8 * ROWS),), tiny_draft(extra_outputs=()), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    # One axis alone is still summed in one go, so a million values must lie on two.
    length = 600 * HOP if num_axes == 4 else 40 * HOP
    mixture = torch.randn(3, 1, length, generator=torch.Generator().manual_seed(4))
    found = session.run(["estimates"], {"mixture": mixture.numpy()})[0]
    expected = network.double()(mixture.double()).numpy()
    assert np.abs(found - expected).max() <= ACCURACY


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_export_leaves_the_exporter_as_it_was(tmp_path: Path) -> None:
    network = nn.GroupNorm(1, CHANNELS).eval()
    example = (torch.randn(2, CHANNELS, 10),)

    def usual_export() -> bytes:
        torch.onnx.export(network, example, str(tmp_path / "usual.onnx"), opset_version=17, dynamo=False)
        return (tmp_path / "usual.onnx").read_bytes()

    before = usual_export()
    draft = tiny_draft(extra_outputs=())
    export_onnx(Normalises(1, 3, True).eval(), (torch.randn(2, 1, 8 * HOP),), draft, tmp_path / "model.onnx")
    assert usual_export() == before
