"""What neighbouring frames and other voices settle."""

import torch

from divisi_workshop.networks.pitch_tracker import COARSE_COUNT, LOWEST_PITCH_HZ, PITCH_COUNT, PitchDecoder

FRAMES = 24


def claims(*voices: dict[int, float], frames: int = FRAMES) -> torch.Tensor:
    """Logits of each voice by class in all frames; voices that are not named rest."""
    logits = torch.full((1, 4, PITCH_COUNT + 1, frames), -10.0)
    logits[:, len(voices) :, PITCH_COUNT] = 10.0
    for place, peaks in enumerate(voices):
        for index, value in peaks.items():
            logits[0, place, index] = value
    return logits


def classes(logits: torch.Tensor) -> torch.Tensor:
    f0_hz, _ = PitchDecoder()(logits)
    return (36 * torch.log2(f0_hz / LOWEST_PITCH_HZ)).round().long()[0]


def test_a_frame_that_slips_is_set_right_by_its_neighbours() -> None:
    logits = claims({60: 5.0})
    logits[0, 0, 60, 12], logits[0, 0, 90, 12] = 3.0, 4.0
    assert (classes(logits)[0] == 60).all()


def test_a_leap_that_lasts_is_believed() -> None:
    logits = claims({60: 5.0})
    logits[0, 0, 60, 12:], logits[0, 0, 90, 12:] = -10.0, 5.0
    assert classes(logits)[0].tolist() == [60] * 12 + [90] * 12


def test_of_two_voices_on_one_note_the_less_certain_one_leaves_for_its_second_choice() -> None:
    found = classes(claims({60: 5.0}, {60: 3.3, 50: 3.0}))
    assert (found[0] == 60).all()
    assert (found[1] == 50).all()


def test_two_voices_that_are_both_certain_sing_in_unison() -> None:
    logits = claims({60: 8.0}, {60: 8.0})
    _, voicing = PitchDecoder()(logits)
    assert (classes(logits)[:2] == 60).all()
    assert (voicing[0, :2] > 0.9).all()


def test_frames_beyond_the_ends_say_nothing() -> None:
    alone = PitchDecoder()(claims({60: 5.0}, frames=1))
    among = PitchDecoder()(claims({60: 5.0}))
    assert torch.allclose(alone[0][:, 0], among[0][:, 0, :1])


def test_a_pitch_goes_somewhere() -> None:
    assert torch.allclose(PitchDecoder().glides.sum(0), torch.ones(COARSE_COUNT))
