from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.sample import MIXTURE, SOURCES, mixture_path, sample_folder, source_path
from divisi_workshop.choirs.sample_chorale import SAMPLE_RATE, SECONDS_PER_QUARTER, midi_of, read_notes, render

# One step of 16 bits: sines may differ in their last bit between processors.
STEP = 1
MAX_FOLDER_BYTES = 3_000_000
# Lowest and highest note that choirs ask of each voice.
RANGES = {"soprano": ("C4", "A5"), "alto": ("G3", "D5"), "tenor": ("C3", "A4"), "bass": ("E2", "D4")}


def read(path: Path) -> np.ndarray:
    words, sample_rate = soundfile.read(path, dtype="int16")
    assert sample_rate == SAMPLE_RATE
    return words.astype(np.int32)


def test_rendering_gives_the_committed_files() -> None:
    rendered = render()
    assert set(rendered) == {MIXTURE, *SOURCES}
    for name, words in rendered.items():
        committed = read(sample_folder() / f"{name}.flac")
        assert np.abs(words - committed).max() <= STEP


def test_the_sources_add_up_to_the_mixture() -> None:
    np.testing.assert_array_equal(sum(read(source_path(voice)) for voice in SOURCES), read(mixture_path()))


def test_the_sample_is_small_short_and_not_clipped() -> None:
    assert sum(path.stat().st_size for path in sample_folder().glob("*.flac")) < MAX_FOLDER_BYTES
    mixture = read(mixture_path())
    assert mixture.shape[1] == 2
    assert 8 < len(mixture) / SAMPLE_RATE < 12
    assert 10_000 < np.abs(mixture).max() < 32_000


@pytest.mark.parametrize("voice", SOURCES)
def test_every_voice_sings_sixteen_quarters_within_its_range(voice: str) -> None:
    notes = read_notes(voice)
    assert sum(note.seconds for note in notes) == pytest.approx(16 * SECONDS_PER_QUARTER)
    lowest, highest = (midi_of(pitch) for pitch in RANGES[voice])
    assert all(lowest <= note.midi <= highest for note in notes if note.midi is not None)


def test_the_voices_do_not_cross_and_breathe_one_after_the_other() -> None:
    def midi_at(voice: str, quarter: float) -> float | None:
        seconds = 0.0
        for note in read_notes(voice):
            seconds += note.seconds
            if quarter * SECONDS_PER_QUARTER < seconds - 1e-6:
                return note.midi
        return None

    for quarter in np.arange(0, 16, 0.5):
        chord = [midi for voice in SOURCES if (midi := midi_at(voice, quarter)) is not None]
        # Alto and tenor do cross on the third beat of the first bar, as Bach wrote it.
        assert quarter in (3.0, 3.5) or all(upper >= lower for upper, lower in pairwise(chord)), quarter
    lengths = {next(note.seconds for note in read_notes(voice) if note.midi is None) for voice in SOURCES}
    assert len(lengths) == len(SOURCES)


@pytest.mark.parametrize(("pitch", "midi"), [("C4", 60), ("A4", 69), ("C#3", 49), ("Bb2", 46), ("F5", 77)])
def test_pitch_names_are_read(pitch: str, midi: int) -> None:
    assert midi_of(pitch) == midi
