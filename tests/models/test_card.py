"""The card: what it accepts, how it reads and writes, and what it says when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from divisi.contract.card import CardDraft, ModelCard, version_key
from divisi.contract.errors import ModelError
from divisi.models.bundle import read_card, write_card


def fields(**changes: Any) -> dict[str, Any]:
    """A full card as YAML holds it, but for the changes."""
    stated = {
        "id": "quartet-large",
        "version": "1.10.0",
        "title": "Quartet, large",
        "description": "Four voices – «a cappella».",
        "stem_family": "satb",
        "stems": ["soprano", "alto", "tenor", "bass"],
        "sample_rate": 16000,
        "num_channels": 1,
        "segment_length": 64000,
        "context_length": 8192,
        "length_multiple": 512,
        "mask_exponent": 1.5,
        "extra_outputs": [{"name": "f0", "hop_length": 512}, {"name": "resynthesis"}],
        "quality": [
            {
                "test_set": "A choir",
                "protocol": "4 s excerpts",
                "metric": "SI-SDR in dB",
                "per_stem": {"soprano": 8.5, "alto": 6, "tenor": 5, "bass": 9},
                "mean": 7.1,
                "mixture_mean": -5.6,
            }
        ],
        "speed": [{"real_time_factor": 0.05, "machine": "one core", "engine": "onnx_runtime", "num_threads": 1}],
        "training": {"summary": "Long.", "data": [{"name": "Choir", "licence": "CC BY 4.0", "credit": "Its singers"}]},
        "licence": "Apache-2.0",
        "artifacts": [{"kind": "onnx", "file": "model.onnx", "sha256": "0" * 64, "bytes": 1000, "opset": 20}],
        "parity": {
            "max_abs_error": {"onnx": 2e-7},
            "tolerance": 1e-4,
            "seed": 20,
            "batch_sizes": [1, 3],
            "lengths": [20480, 64000],
        },
        "git_commit": "0" * 40,
        "created": "2026-11-22T17:11:42Z",
    }
    return stated | changes


def read(path: Path, stated: dict[str, Any]) -> ModelCard:
    path.write_text(yaml.safe_dump(stated, allow_unicode=True), encoding="utf-8")
    return read_card(path, ModelCard)


def test_a_card_that_was_written_reads_back_as_an_equal_card(tmp_path: Path) -> None:
    card = ModelCard.model_validate(fields())
    write_card(card, tmp_path / "card.yaml")
    assert read_card(tmp_path / "card.yaml", ModelCard) == card


def test_a_draft_needs_no_figures_of_the_export(tmp_path: Path) -> None:
    names = set(CardDraft.model_fields)
    (tmp_path / "draft.yaml").write_text(yaml.safe_dump({k: v for k, v in fields().items() if k in names}))
    draft = read_card(tmp_path / "draft.yaml", CardDraft)
    assert draft.output_names == ("estimates", "f0", "resynthesis")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "../escape"),
        ("id", "Quartet"),
        ("id", "a--b"),
        ("id", "a" * 65),
        ("version", "1.0"),
        ("version", "01.0.0"),
        ("version", "1.0.0/../.."),
        ("version", 1.0),
        ("stems", []),
        ("stems", ["alto", "alto"]),
        ("stems", ["soprano", "residual"]),
        ("stems", ["soprano", "../alto"]),
        ("sample_rate", 0),
        ("num_channels", 0),
        ("num_channels", "stereo"),
        ("segment_length", 64001),
        ("segment_length", "half"),
        ("segment_length", "whole"),
        ("context_length", 32000),
        ("context_length", -1),
        ("length_multiple", 0),
        ("mask_exponent", 0),
        ("mask_exponent", float("nan")),
        ("normalisation", "peak"),
        ("extra_outputs", [{"name": "f0"}]),
        ("extra_outputs", [{"name": "resynthesis", "hop_length": 512}]),
        ("extra_outputs", [{"name": "f0", "hop_length": 512}, {"name": "voicing"}]),
        ("extra_outputs", [{"name": "f0", "hop_length": 512}, {"name": "voicing", "hop_length": 256}]),
        ("extra_outputs", [{"name": "voicing", "hop_length": 512}]),
        ("stems", ["soprano", "auto"]),
        ("stems", ["soprano", "resynthesis"]),
        ("extra_outputs", [{"name": "loudness"}]),
        ("extra_outputs", [{"name": "resynthesis"}, {"name": "resynthesis"}]),
        ("licence", "  "),
        ("parity", {**fields()["parity"], "max_abs_error": {"torchscript": 0.0}}),
        ("artifacts", [{**fields()["artifacts"][0], "file": "../model.onnx"}]),
        ("artifacts", [{**fields()["artifacts"][0], "sha256": "abc"}]),
        ("artifacts", [{**fields()["artifacts"][0], "kind": "pickle"}]),
        ("quality", [{**fields()["quality"][0], "per_stem": {"soprano": 8.5}}]),
    ],
)
def test_a_wrong_value_is_refused_by_file_and_field(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(ModelError) as refused:
        read(tmp_path / "card.yaml", fields(**{field: value}))
    assert refused.value.code == "damaged-card"
    assert "card.yaml: " in refused.value.message
    # A card of one whole segment that keeps its context is wrong in the context.
    wrong = "context_length" if value == "whole" else field
    assert wrong in refused.value.message


ACCOMPANIED = {
    "stems": ["soprano", "alto", "tenor", "bass", "piano"],
    "accompaniment": "piano",
    "takes_roster": True,
    "extra_outputs": [{"name": "presence"}],
}


def test_an_accompaniment_is_a_stem_but_no_voice(tmp_path: Path) -> None:
    card = read(tmp_path / "card.yaml", fields(**ACCOMPANIED))
    assert card.voices == ("soprano", "alto", "tenor", "bass")
    assert read(tmp_path / "card.yaml", fields()).voices == card.voices


@pytest.mark.parametrize(
    "change", [{"accompaniment": "soprano"}, {"accompaniment": "organ"}, {"takes_roster": False}, {"extra_outputs": []}]
)
def test_an_accompaniment_that_could_not_be_told_apart_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="accompaniment: "):
        read(tmp_path / "card.yaml", fields(**(ACCOMPANIED | change)))


def test_a_misspelt_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="mask_exponnent"):
        read(tmp_path / "card.yaml", fields(mask_exponnent=2))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    stated = fields()
    del stated["sample_rate"]
    with pytest.raises(ModelError, match="sample_rate: Field required"):
        read(tmp_path / "card.yaml", stated)


@pytest.mark.parametrize(
    "content", [b"", b"- a list", b"id: [unclosed", b"\xff\xfe\x00", b"!!python/object/apply:os.getcwd []"]
)
def test_a_file_that_is_no_card_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.yaml").write_bytes(content)
    with pytest.raises(ModelError, match=r"card\.yaml") as refused:
        read_card(tmp_path / "card.yaml", ModelCard)
    assert refused.value.code == "damaged-card"


def test_a_card_that_is_not_there_is_refused_without_the_whole_path(tmp_path: Path) -> None:
    path = tmp_path / "quartet" / "1.0.0" / "card.yaml"
    with pytest.raises(ModelError, match=r"quartet/1\.0\.0/card\.yaml") as refused:
        read_card(path, ModelCard)
    assert str(tmp_path) not in refused.value.message


def test_versions_sort_by_number_not_by_letter() -> None:
    assert sorted(["1.10.0", "1.9.0", "0.20.1", "1.9.11"], key=version_key) == ["0.20.1", "1.9.0", "1.9.11", "1.10.0"]
