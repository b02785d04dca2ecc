"""From a folder of recordings to scores, through the serving Separator with an engine that separates nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from divisi.contract.errors import InputError
from divisi.models.plan import Voices
from divisi.separation.separator import Separator
from divisi_workshop.choirs.takes import VOICES
from divisi_workshop.evaluation.datasets import load_dataset
from divisi_workshop.evaluation.evaluate import MIXTURE, ORACLE, evaluate

MakeSeparator = Callable[..., Separator]
# Segments are cross-faded in float32.
BLENDING_ERROR_DB = 0.01


@pytest.mark.parametrize("whole", [False, True])
def test_a_model_that_separates_nothing_scores_as_the_mixture(
    data: Path, make_separator: MakeSeparator, whole: bool
) -> None:
    evaluation = evaluate([make_separator()], load_dataset("nino_dios", data), whole=whole)
    mixture, model, oracle = evaluation.systems
    assert (mixture.system, model.system, oracle.system) == (MIXTURE, "no-model 1.0.0", ORACLE)
    assert evaluation.is_whole is whole
    assert len(mixture.scores) == len(model.scores) == len(oracle.scores)
    for nothing_done, separated, bound in zip(mixture.scores, model.scores, oracle.scores, strict=True):
        assert (separated.stretch, separated.start_seconds, separated.voice) == (
            nothing_done.stretch,
            nothing_done.start_seconds,
            nothing_done.voice,
        )
        assert separated.si_sdr_db == pytest.approx(nothing_done.si_sdr_db, abs=BLENDING_ERROR_DB)
        assert bound.si_sdr_db > nothing_done.si_sdr_db + 5


class KnownEngine:
    """Gives the true sources, whatever it hears, so that a swapped stem shows."""

    name = "known"
    device = "cpu"

    def __init__(self, sources: np.ndarray) -> None:
        self.sources = sources

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        assert mixture.shape[-1] >= self.sources.shape[-1]
        padding = mixture.shape[-1] - self.sources.shape[-1]
        return {"estimates": np.pad(self.sources, ((0, 0), (0, padding)))[None, :, None]}

    def close(self) -> None:
        pass


def test_stems_are_matched_to_voices_by_name_and_a_stem_nobody_sings_is_passed_over(
    data: Path, make_separator: MakeSeparator
) -> None:
    dataset = load_dataset("nino_dios", data)
    card = make_separator(("organ", *reversed(VOICES))).card.model_copy(
        update={"segment_length": "whole", "context_length": 0}
    )
    organ = np.zeros_like(dataset.sources[:1])
    engine = KnownEngine(np.concatenate([organ, dataset.sources[::-1]]))
    evaluation = evaluate([Separator(engine, card)], dataset, whole=True)
    assert min(score.si_sdr_db for score in evaluation.systems[1].scores) > 100


def test_several_models_are_scored_in_the_order_asked_for(data: Path, make_separator: MakeSeparator) -> None:
    progress: list[float] = []
    separators = [make_separator(model_id="second"), make_separator(model_id="first")]
    evaluation = evaluate(separators, load_dataset("nino_dios", data), on_progress=progress.append)
    assert [system.system for system in evaluation.systems] == [MIXTURE, "second 1.0.0", "first 1.0.0", ORACLE]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


def test_a_model_without_one_of_the_voices_is_refused(data: Path, make_separator: MakeSeparator) -> None:
    with pytest.raises(InputError, match="bass"):
        evaluate([make_separator(("soprano", "alto", "tenor"))], load_dataset("nino_dios", data))


@pytest.mark.parametrize("whole", [True, False])
def test_models_are_told_who_sings(data: Path, make_separator: MakeSeparator, whole: bool) -> None:
    dataset = load_dataset("nino_dios", data)
    separator = make_separator(takes_roster=True)

    def told(voices: Voices) -> dict[str, float]:
        model = evaluate([separator], dataset, whole=whole, voices=voices).systems[1]
        by_voice = {voice: [s.si_sdr_db for s in model.scores if s.voice == voice] for voice in VOICES}
        return {voice: max(scores) for voice, scores in by_voice.items()}

    assert told("auto") == told(None)
    duet = told(("alto", "bass"))
    # The passthrough model is silent for the others: nothing of them is right.
    assert [duet[voice] > -30 for voice in VOICES] == [False, True, False, True]


def test_models_that_cannot_be_told_who_sings_are_refused_before_any_work(
    data: Path, make_separator: MakeSeparator
) -> None:
    separators = [make_separator(takes_roster=True), make_separator()]
    with pytest.raises(InputError) as refused:
        evaluate(separators, load_dataset("nino_dios", data), voices="auto")
    assert refused.value.code == "voices-not-supported"
