"""Grid, stacking and decoding of pitches, apart from what is learned."""

import torch

from divisi_workshop.networks.pitch_tracker import (
    BINS_PER_OCTAVE,
    LOWEST_PITCH_HZ,
    PITCH_COUNT,
    PitchDecoder,
    PitchTracker,
    own_notes,
)
from divisi_workshop.networks.spectral import ShortTimeFourier, compress


def centre_hz(pitch: int | torch.Tensor) -> torch.Tensor:
    """Of a class."""
    return torch.tensor(LOWEST_PITCH_HZ) * 2 ** (pitch / BINS_PER_OCTAVE)


def small_tracker() -> PitchTracker:
    torch.manual_seed(0)
    return PitchTracker(1025, 640, 16_000 / 2048, channels=8, hidden=8, refined_hidden=8).eval()


def spectra_of_tone(frequency_hz: float) -> tuple[torch.Tensor, torch.Tensor]:
    time = torch.arange(512 * 16) / 16_000
    tone = sum(torch.sin(2 * torch.pi * frequency_hz * k * time) / k for k in range(1, 11))
    assert isinstance(tone, torch.Tensor)
    narrow_real, narrow_imag = ShortTimeFourier(4096, 512).analyse(tone[None])
    wide = compress(*ShortTimeFourier(2048, 512).analyse(tone[None]))
    return wide, compress(narrow_real[:, :640], narrow_imag[:, :640])


def test_stacked_harmonics_of_a_tone_meet_at_its_pitch() -> None:
    stack = small_tracker().stack_harmonics(*spectra_of_tone(220.0))
    assert stack.shape == (1, 14, PITCH_COUNT, 17)
    salience = stack[0, :, :, 8].mean(0) - 0.5 * stack[0, [0, 11], :, 8].mean(0)  # less what lies an octave below
    found_hz = centre_hz(salience.argmax())
    assert abs(1200 * torch.log2(found_hz / 220.0)) < 40  # a bin is 33 cents


def test_both_passes_give_logits_for_every_voice_pitch_and_frame() -> None:
    guess, refined, _ = small_tracker()(*spectra_of_tone(300.0), torch.ones(1, 4))
    assert guess.shape == refined.shape == (1, 4, PITCH_COUNT + 1, 17)


def test_an_absent_voice_is_left_with_silence() -> None:
    _, refined, _ = small_tracker()(*spectra_of_tone(300.0), torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    _, voicing = PitchDecoder()(refined)
    assert voicing[0, 1].max() < 1e-6
    assert voicing[0, 0].min() > 0.1


def test_who_sings_is_one_answer_a_voice_however_long_the_stretch() -> None:
    tracker = small_tracker()
    wide, narrow = spectra_of_tone(300.0)
    *_, presence = tracker(wide, narrow, torch.ones(1, 4))
    *_, longer = tracker(wide.repeat(1, 1, 3), narrow.repeat(1, 1, 3), torch.ones(1, 4))
    assert presence.shape == longer.shape == (1, 4)


def test_a_note_that_two_voices_share_is_no_voices_own() -> None:
    logits = torch.full((1, 4, PITCH_COUNT + 1, 1), -30.0)
    for voice, pitch in enumerate((50, 51, 80, PITCH_COUNT)):
        logits[0, voice, pitch] = 30.0
    has_pitch, own = own_notes(logits)[0, :, 0].split(4)
    torch.testing.assert_close(has_pitch, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    torch.testing.assert_close(own, torch.tensor([0.0, 0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_a_pitch_between_two_classes_is_decoded_between_them() -> None:
    logits = torch.full((1, 4, PITCH_COUNT + 1, 3), -20.0)
    logits[:, :, 50] = 5.0
    logits[:, :, 51] = 5.0
    f0_hz, voicing = PitchDecoder()(logits)
    expected = torch.sqrt(centre_hz(50) * centre_hz(51))
    assert torch.allclose(f0_hz, expected.expand(1, 4, 3), rtol=1e-4)
    assert (voicing > 0.99).all()


def test_a_voice_that_rests_is_decoded_unvoiced_with_a_finite_pitch() -> None:
    logits = torch.zeros(1, 4, PITCH_COUNT + 1, 3)
    logits[:, :, PITCH_COUNT] = 30.0
    f0_hz, voicing = PitchDecoder()(logits)
    assert (voicing < 0.01).all()
    assert torch.isfinite(f0_hz).all()
    assert (f0_hz > 50).all()


def test_pitches_at_the_ends_of_the_grid_can_be_decoded() -> None:
    for end in (0, PITCH_COUNT - 1):
        logits = torch.full((1, 4, PITCH_COUNT + 1, 1), -20.0)
        logits[:, :, end] = 5.0
        f0_hz, _ = PitchDecoder()(logits)
        assert abs(1200 * torch.log2(f0_hz[0, 0, 0] / centre_hz(end))) < 35


def decode_peaks(*peaks: tuple[int, float]) -> tuple[float, float]:
    """F0 and voicing where classes have the given logits and all others next to none."""
    logits = torch.full((1, 4, PITCH_COUNT + 1, 1), -20.0)
    for index, value in peaks:
        logits[:, :, index] = value
    f0_hz, voicing = PitchDecoder()(logits)
    return float(f0_hz[0, 0, 0]), float(voicing[0, 0, 0])


def test_a_voice_fades_where_two_distant_pitches_tie_so_that_rounding_decides_nothing() -> None:
    assert decode_peaks((40, 5.0), (90, 5.0 + 1e-5))[1] < 1e-3
    assert decode_peaks((40, 5.0 + 1e-5), (90, 5.0))[1] < 1e-3
    # Full at a lead of 0.7 nats in context, so that rounding moves voicing by no more than 1e-4; voiced long before.
    assert decode_peaks((40, 5.0), (90, 4.0))[1] > 0.5
    assert decode_peaks((40, 5.0), (90, 3.0))[1] > 0.99


def test_pitch_is_continuous_where_two_neighbours_tie() -> None:
    for distance in (1, 2, 3):
        lower, _ = decode_peaks((50, 5.0 + 1e-5), (50 + distance, 5.0))
        upper, _ = decode_peaks((50, 5.0), (50 + distance, 5.0 + 1e-5))
        assert abs(upper / lower - 1) < 1e-4
