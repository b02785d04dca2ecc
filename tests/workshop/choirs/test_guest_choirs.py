"""Choirs of guests: several takes a part, those held back kept apart, hymns read as chorales are."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi_workshop.choirs.guest_choirs import (
    HELD_BACK,
    GuestOptions,
    analyse_guest,
    guest_clips,
    load_hymns,
    make_choir,
    save_choir,
    who_sings,
)
from divisi_workshop.choirs.speech_voices import SpeechVoice, analyse_speech
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES

CHORALE = np.repeat([[72, 67, 60, 48], [74, 67, 59, 55]], 32, axis=0)
BRIEF = GuestOptions(seconds=1.0, made_up_share=0.0)


@pytest.fixture(scope="module")
def guest(make_tone: Callable[..., np.ndarray]) -> SpeechVoice:
    return analyse_speech(make_tone(210.0, 3.0))


@pytest.mark.parametrize("formant_share", [0.0, 1.0])
def test_a_choir_is_a_function_of_its_seed_and_no_take_is_like_another(
    guest: SpeechVoice, formant_share: float
) -> None:
    options = GuestOptions(**{**vars(BRIEF), "formant_share": formant_share})
    first, again = (
        make_choir(np.random.default_rng(4), [[guest]] * 4, [CHORALE], [CHORALE], options) for _ in range(2)
    )
    assert [part.shape for part in first] == [(options.takes, SAMPLE_RATE)] * 4
    for part, same in zip(first, again, strict=True):
        assert np.array_equal(part, same)
        assert np.isfinite(part).all()
        assert not np.array_equal(part[0], part[1])


def test_those_held_back_sing_a_part_each_and_never_with_the_others(guest: SpeechVoice) -> None:
    guests = {
        name: SpeechVoice(guest.singer, guest.is_vowel, guest.is_silent, 100.0 + n) for n, name in enumerate(HELD_BACK)
    }
    guests["somebody"] = guest
    assert who_sings(guests, are_held_back=True) == [[guests[name]] for name in HELD_BACK]
    assert who_sings(guests, are_held_back=False) == [[guest]] * 4


def test_hymns_become_sixteenths_and_every_tenth_is_kept(tmp_path: Path) -> None:
    voice = [[0, 1, 60], [1.5, 2, 62]]
    path = tmp_path / "hymns.json"
    path.write_text(json.dumps({f"hymn{n:02d}": [voice] * 4 for n in range(20)}))
    assert (len(load_hymns(path, is_kept=True)), len(load_hymns(path, is_kept=False))) == (2, 18)
    assert load_hymns(path, is_kept=True)[0][:, 0].tolist() == [60] * 4 + [-1] * 2 + [62] * 2


def test_clips_are_found_by_singer_and_by_speaker(tmp_path: Path, make_tone: Callable[..., np.ndarray]) -> None:
    names = ("voices/yuki/a.flac", "speech/vctk/p225__1.flac", "speech/vctk/p226__1.flac", "speech/prompts/it/x.flac")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, make_tone(210.0, 1.0), SAMPLE_RATE)
    clips = guest_clips(tmp_path)
    assert sorted(clips) == ["p225", "p226", "prompts_it", "yuki"]
    voice = analyse_guest(np.random.default_rng(1), clips["yuki"])
    assert voice.speaking_hz == pytest.approx(210.0, rel=0.02)


def test_a_choir_is_one_file_a_part_with_its_takes_as_channels(tmp_path: Path) -> None:
    parts = [np.full((2, 100), 0.1 * place, np.float32) for place in range(4)]
    save_choir(tmp_path, 7, parts)
    for place, voice in enumerate(VOICES):
        samples, sample_rate = soundfile.read(tmp_path / f"choir_00007_{voice}.flac")
        assert (samples.shape, sample_rate) == ((100, 2), SAMPLE_RATE)
        assert samples[50, 1] == pytest.approx(0.1 * place, abs=1e-4)
