"""Export publishes a bundle that agrees with its network, or nothing."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.models.tiny_bundle import (
    HOP,
    TinyNetwork,
    TinyRosterNetwork,
    noise,
    tiny_draft,
    tiny_network,
    tiny_roster_network,
)
from torch import Tensor, nn

import divisi
from divisi.contract.errors import ConflictError, ModelError
from divisi.models.bundle import BundleStore, ModelBundle
from divisi.models.engine import EngineOptions, open_engine
from divisi_workshop.export.export import ExportOptions, export_bundle
from divisi_workshop.export.parity import TOLERANCE, parity_lengths

OPTIONS = ExportOptions(
    notes="Sings *well*.",
    git_commit="0123456789abcdef0123456789abcdef01234567",
    created=datetime(2026, 11, 22, 12, 30, 15, 999, tzinfo=UTC),
    seed=21,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    root = tmp_path_factory.mktemp("models")
    return export_bundle(tiny_network(), tiny_draft(), root, OPTIONS)


def test_the_bundle_is_found_and_intact(bundle: ModelBundle) -> None:
    found = BundleStore(bundle.path.parents[1]).get("tiny-duo")
    found.verify()
    assert found.card == bundle.card
    assert sorted(path.name for path in bundle.path.iterdir()) == [
        "MODEL_CARD.md",
        "SHA256SUMS",
        "card.yaml",
        "model.onnx",
        "model.ts",
    ]


def test_sha256sum_agrees_with_the_checksums(bundle: ModelBundle) -> None:
    command = ["sha256sum", "--strict", "--check", "SHA256SUMS"]
    done = subprocess.run(command, cwd=bundle.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": OK") == 4


def test_only_the_bundle_is_left_in_the_store(bundle: ModelBundle) -> None:
    assert [path.name for path in bundle.path.parents[1].iterdir()] == ["tiny-duo"]


def test_the_card_keeps_the_draft_and_adds_what_export_found(bundle: ModelBundle) -> None:
    card = bundle.card
    stated = tiny_draft().model_dump()
    assert {name: value for name, value in card.model_dump().items() if name in stated} == stated
    assert [(artifact.kind, artifact.opset) for artifact in card.artifacts] == [("onnx", 17), ("torchscript", None)]
    for artifact in card.artifacts:
        assert artifact.bytes == (bundle.path / artifact.file).stat().st_size
    assert card.git_commit == OPTIONS.git_commit
    assert card.created == datetime(2026, 11, 22, 12, 30, 15, tzinfo=UTC)


def test_the_stated_parity_is_within_the_tolerance_at_two_batches_and_two_lengths(bundle: ModelBundle) -> None:
    parity = bundle.card.parity
    assert parity is not None
    assert set(parity.max_abs_error) == {"onnx", "torchscript"}
    assert all(0 <= error <= parity.tolerance == TOLERANCE for error in parity.max_abs_error.values())
    assert parity.seed == OPTIONS.seed
    assert parity.signals == ("noise", "the sample chorale")
    assert parity.batch_sizes == (1, 3)
    assert parity.lengths == parity_lengths(bundle.card) == (13 * HOP, 40 * HOP)


@pytest.mark.parametrize("engine_name", ["onnx_runtime", "torch_script"])
def test_artifacts_agree_with_the_network_on_a_size_export_never_saw(bundle: ModelBundle, engine_name: str) -> None:
    mixture = noise(5, 1, 7 * HOP, seed=99)
    with torch.inference_mode():
        estimates, f0_hz, resynthesis = tiny_network()(torch.from_numpy(mixture))
    outputs = open_engine(engine_name, bundle, EngineOptions()).run(mixture)
    np.testing.assert_allclose(outputs["estimates"], estimates, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(outputs["resynthesis"], resynthesis, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(outputs["f0"], f0_hz, rtol=TOLERANCE)


def test_the_onnx_graph_is_one_file_with_named_ends_and_free_batch_and_length(bundle: ModelBundle) -> None:
    model = onnx.load(bundle.path / "model.onnx", load_external_data=False)
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "mixture": ["B", 1, "T"],
        "estimates": ["B", 2, 1, "T"],
        "f0": ["B", 2, "N"],
        "resynthesis": ["B", 1, "T"],
    }
    assert all(weights.data_location == onnx.TensorProto.DEFAULT for weights in model.graph.initializer)


def test_the_torch_script_graph_names_no_device(bundle: ModelBundle) -> None:
    graph = torch.jit.load(str(bundle.path / "model.ts")).inlined_graph
    constants = [node for node in graph.findAllNodes("prim::Constant") if "evice" in str(node.output().type())]
    assert constants == []
    assert graph.findNode("prim::device") is not None


def test_no_artifact_tells_where_it_was_made(bundle: ModelBundle) -> None:
    folders = (Path(divisi.__file__).parent, Path(torch.__file__).parent, Path(__file__).parent)
    for artifact in bundle.card.artifacts:
        content = (bundle.path / artifact.file).read_bytes()
        assert not [folder for folder in folders if str(folder).encode() in content]


def test_the_same_network_gives_the_same_onnx_file(bundle: ModelBundle, tmp_path: Path) -> None:
    again = export_bundle(tiny_network(), tiny_draft(), tmp_path)
    assert again.artifact("onnx") == bundle.artifact("onnx")


def test_a_network_for_any_number_of_channels_is_measured_with_one_and_two(tmp_path: Path) -> None:
    bundle = export_bundle(tiny_network(), tiny_draft(num_channels="any"), tmp_path)
    for name in ("onnx_runtime", "torch_script"):
        outputs = open_engine(name, bundle, EngineOptions()).run(noise(2, 5, 6 * HOP))
        assert outputs["estimates"].shape == (2, 2, 5, 6 * HOP)


def test_the_network_of_the_caller_stays_as_it_was(tmp_path: Path) -> None:
    network = TinyNetwork().double().train()
    export_bundle(network, tiny_draft(), tmp_path)
    assert network.training
    assert all(weights.requires_grad and weights.dtype == torch.float64 for weights in network.parameters())


def test_a_published_version_never_changes(bundle: ModelBundle) -> None:
    before = {path.name: path.read_bytes() for path in bundle.path.iterdir()}
    with pytest.raises(ConflictError, match=r"tiny-duo/1\.0\.0 is published already") as refused:
        export_bundle(TinyNetwork(), tiny_draft(), bundle.path.parents[1])
    assert refused.value.code == "version-exists"
    assert {path.name: path.read_bytes() for path in bundle.path.iterdir()} == before


@pytest.mark.parametrize("row", [[1, 1], [0, 1], [1, 0], [0, 0]])
def test_artifacts_agree_with_a_network_that_takes_a_roster(roster_bundle: ModelBundle, row: list[int]) -> None:
    mixture, roster = noise(5, 1, 7 * HOP, seed=99), np.array([row] * 5, np.float32)
    with torch.inference_mode():
        estimates, f0_hz, _ = tiny_roster_network()(torch.from_numpy(mixture), torch.from_numpy(roster))
    for name in ("onnx_runtime", "torch_script"):
        outputs = open_engine(name, roster_bundle, EngineOptions()).run(mixture, roster)
        np.testing.assert_allclose(outputs["estimates"], estimates, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(outputs["f0"], f0_hz, rtol=TOLERANCE)


def test_the_roster_is_a_named_input_with_a_free_batch(roster_bundle: ModelBundle) -> None:
    model = onnx.load(roster_bundle.path / "model.onnx", load_external_data=False)
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    assert shapes == {"mixture": ["B", 1, "T"], "roster": ["B", 2]}
    assert "takes a roster" in (roster_bundle.path / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def roster_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    root = tmp_path_factory.mktemp("models")
    return export_bundle(tiny_roster_network(), tiny_draft(id="tiny-roster", takes_roster=True), root)


class ForgetsTheRoster(TinyRosterNetwork):
    """Tracing writes down whose roster its example was."""

    def forward(self, mixture: Tensor, roster: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        return super().forward(mixture, roster if roster.min() < 1 else torch.ones_like(roster) + 0 * roster)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_graph_that_only_knows_the_roster_it_was_traced_with_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        export_bundle(ForgetsTheRoster().eval(), tiny_draft(takes_roster=True), tmp_path / "models")
    assert refused.value.code == "parity-failed"
    assert list((tmp_path / "models").iterdir()) == []


class Estimates(nn.Module):
    """Two estimates and nothing else, as the graphs below make them."""

    def forward(self, mixture: Tensor) -> Tensor:
        return torch.stack([mixture, -mixture], dim=1)


class DependsOnTheBatch(Estimates):
    """Takes one of two ways; tracing sees the one for its example alone."""

    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(mixture if mixture.shape[0] > 1 else 0.99 * mixture)


class DependsOnTheLength(Estimates):
    """Tracing writes the length of its example down as a number."""

    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(mixture) * (1 + 1e-3 * float(mixture.shape[2] / HOP))


class DecidesByVoices(Estimates):
    """Goes one of two ways where neighbouring samples are alike; tracing sees the one for noise alone."""

    def forward(self, mixture: Tensor) -> Tensor:
        alike = (mixture[..., 1:] * mixture[..., :-1]).mean() > 0.5 * mixture.square().mean()
        return super().forward(0.99 * mixture if alike else mixture)


class DividesByTheLevel(Estimates):
    """NaN on silence."""

    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(mixture / mixture.abs().amax(dim=2, keepdim=True))


class HasThreeStems(Estimates):
    def forward(self, mixture: Tensor) -> Tensor:
        return torch.stack([mixture] * 3, dim=1)


class UsesComplexNumbers(Estimates):
    """What ONNX Runtime has no operators for."""

    def forward(self, mixture: Tensor) -> Tensor:
        return super().forward(torch.fft.irfft(torch.fft.rfft(mixture)))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("network", "code"),
    [
        (DependsOnTheBatch(), "parity-failed"),
        (DependsOnTheLength(), "parity-failed"),
        (DecidesByVoices(), "parity-failed"),
        (UsesComplexNumbers(), "export-failed"),
        (DividesByTheLevel(), "non-finite-estimates"),
        (HasThreeStems(), "wrong-signature"),
        (TinyNetwork(), "wrong-output"),
    ],
)
def test_what_disagrees_is_not_published(tmp_path: Path, network: nn.Module, code: str) -> None:
    with pytest.raises(ModelError) as refused:
        export_bundle(network, tiny_draft(extra_outputs=()), tmp_path / "models")
    assert refused.value.code == code
    assert list((tmp_path / "models").iterdir()) == []


def test_a_bare_tensor_is_as_good_as_a_tuple_of_one(tmp_path: Path) -> None:
    bundle = export_bundle(Estimates(), tiny_draft(extra_outputs=()), tmp_path)
    mixture = noise(1, 1, 4 * HOP)
    for name in ("onnx_runtime", "torch_script"):
        estimates = open_engine(name, bundle, EngineOptions()).run(mixture)["estimates"]
        np.testing.assert_array_equal(estimates, np.stack([mixture, -mixture], axis=1))
