"""MODEL_CARD.md says what card.yaml says."""

from __future__ import annotations

from tests.models.tiny_bundle import tiny_draft

from divisi.contract.card import ModelCard
from divisi_workshop.export.model_card import render_model_card

QUALITY = {
    "test_set": "Held-out singers",
    "protocol": "Excerpts of 4 s through the serving path.",
    "metric": "SI-SDR in dB",
    "per_stem": {"lower": 4.125, "upper": 8.5},
    "mean": 6.31,
    "mixture_mean": -0.25,
}


def card(**changes: object) -> ModelCard:
    return ModelCard.model_validate(tiny_draft(**changes).model_dump())


def test_the_shapes_are_told_in_seconds_and_words() -> None:
    text = render_model_card(card(segment_length=32000, context_length=3200))
    assert "| stems | upper, lower |" in text
    assert "| segment | 4 s, of which 0.4 s at each end are context |" in text
    assert "| also gives `f0` | one value per stem every 64 samples, in Hz |" in text
    whole = render_model_card(card(segment_length="whole", context_length=0))
    assert "| segment | the whole recording |" in whole


def test_quality_stands_in_the_order_of_the_stems() -> None:
    text = render_model_card(card(quality=[QUALITY]))
    assert "## Quality: Held-out singers" in text
    assert "|  | upper | lower | mean |" in text
    assert "| SI-SDR in dB | 8.50 | 4.12 | 6.31 |" in text
    assert "| the mixture itself |  |  | -0.25 |" in text


def test_training_data_are_credited_whatever_characters_they_use() -> None:
    data = [{"name": "Choir | live", "licence": "CC BY 4.0", "credit": "The singers\nof 2024"}]
    text = render_model_card(card(training={"summary": "One night.", "data": data}))
    assert "One night.\n\n| data | licence | credit |" in text
    assert "| Choir \\| live | CC BY 4.0 | The singers of 2024 |" in text


def test_notes_come_near_the_end_and_only_where_there_are_some() -> None:
    assert "## Notes\n\nBeware of *applause*.\n\n## Licence" in render_model_card(card(), "\nBeware of *applause*.\n")
    assert "## Notes" not in render_model_card(card(), " \n")


def test_a_card_without_figures_has_no_empty_sections() -> None:
    text = render_model_card(card())
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# Tiny duo", "## What goes in and comes out", "## Licence"]
    assert text.endswith("Apache-2.0\n")
