"""Speakers and what becomes of their speech; the speech itself is made of tones, noise and silence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from divisi_workshop.choirs.speech_voices import (
    Speaker,
    SpeechVoice,
    analyse_speech,
    draw_speakers,
    load_voices,
    read_speech,
    save_voice,
    texts_for,
)
from divisi_workshop.choirs.takes import SAMPLE_RATE


@pytest.fixture(scope="module")
def voice(make_tone: Callable[..., np.ndarray]) -> SpeechVoice:
    """Half a second each: vowel, hiss, vowel, pause."""
    count = SAMPLE_RATE // 2
    hiss = 0.05 * np.random.default_rng(1).standard_normal(count)
    return analyse_speech(np.concatenate([make_tone(150.0, 0.5), hiss, make_tone(150.0, 0.5), np.zeros(count)]))


def test_every_speaker_has_a_name_of_their_own_and_words_to_say() -> None:
    speakers = list(draw_speakers(1, 40))
    assert len({speaker.name for speaker in speakers}) == len(speakers)
    assert all(texts_for(speaker.language) for speaker in speakers)
    assert {speaker.language for speaker in speakers} >= set(read_speech()["languages"])


def test_the_same_seed_draws_the_same_speakers() -> None:
    assert list(draw_speakers(1, 40)) == list(draw_speakers(1, 40))
    assert list(draw_speakers(1, 40)) != list(draw_speakers(2, 40))


@pytest.mark.parametrize("program", ["espeak-ng", "flite", "festival"])
def test_a_command_names_the_voice_the_text_and_the_file_to_write(program: str) -> None:
    command = Speaker(program, "somebody", "en", 40, 1.25).command(Path("/a/text.txt"), Path("/a/speech.wav"))
    assert "somebody" in " ".join(command)
    assert {"/a/text.txt", "/a/speech.wav"} <= set(command)


def test_vowels_hisses_and_pauses_are_told_apart(voice: SpeechVoice) -> None:
    quarter = len(voice.is_vowel) // 4
    vowel, hiss, _, pause = (slice(start + 20, start + quarter - 20) for start in range(0, 4 * quarter, quarter))
    assert voice.singer.is_voiced[vowel].all()
    assert voice.is_vowel[vowel].mean() > 0.3
    assert not voice.singer.is_voiced[hiss].any()
    assert voice.is_silent[pause].all()
    assert not voice.is_silent[hiss].any()
    assert voice.speaking_hz == pytest.approx(150, abs=2)


def test_nothing_of_the_melody_of_speech_is_kept(voice: SpeechVoice) -> None:
    assert not voice.singer.deviation_cents.any()


def test_a_saved_voice_comes_back(voice: SpeechVoice, tmp_path: Path) -> None:
    save_voice(tmp_path / "one.npz", voice)
    (restored,) = load_voices(tmp_path)
    assert np.allclose(restored.singer.log_envelope, voice.singer.log_envelope, atol=0.02)
    assert np.array_equal(restored.is_vowel, voice.is_vowel)
    assert restored.speaking_hz == voice.speaking_hz
