"""The store: which bundles it finds, and which it refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from divisi.contract.card import Artifact, ModelCard, Parity
from divisi.contract.errors import ModelError, NotFoundError
from divisi.models.bundle import CARD_FILE, CHECKSUMS_FILE, BundleStore, write_card, write_checksums

CONTENT = b"not a graph, but bytes"


def publish(root: Path, model_id: str = "duo", version: str = "1.0.0") -> Path:
    """A bundle with one artifact, without a graph in it; returns its folder."""
    folder = root / model_id / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(CONTENT)
    artifact = Artifact(
        kind="onnx", file="model.onnx", sha256=hashlib.sha256(CONTENT).hexdigest(), bytes=len(CONTENT), opset=20
    )
    card = ModelCard(
        id=model_id,
        version=version,
        title="Duo",
        description="Two voices.",
        stem_family="duo",
        stems=("upper", "lower"),
        sample_rate=8000,
        segment_length="whole",
        artifacts=(artifact,),
        parity=Parity(max_abs_error={"onnx": 0.0}, tolerance=1e-4, seed=1, batch_sizes=(1,), lengths=(8000,)),
    )
    write_card(card, folder / CARD_FILE)
    write_checksums(folder, [CARD_FILE, "model.onnx"])
    return folder


def test_the_newest_version_is_taken_unless_one_is_named(tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0", "0.20.0"):
        publish(tmp_path, version=version)
    store = BundleStore(tmp_path)
    assert store.versions("duo") == ["0.20.0", "1.9.0", "1.10.0"]
    assert store.get("duo").card.version == "1.10.0"
    assert store.get("duo", "1.9.0").card.version == "1.9.0"


def test_the_list_has_one_card_for_each_model_by_name(tmp_path: Path) -> None:
    for model_id, version in (("trio", "1.0.0"), ("duo", "1.0.0"), ("duo", "2.0.0")):
        publish(tmp_path, model_id, version)
    cards = BundleStore(tmp_path).list()
    assert [(card.id, card.version) for card in cards] == [("duo", "2.0.0"), ("trio", "1.0.0")]


def test_a_bundle_that_is_put_there_later_is_found(tmp_path: Path) -> None:
    store = BundleStore(tmp_path / "models")
    assert store.list() == []
    publish(tmp_path / "models")
    assert [card.id for card in store.list()] == ["duo"]


def test_folders_that_are_no_bundles_are_passed_over(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / ".export-abc" / "duo" / "2.0.0").mkdir(parents=True)
    (tmp_path / "duo" / "latest").mkdir()
    (tmp_path / "duo" / "3.0.0").mkdir()
    (tmp_path / "README.md").write_text("models")
    store = BundleStore(tmp_path)
    assert store.model_ids() == ["duo"]
    assert store.versions("duo") == ["1.0.0"]


@pytest.mark.parametrize(
    ("model_id", "version"),
    [
        ("trio", None),
        ("", None),
        ("..", None),
        ("../models/duo", None),
        ("duo/1.0.0", None),
        ("duo\n", None),
        ("/etc", None),
        ("duo", "2.0.0"),
        ("duo", "../../duo/1.0.0"),
        ("duo", "1.0.0/"),
        ("duo", ".."),
    ],
)
def test_what_names_no_bundle_is_not_found(tmp_path: Path, model_id: str, version: str | None) -> None:
    publish(tmp_path / "models")
    with pytest.raises(NotFoundError) as refused:
        BundleStore(tmp_path / "models").get(model_id, version)
    assert refused.value.code == "unknown-model"


def test_the_path_of_an_intact_artifact_is_given(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    bundle = BundleStore(tmp_path).get("duo")
    bundle.verify()
    assert bundle.artifact_path("onnx") == folder / "model.onnx"


def test_an_artifact_is_read_for_its_checksum_once(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    bundle = BundleStore(tmp_path).get("duo")
    bundle.artifact_path("onnx")
    (folder / "model.onnx").write_bytes(b"changed since")
    assert bundle.artifact_path("onnx") == folder / "model.onnx"
    with pytest.raises(ModelError):
        BundleStore(tmp_path).get("duo").artifact_path("onnx")


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    (folder / "model.onnx").write_bytes(CONTENT[::-1])
    bundle = BundleStore(tmp_path).get("duo")
    for check in (bundle.verify, lambda: bundle.artifact_path("onnx")):
        with pytest.raises(ModelError, match=r"model\.onnx has SHA-256") as refused:
            check()
        assert refused.value.code == "damaged-bundle"


def test_a_checksum_that_was_changed_with_the_bytes_disagrees_with_the_card(tmp_path: Path) -> None:
    folder = publish(tmp_path)
    (folder / "model.onnx").write_bytes(CONTENT[::-1])
    write_checksums(folder, [CARD_FILE, "model.onnx"])
    with pytest.raises(ModelError, match="card and SHA256SUMS disagree"):
        BundleStore(tmp_path).get("duo").artifact_path("onnx")


def test_an_artifact_that_is_gone_is_missing(tmp_path: Path) -> None:
    (publish(tmp_path) / "model.onnx").unlink()
    with pytest.raises(ModelError) as refused:
        BundleStore(tmp_path).get("duo").artifact_path("onnx")
    assert refused.value.code == "missing-artifact"


def test_an_artifact_of_another_kind_is_missing(tmp_path: Path) -> None:
    publish(tmp_path)
    with pytest.raises(ModelError, match="no torchscript artifact") as refused:
        BundleStore(tmp_path).get("duo").artifact_path("torchscript")
    assert refused.value.code == "missing-artifact"


def change_the_card(folder: Path) -> None:
    path = folder / CARD_FILE
    path.write_text(path.read_text().replace("8000", "8001"))


def remove_the_checksums(folder: Path) -> None:
    (folder / CHECKSUMS_FILE).unlink()


def garble_the_checksums(folder: Path) -> None:
    (folder / CHECKSUMS_FILE).write_text("duo\n")


def list_a_file_elsewhere(folder: Path) -> None:
    (folder / CHECKSUMS_FILE).write_text(f"{'0' * 64}  ../../secret\n")


def leave_the_card_out_of_the_checksums(folder: Path) -> None:
    write_checksums(folder, ["model.onnx"])


def say_another_version(folder: Path) -> None:
    path = folder / CARD_FILE
    path.write_text(path.read_text().replace("1.0.0", "1.0.1"))
    write_checksums(folder, [CARD_FILE, "model.onnx"])


def state_no_parity(folder: Path) -> None:
    path = folder / CARD_FILE
    text = path.read_text()
    path.write_text(text[: text.index("parity:")])
    write_checksums(folder, [CARD_FILE, "model.onnx"])


@pytest.mark.parametrize(
    "damage",
    [
        change_the_card,
        remove_the_checksums,
        garble_the_checksums,
        list_a_file_elsewhere,
        leave_the_card_out_of_the_checksums,
        say_another_version,
        state_no_parity,
    ],
)
def test_a_damaged_bundle_is_refused_and_left_out_of_the_list(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    publish(tmp_path, "trio")
    damage(publish(tmp_path))
    store = BundleStore(tmp_path)
    with pytest.raises(ModelError) as refused:
        store.get("duo")
    assert refused.value.code == "damaged-bundle"
    assert [card.id for card in store.list()] == ["trio"]


def test_a_model_that_comes_with_the_package_is_there_unless_the_folder_has_it(tmp_path: Path) -> None:
    publish(tmp_path / "package", "chorus", "1.0.0")
    store = BundleStore(tmp_path / "folder", shipped=tmp_path / "package")
    assert store.model_ids() == ["chorus"]
    publish(tmp_path / "folder", "trio", "1.0.0")
    assert store.model_ids() == ["chorus", "trio"]
    assert store.get("chorus").path == tmp_path / "package" / "chorus" / "1.0.0"
    publish(tmp_path / "folder", "chorus", "0.9.0")
    assert store.get("chorus").card.version == "0.9.0"
