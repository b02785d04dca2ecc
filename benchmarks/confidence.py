"""How well confidence ranks seconds by their true SI-SDR, through the serving Separator with a model of the store.

    python benchmarks/confidence.py --data ../data [--model chorus] [--singers 4] [--fit] [--other satb-small]

Mixes the singers of each number of Niño Dios, separates the whole recording, and compares every second of every voice
that sings. `--fit` prints the weights that least squares would take. `--other` tells what the disagreement of a second
model would add: SI-SDR of one model's stem against the other's, fitted to all singers but the last, judged on the last.
The bar: Spearman's rank correlation at least 0.5 on singer 4.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from divisi.delivery.pictures import PowerFrames
from divisi.delivery.scores import FEATURES, Confidence
from divisi.models.bundle import BundleStore, ModelBundle
from divisi.models.engine import EngineOptions, open_engine
from divisi.separation.separator import SeparationOptions, Separator
from divisi.settings import load_settings
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES
from divisi_workshop.evaluation.datasets import read_in_sync
from divisi_workshop.metrics import QUIETEST_MEAN_SQUARE, si_sdr_db

BAR = 0.5
_FRAMES_A_SECOND = 16
_TINY = np.float32(1e-9)  # a silent stem agrees with nothing
_ALONE = SeparationOptions(is_accompanied=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds nino_dios")
    parser.add_argument("--model", default=load_settings().default_model)
    parser.add_argument("--singers", type=int, nargs="+", default=[4])
    parser.add_argument("--seconds", type=int, default=None, help="only so many seconds of each recording")
    parser.add_argument("--fit", action="store_true", help="print least-squares weights")
    parser.add_argument("--other", help="a second model, to tell what its disagreement would add")
    arguments = parser.parse_args()
    bundle, separator = _opened(arguments.model)
    other = _opened(arguments.other)[1] if arguments.other else None
    rows: list[tuple[np.ndarray, float, float, float, str, int]] = []
    for singer in arguments.singers:
        rows += _judge(separator, other, arguments.data, singer, arguments.seconds)
    columns = (np.array(column) for column in zip(*rows, strict=True))
    features, expected, truth, agreement, voices, singers = columns
    print(f"{bundle.card.id} {bundle.card.version}, singers {arguments.singers}: {len(truth)} seconds")
    for voice in VOICES:
        own = voices == voice
        print(f"  {voice:8} {spearmanr(expected[own], truth[own]).statistic:.2f} of {own.sum()}")
    for place in range(features.shape[1]):
        print(f"  {FEATURES[place]:14} alone {spearmanr(features[:, place], truth).statistic:+.2f}")
    if arguments.fit:
        for columns in sorted({2, features.shape[1]}):
            design = np.column_stack([features[:, :columns], np.ones(len(truth))])
            weights = np.linalg.lstsq(design, truth.clip(-15, 25), rcond=None)[0]
            print(f"  fitted: {np.round(weights, 2).tolist()}, rank {spearmanr(design @ weights, truth).statistic:.3f}")
    if other is not None:
        print(f"  agreement with {arguments.other} alone {spearmanr(agreement, truth).statistic:+.2f}")
        _tell_what_agreement_adds(features, agreement, truth, singers == arguments.singers[-1])
    error = float(np.abs(expected - truth).mean())
    rank = float(spearmanr(expected, truth).statistic)
    print(f"Spearman {rank:.3f} (bar {BAR}), mean error {error:.1f} dB: {'holds' if rank >= BAR else 'MISSED'}")


def _opened(model: str) -> tuple[ModelBundle, Separator]:
    bundle = BundleStore(load_settings().model_store).get(model)
    return bundle, Separator(open_engine("onnx_runtime", bundle, EngineOptions("cpu", 1)), bundle.card)


def _tell_what_agreement_adds(
    features: np.ndarray, agreement: np.ndarray, truth: np.ndarray, is_judged: np.ndarray
) -> None:
    """Rank correlations on the judged seconds of least squares over the others, without and with the agreement."""
    if is_judged.all():
        return
    for what, extra in (("without", []), ("with", [agreement.clip(-15, 25)])):
        design = np.column_stack([features, *extra, np.ones(len(truth))])
        weights = np.linalg.lstsq(design[~is_judged], truth[~is_judged].clip(-15, 25), rcond=None)[0]
        rank = spearmanr(design[is_judged] @ weights, truth[is_judged]).statistic
        print(f"  fitted {what} it: {np.round(weights, 2).tolist()}, rank on the last singer {rank:.3f}")


def _judge(
    separator: Separator, other: Separator | None, data: Path, singer: int, seconds: int | None
) -> list[tuple[np.ndarray, float, float, float, str, int]]:
    """Features, expected and true SI-SDR, agreement with the other model, of each second in which a voice sings."""
    sources = read_in_sync([data / "nino_dios" / f"{voice}_{singer}.flac" for voice in VOICES])
    sources = sources[:, : seconds * SAMPLE_RATE] if seconds else sources
    sources = sources / np.abs(sources.sum(axis=0)).max()
    mixture = sources.sum(axis=0, keepdims=True)
    frames = PowerFrames(len(VOICES) + 2, SAMPLE_RATE, _FRAMES_A_SECOND)
    confidence = Confidence(frames.frequencies, _FRAMES_A_SECOND, len(VOICES), separator.f0_hop_seconds)
    stems = []
    for block in separator.separate([mixture], SAMPLE_RATE, 1, options=_ALONE):
        stems.append(block.stems[:, 0])
        for powers in frames.push(np.concatenate([block.mixture[None], block.stems, block.residual[None]])):
            confidence.push_powers(powers)
        if block.f0 is not None:
            confidence.push_f0(block.f0)
    for powers in frames.finish():
        confidence.push_powers(powers)
    features, _ = confidence.features()
    expected = confidence.finish().expected_db
    whole = mixture.shape[1] // SAMPLE_RATE
    shape = (len(VOICES), whole, SAMPLE_RATE)
    references = sources[:, : whole * SAMPLE_RATE].reshape(shape)
    estimates = np.concatenate(stems, axis=1)[:, : whole * SAMPLE_RATE].reshape(shape)
    truth = si_sdr_db(estimates, references)
    agreement = np.zeros_like(truth)
    if other is not None:
        blocks = other.separate([mixture], SAMPLE_RATE, 1, options=_ALONE)
        others = np.concatenate([block.stems[:, 0] for block in blocks], axis=1)
        agreement = si_sdr_db(estimates, others[:, : whole * SAMPLE_RATE].reshape(shape) + _TINY)
    sings = np.square(references, dtype=np.float64).mean(-1) >= QUIETEST_MEAN_SQUARE
    return [
        (
            features[second, place],
            expected[place, second],
            truth[place, second],
            agreement[place, second],
            voice,
            singer,
        )
        for place, voice in enumerate(VOICES)
        for second in range(whole)
        if sings[place, second] and not np.isnan(expected[place, second])
    ]


if __name__ == "__main__":
    main()
