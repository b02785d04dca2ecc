"""Pitches find their voices: by rank where all were detected, by continuity elsewhere."""

import io
import warnings

import numpy as np
import onnxruntime
import pytest
import torch

from divisi_workshop.published.salience_to_f0 import HeuristicAssignment, HeuristicConfig, walk

FREQUENCIES_HZ = 61.0 * 2 ** (torch.arange(152, dtype=torch.float64) / 36)
CHORD_HZ = (440.0, 330.0, 220.0, 110.0)


def bin_of(pitch_hz: float) -> int:
    return int((FREQUENCIES_HZ - pitch_hz).abs().argmin())


def salience_of(frames: list[tuple[float, ...]]) -> torch.Tensor:
    """Ridges at the given pitches. Shape: (1, 1, K, frames)."""
    salience = torch.full((1, 1, len(FREQUENCIES_HZ), len(frames)), 0.02)
    for frame, pitches in enumerate(frames):
        for pitch_hz in pitches:
            salience[0, 0, bin_of(pitch_hz), frame] = 0.9
    return salience


def assign(frames: list[tuple[float, ...]], **options: object) -> np.ndarray:
    config = HeuristicConfig(**{"counts_missing_voices": False, **options})  # type: ignore[arg-type]
    return HeuristicAssignment(FREQUENCIES_HZ, config)(salience_of(frames))[0].numpy()


def sounding(tracks: np.ndarray, frame: int) -> list[bool]:
    return [bool(value) for value in tracks[:, frame] > 0]


def test_a_full_frame_is_assigned_by_rank_and_an_empty_one_stays_empty() -> None:
    tracks = assign([CHORD_HZ, ()])
    assert tracks[:, 0] == pytest.approx(CHORD_HZ, rel=0.02)
    assert (tracks[:, 1] == 0).all()


@pytest.mark.parametrize("missing", range(4))
@pytest.mark.parametrize("is_first", [True, False])
def test_who_is_missing_is_told_by_who_moves_least(missing: int, is_first: bool) -> None:
    partial = tuple(pitch for voice, pitch in enumerate(CHORD_HZ) if voice != missing)
    frames = [partial, CHORD_HZ] if is_first else [CHORD_HZ, partial]
    tracks = assign(frames)
    assert sounding(tracks, 0 if is_first else 1) == [voice != missing for voice in range(4)]


def test_a_voice_that_moves_while_another_rests_keeps_its_line() -> None:
    steps = [440.0, 466.0, 494.0, 523.0]
    tracks = assign([CHORD_HZ, *[(step, 330.0, 110.0) for step in steps], CHORD_HZ])
    assert tracks[0, 1:5] == pytest.approx(steps, rel=0.02)
    assert (tracks[2, 1:5] == 0).all()


def test_of_two_walks_the_cheaper_is_taken() -> None:
    later = (330.0, 262.0, 196.0, 98.0)
    # Seen from the left the lone pitch is the alto's, seen from the right the soprano's, and nearer.
    tracks = assign([CHORD_HZ, (335.0,), (330.0,), later])
    assert sounding(tracks, 2).index(True) in (0, 1)
    assert sum(sounding(tracks, 1)) == sum(sounding(tracks, 2)) == 1


def test_of_two_orders_that_cost_the_same_the_one_that_does_not_cross_is_taken() -> None:
    # Both pitches lie above both voices that may take them, so that crossing moves them just as far in sum.
    tracks = assign([CHORD_HZ, (500.0, 470.0, 110.0)], refined=True)
    assert tracks[:, 1] == pytest.approx((500.0, 470.0, 0.0, 110.0), rel=0.02)


def test_costs_are_whole_bins_so_that_no_runtime_rounds_them() -> None:
    network = HeuristicAssignment(FREQUENCIES_HZ, HeuristicConfig(counts_missing_voices=False, refined=True))
    bins, _ = network.detect(with_ties(30, torch.Generator().manual_seed(1))[:, 0])
    ranks = network.ranks
    _, cost = walk(bins.transpose(1, 2).float(), network.orders, ranks, network.registers, False)
    assert cost.max() > 0
    assert torch.equal(cost, cost.round())
    assert torch.equal(network.registers, network.registers.round())
    assert torch.equal(ranks * 32, torch.arange(24.0))


def test_more_peaks_than_voices_leave_the_strongest() -> None:
    salience = salience_of([(*CHORD_HZ, 880.0)])
    salience[0, 0, bin_of(880.0)] = 0.6
    tracks = HeuristicAssignment(FREQUENCIES_HZ)(salience)[0, :, 0].numpy()
    assert tracks == pytest.approx(CHORD_HZ, rel=0.02)


def test_without_any_full_frame_registers_decide() -> None:
    tracks = assign([(110.0,), (112.0,)])
    assert sounding(tracks, 0) == [False, False, False, True]


def test_pairs_are_handed_to_two_voices() -> None:
    tracks = assign([(330.0, 220.0)], voice_count=2)
    assert tracks[:, 0] == pytest.approx((330.0, 220.0), rel=0.02)


def with_ties(frames: int, generator: torch.Generator) -> torch.Tensor:
    """Three ridges a frame on whole bins, so that many orders cost the same. Shape: (1, 1, K, frames)."""
    salience = torch.full((1, 1, len(FREQUENCIES_HZ), frames), 0.02)
    for frame in range(frames):
        bins = 1 + 2 * torch.randperm(75, generator=generator)[: 4 if frame % 9 == 0 else 3]
        salience[0, 0, bins, frame] = 0.9
    return salience


@pytest.mark.parametrize("refined", [True, False])
def test_the_loop_exports_for_any_number_of_frames_and_recordings(refined: bool) -> None:
    config = HeuristicConfig(threshold=0.3, counts_missing_voices=False, refined=refined)
    network = HeuristicAssignment(FREQUENCIES_HZ, config)
    graph = io.BytesIO()
    generator = torch.Generator().manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its own retirement
        torch.onnx.export(
            network,
            (torch.rand(2, 1, 152, 7, generator=generator) ** 8,),
            graph,
            dynamo=False,
            opset_version=17,
            input_names=["salience"],
            output_names=["f0"],
            dynamic_axes={"salience": {0: "B", 3: "N"}, "f0": {0: "B", 2: "N"}},
        )
    session = onnxruntime.InferenceSession(graph.getvalue(), providers=["CPUExecutionProvider"])
    noises = [torch.rand(batch, 1, 152, frames, generator=generator) ** 8 for batch, frames in ((1, 5), (3, 40))]
    for salience in (*noises, with_ties(200, generator)):
        found = session.run(["f0"], {"salience": salience.numpy()})[0]
        assert np.array_equal(found, network(salience).numpy())
