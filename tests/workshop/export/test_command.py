"""From a checkpoint on disk to a bundle, as `divisi export` does it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.tiny_bundle import HOP, TinyNetwork, noise, tiny_draft

from divisi.contract.errors import InputError, ModelError
from divisi.models.bundle import write_card
from divisi.models.engine import EngineOptions, open_engine
from divisi_workshop.export.export import export_from_checkpoint

NETWORK = "tests.models.tiny_bundle:build"
CONFIG = {"hidden": 5}


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    write_card(tiny_draft(), tmp_path / "draft.yaml")
    return tmp_path / "draft.yaml"


def save(path: Path, **parts: object) -> Path:
    torch.save({"config": {"steps": 10, "network": CONFIG}, "step": 10, **parts}, path)
    return path


def test_the_average_of_the_weights_is_what_is_exported(tmp_path: Path, draft: Path) -> None:
    last, average = TinyNetwork(**CONFIG), TinyNetwork(**CONFIG).eval()
    checkpoint = save(tmp_path / "run.pt", network=last.state_dict(), average=average.state_dict())
    bundle = export_from_checkpoint(NETWORK, checkpoint, draft, tmp_path / "models", notes="Trained in a test.")
    mixture = noise(1, 1, 9 * HOP)
    with torch.inference_mode():
        expected = average(torch.from_numpy(mixture))[0].numpy()
    found = open_engine("onnx_runtime", bundle, EngineOptions()).run(mixture)["estimates"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert "Trained in a test." in (bundle.path / "MODEL_CARD.md").read_text()
    assert bundle.card.created is not None


def test_a_checkpoint_without_an_average_gives_its_weights(tmp_path: Path, draft: Path) -> None:
    checkpoint = save(tmp_path / "run.pt", network=TinyNetwork(**CONFIG).state_dict())
    assert export_from_checkpoint(NETWORK, checkpoint, draft, tmp_path / "models").card.id == "tiny-duo"


@pytest.mark.parametrize("network", ["", "tests.models.tiny_bundle", "tests.nowhere:build", f"{NETWORK}er", ":build"])
def test_a_network_that_is_not_there_is_refused(tmp_path: Path, draft: Path, network: str) -> None:
    checkpoint = save(tmp_path / "run.pt", network=TinyNetwork(**CONFIG).state_dict())
    with pytest.raises(InputError, match="name it as package") as refused:
        export_from_checkpoint(network, checkpoint, draft, tmp_path / "models")
    assert refused.value.code == "unknown-network"


class RunsCode:
    """What an unpickler that trusts its input would call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("was-run"),))  # type: ignore[return-value]


def test_a_checkpoint_that_is_none_is_refused_and_its_code_not_run(
    tmp_path: Path, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "run.pt"
    torch.save({"network": RunsCode()}, checkpoint)
    contents = (checkpoint.read_bytes(), pickle.dumps(RunsCode(), protocol=2), b"", b"text")
    for content in contents:
        checkpoint.write_bytes(content)
        with pytest.raises(InputError, match=r"run\.pt is no checkpoint") as refused:
            export_from_checkpoint(NETWORK, checkpoint, draft, tmp_path / "models")
        assert refused.value.code == "damaged-checkpoint"
    assert not Path("was-run").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path, draft: Path) -> None:
    for parts in ({"network": TinyNetwork(hidden=6).state_dict()}, {}):
        checkpoint = save(tmp_path / "run.pt", **parts)
        with pytest.raises(InputError, match="does not fit") as refused:
            export_from_checkpoint(NETWORK, checkpoint, draft, tmp_path / "models")
        assert refused.value.code == "damaged-checkpoint"


def test_a_wrong_draft_is_refused_by_field(tmp_path: Path, draft: Path) -> None:
    draft.write_text(draft.read_text().replace("sample_rate: 8000", "sample_rate: fast"))
    checkpoint = save(tmp_path / "run.pt", network=TinyNetwork(**CONFIG).state_dict())
    with pytest.raises(ModelError, match=r"draft\.yaml: sample_rate"):
        export_from_checkpoint(NETWORK, checkpoint, draft, tmp_path / "models")
