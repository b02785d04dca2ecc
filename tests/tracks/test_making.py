"""Learning tracks: who is heard where, how loud, how high and how fast; their names and tags."""

from __future__ import annotations

import asyncio
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.tracks.conftest import PARTS, SAMPLE_RATE

from divisi.contract.errors import InputError, ModelError, NotFoundError
from divisi.contract.tracks import (
    Layout,
    TrackFormat,
    TrackOptions,
    TrackSetOptions,
    check_length,
    full_set,
    tracks_of,
)
from divisi.tracks import child
from divisi.tracks.making import TrackOrder, TrackStem, make_tracks
from divisi.tracks.track_file import track_rate

NAMES = ["soprano", "alto"]
# Of tones after coding, in dB.
CLOSE_DB = 0.3
Made = dict[str, np.ndarray]


def make(stems: tuple[TrackStem, ...], folder: Path, options: TrackOptions | None = None) -> tuple[list[Path], Made]:
    """Files of a full set, and their samples, (T, C), by slug."""
    tracks = tuple(full_set(NAMES))
    paths = make_tracks(
        TrackOrder(stems, tracks, options or TrackOptions(format=TrackFormat.WAV), "Ave verum"), folder, lambda _: None
    )
    return paths, {path.stem: soundfile.read(path, always_2d=True)[0] for path in paths}


