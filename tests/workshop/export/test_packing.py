"""Constants come back bit by bit, in ONNX Runtime and in torch, whatever form they were stored in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tests.models.tiny_bundle import HOP, TinyNetwork, noise, tiny_draft, tiny_network
from torch import Tensor, nn

from divisi.contract.errors import ModelError
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, open_engine
from divisi_workshop.export.export import export_bundle
from divisi_workshop.export.graphs import export_onnx, export_torch_script
from divisi_workshop.export.packing import SparseConstant, pack
from divisi_workshop.export.parity import TOLERANCE, round_to_half

ROWS, COLUMNS = 40, 50


def constants() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    full = random.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    sparse = np.zeros_like(full)
    sparse[3, 7:11] = full[3, 7:11]
    signed = np.zeros_like(full)
    signed[1, 1] = -0.0
    return {
        "full": full,
        "half": full.astype(np.float16).astype(np.float32),
        "sparse": sparse,
        "empty": np.zeros_like(full),
        "signed": signed,
        "large": 1e5 * np.round(full),
        "places": np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 256 - 128,
        "wide places": np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 257 - 128,
    }


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("full", None),
        ("half", np.float16),
        ("sparse", SparseConstant),
        ("empty", SparseConstant),
        ("signed", np.float16),
        ("large", None),
        ("places", np.int8),
        ("wide places", None),
    ],
)
def test_a_constant_takes_the_shortest_form_that_keeps_every_bit(name: str, form: type | None) -> None:
    packed = pack(constants()[name])
    assert (packed.dtype.type if isinstance(packed, np.ndarray) else packed and type(packed)) is form


def test_small_constants_and_other_types_stay() -> None:
    assert pack(np.zeros(255, np.float32)) is None
    assert pack(np.zeros(1000, np.float64)) is None
    assert pack(np.zeros(1000, np.int32)) is None


class HoldsConstants(nn.Module):
    """Answers a mixture (B, 1, T) with the T values of a constant."""

    values: Tensor

    def __init__(self, values: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("values", torch.from_numpy(values), persistent=False)

    def forward(self, mixture: Tensor) -> Tensor:
        return 0 * mixture + self.values.flatten()


@pytest.mark.parametrize("name", sorted(constants()))
def test_both_artifacts_compute_with_the_very_values(name: str, tmp_path: Path) -> None:
    values = constants()[name]
    network, example = HoldsConstants(values).eval(), torch.zeros(2, 1, ROWS * COLUMNS)
    card = tiny_draft(extra_outputs=())
    export_onnx(network, example, card, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (from_onnx,) = session.run(None, {"mixture": example.numpy()})
    export_torch_script(network, example, card, tmp_path / "model.ts")
    from_torch = torch.jit.load(str(tmp_path / "model.ts"))(example).numpy()
    for estimates in (from_onnx, from_torch):
        np.testing.assert_array_equal(estimates[1, 0].reshape(ROWS, COLUMNS), values)


@pytest.fixture(scope="module")
def half_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return export_bundle(tiny_network(), tiny_draft(weight_precision="half"), tmp_path_factory.mktemp("models"))


def test_half_weights_make_smaller_files(half_bundle: ModelBundle, tmp_path: Path) -> None:
    full = export_bundle(tiny_network(), tiny_draft(), tmp_path)
    num_weights = sum(weights.numel() for weights in tiny_network().parameters() if weights.numel() >= 256)
    for kind in ("onnx", "torchscript"):
        saved = full.artifact(kind).bytes - half_bundle.artifact(kind).bytes
        assert saved > 1.5 * num_weights  # two bytes a weight, less the operators that widen them
    assert "rounded to half precision" in (half_bundle.path / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("engine_name", ["onnx_runtime", "torch_script"])
def test_half_artifacts_agree_with_the_rounded_network(half_bundle: ModelBundle, engine_name: str) -> None:
    rounded = tiny_network()
    round_to_half(rounded)
    mixture = noise(2, 1, 9 * HOP)
    with torch.inference_mode():
        estimates, f0_hz, _ = rounded(torch.from_numpy(mixture))
    outputs = open_engine(engine_name, half_bundle, EngineOptions()).run(mixture)
    np.testing.assert_allclose(outputs["estimates"], estimates, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(outputs["f0"], f0_hz, rtol=TOLERANCE)


def test_no_constant_is_stored_twice(half_bundle: ModelBundle) -> None:
    model = onnx.load(half_bundle.artifact_path("onnx"))
    contents = [(tensor.data_type, tuple(tensor.dims), tensor.raw_data) for tensor in model.graph.initializer]
    assert len(set(contents)) == len(contents)


def test_rounding_changes_parameters_and_persistent_buffers_alone() -> None:
    network = TinyNetwork()
    network.register_buffer("level", torch.tensor([1 + 1e-4]))
    network.register_buffer("count", torch.tensor([70_000]))
    dft = network.dft.clone()
    round_to_half(network)
    for weights in (*network.parameters(), network.level):
        assert weights.dtype == torch.float32
        assert torch.equal(weights, weights.half().float())
    assert torch.equal(network.dft, dft)
    assert int(network.count) == 70_000


def test_a_weight_beyond_half_precision_is_refused_by_name(tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.mask.bias[3] = 1e6
    with pytest.raises(ModelError, match=r"mask\.bias reaches 1e\+06, half precision 65504") as refused:
        export_bundle(network, tiny_draft(weight_precision="half"), tmp_path)
    assert refused.value.code == "export-failed"
    assert list(tmp_path.iterdir()) == []
