"""What accompanies choirs: it plays the choir's notes, in its time, and sounds as it should."""

import numpy as np
import pytest

from divisi_workshop.choirs.accompaniments import (
    PROGRAMS,
    Piece,
    Played,
    applause,
    arrange,
    broken,
    chords,
    doubled,
    hum,
    play_sines,
    sung_notes,
)
from divisi_workshop.choirs.takes import SAMPLE_RATE

SOPRANO = [(0.5, 1.5, 72), (1.5, 3.0, 74)]
BASS = [(0.5, 2.0, 48), (2.0, 3.0, 50)]
SECONDS = 3.2


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_notes_of_a_singer_are_found() -> None:
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    sung = [0.3 * np.sin(2 * np.pi * 440 * times) + 0.1 * np.sin(2 * np.pi * 880 * times)]
    ((start, end, key),) = sung_notes(np.concatenate([np.zeros(SAMPLE_RATE // 2), *sung]), "soprano")
    assert key == 69
    assert start == pytest.approx(0.5, abs=0.1)
    assert end == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize("arrangement", [doubled, chords, broken])
def test_an_arrangement_plays_what_is_sung_then_or_an_octave_away(arrangement, rng) -> None:
    for start, _, key in arrangement(rng, [SOPRANO, BASS]):
        # A broken chord goes on for a while when the singers have left it.
        sung = {one for part in (SOPRANO, BASS) for begins, ends, one in part if begins - 0.6 <= start < ends + 3}
        assert key % 12 in {one % 12 for one in sung}


def test_a_piece_ends_with_its_choir_and_is_for_an_instrument_that_is_known(rng) -> None:
    known = {program for programs in PROGRAMS.values() for program in programs}
    for _ in range(30):
        piece = arrange(rng, [SOPRANO, BASS], SECONDS)
        assert piece.program in known
        assert all(0 <= note.start < note.end <= SECONDS + 0.5 for note in piece.notes)


def test_added_sines_sound_where_notes_are_and_at_their_pitch(rng) -> None:
    samples = play_sines(rng, Piece(0, (Played(1.0, 2.0, 69, 100),), 4.0))
    assert len(samples) == 4 * SAMPLE_RATE
    assert not samples[:SAMPLE_RATE].any()
    assert not samples[round(2.5 * SAMPLE_RATE) :].any()
    spectrum = np.abs(np.fft.rfft(samples[SAMPLE_RATE : 2 * SAMPLE_RATE] * np.hanning(SAMPLE_RATE)))
    loud = np.flatnonzero(spectrum > 0.1 * spectrum.max())
    nearest = np.round(loud / 440)
    # Within what detuning and a stiff string do.
    assert (np.abs(1200 * np.log2(loud / (440 * nearest))) < 60).all()


@pytest.mark.parametrize("make", [hum, applause])
def test_hum_and_applause_last_as_long_as_asked_and_sound_throughout(make, rng) -> None:
    samples = make(rng, 4 * SAMPLE_RATE)
    assert len(samples) == 4 * SAMPLE_RATE
    assert all(second.std() > 0.05 * samples.std() for second in samples.reshape(4, -1))