def level_db(samples: np.ndarray, hz: float, sample_rate: int = SAMPLE_RATE) -> float:
    """Of one tone in one channel, dB."""
    middle = samples[len(samples) // 4 : len(samples) // 4 * 3]
    turning = np.exp(-2j * np.pi * hz * np.arange(len(middle)) / sample_rate)
    return float(20 * np.log10(abs((middle * np.hanning(len(middle))) @ turning) * 4 / len(middle) + 1e-9))


@pytest.fixture
def made(stems: tuple[TrackStem, ...], tmp_path: Path) -> Made:
    return make(stems, tmp_path)[1]


def heard(samples: np.ndarray) -> dict[str, float]:
    """Level of each part in one channel, dB."""
    return {name: level_db(samples, hz) for name, (hz, _) in PARTS.items()}


def test_a_part_in_front_is_twelve_decibels_above_where_it_was(made: Made) -> None:
    together, front = heard(made["all"][:, 0]), heard(made["front-alto"][:, 0])
    assert front["alto"] - front["soprano"] == pytest.approx(together["alto"] - together["soprano"] + 12, abs=CLOSE_DB)


def test_a_part_that_is_left_out_is_not_heard_and_all_others_are(made: Made) -> None:
    levels = heard(made["without-soprano"][:, 1])
    assert levels["soprano"] < -80
    assert levels["alto"] > -40


@pytest.mark.parametrize(("layout", "side"), [(Layout.LEFT, 0), (Layout.RIGHT, 1)])
def test_a_part_is_alone_on_its_side_and_as_loud_as_the_rest(made: Made, layout: Layout, side: int) -> None:
    samples = made[f"{layout}-alto"]
    own, rest = heard(samples[:, side]), heard(samples[:, 1 - side])
    assert own["soprano"] < -80
    assert rest["alto"] < -80
    assert samples[:, 0].std() == pytest.approx(samples[:, 1].std(), rel=0.01)


def test_all_tracks_are_equally_loud_and_none_is_cut(made: Made) -> None:
    assert len(made) == 9
    for name, samples in made.items():
        assert np.sqrt(np.mean(samples**2)) == pytest.approx(np.sqrt(np.mean(made["all"] ** 2)), rel=0.01), name
        assert np.abs(samples).max() < 0.9


@pytest.mark.parametrize("encoding", TrackFormat)
def test_speed_and_key_are_in_the_files_of_every_format(
    stems: tuple[TrackStem, ...], tmp_path: Path, encoding: TrackFormat
) -> None:
    options = TrackOptions(speed=80, semitones=-2, format=encoding, choir="St. Cecilia")
    _, made = make(stems, tmp_path, options)
    for name, samples in made.items():
        assert abs(len(samples) - 2 * SAMPLE_RATE / 0.8) <= SAMPLE_RATE / 1000, name
    front = made["front-soprano"][:, 0]
    lowered = 660 * 2 ** (-2 / 12)
    assert level_db(front, lowered) > level_db(front, 660) + 40


@pytest.mark.parametrize("encoding", TrackFormat)
def test_players_are_shown_title_song_choir_and_number(
    stems: tuple[TrackStem, ...], tmp_path: Path, encoding: TrackFormat
) -> None:
    options = TrackOptions(format=encoding, choir="St. Cecilia")
    paths, _ = make(stems, tmp_path, options)
    with soundfile.SoundFile(paths[1]) as file:
        assert (file.title, file.artist, file.album) == ("Ave verum – soprano in front", "St. Cecilia", "Ave verum")
    if encoding is TrackFormat.MP3:
        content = paths[1].read_bytes()
        picture = content[content.index(b"\x89PNG") :]
        assert picture[12:16] == b"IHDR"
        assert int.from_bytes(picture[29:33], "big") == zlib.crc32(picture[12:29])


def test_names_sort_as_a_choir_practises() -> None:
    options = TrackOptions(speed=80, semitones=-2)
    names = [track.file_name(options) for track in full_set(NAMES)]
    assert names == sorted(names)
    assert names[0] == "01 all parts (80 percent, 2 down).mp3"
    assert names[2] == "03 without soprano (80 percent, 2 down).mp3"


def test_a_set_is_of_the_parts_and_layouts_that_were_asked_for() -> None:
    asked = TrackSetOptions(parts=("alto",), layouts=(Layout.LEFT, Layout.FRONT))
    assert [track.slug for track in tracks_of(NAMES, asked)] == ["all", "front-alto", "left-alto"]
    accompanied = [*NAMES, "accompaniment"]
    everything = tracks_of(accompanied, TrackSetOptions())
    assert [track.part for track in everything if track.part == "accompaniment"] == []
    assert [track.slug for track in everything] == [track.slug for track in tracks_of(NAMES, TrackSetOptions())]
    named = tracks_of(accompanied, TrackSetOptions(parts=("accompaniment",), layouts=(Layout.WITHOUT,)))
    assert [track.slug for track in named] == ["all", "without-accompaniment"]
    with pytest.raises(NotFoundError, match="soprano, alto"):
        tracks_of(NAMES, TrackSetOptions(parts=("flute",)))


def test_what_phones_do_not_play_takes_a_rate_that_they_do() -> None:
    rates = {192_000: 48_000, 88_200: 44_100, 48_000: 48_000, 37_800: 37_800}
    assert {rate: track_rate(rate, TrackFormat.OGG) for rate in rates} == rates
    assert track_rate(37_800, TrackFormat.MP3) == 44_100


def test_tracks_that_no_wav_file_holds_are_refused() -> None:
    check_length(20_000, TrackOptions(format=TrackFormat.WAV))
    check_length(20_000, TrackOptions(format=TrackFormat.FLAC, speed=50))
    with pytest.raises(InputError, match="last 40000 s; wav holds 22000 s") as refused:
        check_length(20_000, TrackOptions(format=TrackFormat.WAV, speed=50))
    assert refused.value.code == "audio-too-long"


def test_a_child_that_makes_no_progress_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_MOST_SILENT_SECONDS", 0.5)
    os.mkfifo(tmp_path / "alto.wav")  # nobody ever writes into it
    order = TrackOrder((TrackStem("alto", tmp_path / "alto.wav"),), (), TrackOptions(), "Song")
    with pytest.raises(ModelError, match="cannot be mixed"):
        asyncio.run(child.make_in_child(order, tmp_path, lambda _: None))


def test_stems_that_are_not_of_one_recording_are_refused(stems: tuple[TrackStem, ...], tmp_path: Path) -> None:
    soundfile.write(stems[1].path, np.zeros(1_000), SAMPLE_RATE)
    with pytest.raises(InputError, match="alto differs from soprano"):
        make(stems, tmp_path)
