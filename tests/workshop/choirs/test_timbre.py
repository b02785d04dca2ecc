"""Voices changed after they were taken apart: made of one resonance each."""

import numpy as np
import pytest

from divisi_workshop.choirs import world_voices
from divisi_workshop.choirs.speech_voices import SILENT_PACE, SpeechVoice, sung_time
from divisi_workshop.choirs.world_voices import FFT_SIZE, Singer

BINS = np.arange(FFT_SIZE // 2 + 1)


def voice_with_peak(peak_hz: float, level: float = 0.0, frame_count: int = 200) -> Singer:
    """Resonance at one place. Voiced but for the last quarter."""
    envelope = level - 0.5 * ((BINS * world_voices.BIN_HZ - peak_hz) / 300) ** 2 / (
        1 + np.abs(BINS - peak_hz / 15.6) / 40
    )
    return Singer(
        np.tile(envelope, (frame_count, 1)).astype(np.float32),
        np.full((frame_count, 1), -20.0),
        np.arange(frame_count) < 3 * frame_count // 4,
        np.zeros(frame_count),
    )


def peak_hz(singer: Singer, frame: int = 50) -> float:
    return float(singer.log_envelope[frame].argmax() * world_voices.BIN_HZ)


def test_a_shorter_tract_moves_the_resonance_up() -> None:
    assert peak_hz(world_voices.scaled(voice_with_peak(1000), 1.2)) == pytest.approx(1200, abs=16)
    assert peak_hz(world_voices.scaled(voice_with_peak(1000), 0.8)) == pytest.approx(800, abs=16)


def test_a_tilt_is_so_many_decibels_an_octave() -> None:
    plain = voice_with_peak(1000)
    change = (world_voices.tilted(plain, 3.0).log_envelope - plain.log_envelope)[0] / world_voices.POWER_PER_DB
    one_khz, two_khz = round(1000 / world_voices.BIN_HZ), round(2000 / world_voices.BIN_HZ)
    assert change[two_khz] - change[one_khz] == pytest.approx(3.0, abs=0.01)


def test_breath_brings_noise_nearer_to_the_tone() -> None:
    assert (world_voices.breathier(voice_with_peak(1000), 0.5).aperiodicity == -10).all()


def test_a_blend_lies_between_two_voices_whatever_their_level() -> None:
    blend = world_voices.blended(voice_with_peak(800), voice_with_peak(1400, level=9.0), np.full(200, 0.5))
    assert 800 < peak_hz(blend) < 1400
    assert blend.log_envelope[50].max() < 1.0
    unvoiced = blend.log_envelope[190:]
    assert np.allclose(unvoiced, voice_with_peak(800).log_envelope[190:])


def test_vowels_of_different_loudness_come_out_nearly_alike() -> None:
    plain = voice_with_peak(1000)
    loudness = np.where(np.arange(200) < 100, 0.0, -2.0)[:, None]
    uneven = Singer(
        (plain.log_envelope + loudness).astype(np.float32),
        plain.aperiodicity,
        plain.is_voiced,
        plain.deviation_cents,
    )
    levels_db = world_voices.tone_level_db(world_voices.evened(uneven, np.full(200, 57.0), 0.9), np.full(200, 57.0))
    assert abs(levels_db[50] - levels_db[120]) < 1.0
    assert abs(world_voices.tone_level_db(uneven, np.full(200, 57.0))[[50, 120]] @ [1, -1]) > 8.0


def test_loud_consonants_are_kept_below_the_vowels() -> None:
    plain = voice_with_peak(1000)
    loud = plain.log_envelope + np.where(plain.is_voiced, 0.0, 6.0)[:, None]
    evened = world_voices.evened(
        Singer(loud.astype(np.float32), plain.aperiodicity, plain.is_voiced, plain.deviation_cents),
        np.full(200, 57.0),
        0.9,
    )
    consonant_db = 10 * np.log10(np.exp(evened.log_envelope[190]).mean())
    vowel_db = world_voices.tone_level_db(evened, np.full(200, 57.0))[50]
    assert vowel_db - consonant_db == pytest.approx(world_voices.CONSONANTS_BELOW_DB, abs=0.5)


def test_vowels_are_held_and_pauses_cut_while_consonants_keep_their_length() -> None:
    frames = np.arange(300)
    voice = SpeechVoice(voice_with_peak(1000, frame_count=300), frames < 100, frames >= 200, 120.0)
    pace = np.diff(sung_time(voice, 4.0))
    assert pace[50] == pytest.approx(4.0)
    assert pace[150] == pytest.approx(1.0)
    assert pace[250] == pytest.approx(SILENT_PACE)


def test_a_voice_put_on_another_time_passes_smoothly_between_its_frames() -> None:
    voice = voice_with_peak(1000)
    voice.log_envelope[:] = np.arange(200)[:, None]
    slow = world_voices.along(voice, np.arange(100) / 4)
    assert np.allclose(slow.log_envelope[:, 0], np.arange(100) / 4)
