"""Labels of tones whose pitch is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi_workshop.choirs.takes import SAMPLE_RATE
from divisi_workshop.choirs.world_voices import label_f0, label_folder

Tone = Callable[[float, float], np.ndarray]


def test_a_tone_is_labelled_with_its_pitch_and_silence_with_none(make_tone: Tone) -> None:
    samples = np.concatenate([make_tone(220.0, 0.8), np.zeros(SAMPLE_RATE // 2)])
    track = label_f0(samples, SAMPLE_RATE, (85.0, 600.0))
    sung = track[20:140]
    assert (sung > 0).all()
    assert np.abs(1200 * np.log2(np.median(sung) / 220.0)) < 10
    assert (track[180:] == 0).all()


def test_a_folder_is_labelled_once(make_tone: Tone, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tenor_1.flac", make_tone(200.0, 0.5), SAMPLE_RATE)
    soundfile.write(tmp_path / "piano_1.flac", make_tone(200.0, 0.5), SAMPLE_RATE)
    label_folder(tmp_path, tmp_path / "labels")
    (made,) = (tmp_path / "labels").iterdir()
    assert made.name == "tenor_1.npy"
    np.save(made, np.ones(3, dtype=np.float32))
    label_folder(tmp_path, tmp_path / "labels")
    assert np.load(made) == pytest.approx(np.ones(3))
