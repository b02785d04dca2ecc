"""Several mono files are one recording, or are refused with both values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.audio.decode import as_one_recording, channel_file_name, open_decoder, pack_files, unpack_files
from divisi.audio.recording import AudioLimits
from divisi.contract.errors import InputError

RATE = 8000


def write_files(folder: Path, *parts: np.ndarray, rates: tuple[int, ...] = ()) -> Path:
    folder.mkdir()
    for place, part in enumerate(parts):
        rate = rates[place] if rates else RATE
        soundfile.write(folder / channel_file_name(place), part, rate, subtype="FLOAT", format="WAV")
    return folder


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def read(folder: Path, block_length: int = 1000) -> np.ndarray:
    with open_decoder(folder) as decoder:
        return np.concatenate(list(decoder.blocks(block_length)), axis=1)


@pytest.mark.parametrize("num_samples", [1, 999, 65_536, 70_001])
def test_files_become_channels_in_order(num_samples: int, tmp_path: Path) -> None:
    parts = [noise(num_samples, seed) for seed in range(3)]
    folder = write_files(tmp_path / "files", *parts)
    with open_decoder(folder) as decoder:
        assert (decoder.facts.container, decoder.facts.num_channels, decoder.facts.sample_rate) == ("files", 3, RATE)
    np.testing.assert_array_equal(read(folder), np.stack(parts))


def test_they_travel_as_one_file(tmp_path: Path) -> None:
    parts = [noise(500, seed) for seed in range(2)]
    folder = write_files(tmp_path / "files", *parts)
    pack_files(folder, tmp_path / "packed")
    unpack_files(tmp_path / "packed", tmp_path / "again")
    np.testing.assert_array_equal(read(tmp_path / "again"), np.stack(parts))


def test_other_bytes_cannot_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"no archive")
    with pytest.raises(InputError) as caught:
        unpack_files(tmp_path / "packed", tmp_path / "again")
    assert caught.value.code == "undecodable"


@pytest.mark.parametrize("longer", [0, 1])
def test_another_length_is_refused_with_both(longer: int, tmp_path: Path) -> None:
    lengths = [70_000, 140_001] if longer else [140_001, 70_000]
    with pytest.raises(InputError) as caught:
        read(write_files(tmp_path / "files", *(noise(length) for length in lengths)))
    assert caught.value.code == "files-do-not-match"
    assert caught.value.facts == {"file": 2, "num_samples": lengths[1], "expected_num_samples": lengths[0]}


def test_another_rate_is_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(write_files(tmp_path / "files", noise(100), noise(100), rates=(8000, 16_000)))
    assert caught.value.facts == {"file": 2, "sample_rate": 16_000, "expected_sample_rate": 8000}


def test_a_stereo_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(write_files(tmp_path / "files", noise(100), noise(200).reshape(100, 2)))
    assert caught.value.facts == {"file": 2, "num_channels": 2, "expected_num_channels": 1}


def test_limits_hold_for_the_whole(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", noise(100), noise(100))
    with pytest.raises(InputError) as caught:
        open_decoder(folder, AudioLimits(max_duration_seconds=10, max_channels=1, inspect_seconds=1))
    assert caught.value.code == "too-many-channels"


def test_a_damaged_file_among_them_is_told(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", noise(100), noise(100))
    whole = (folder / channel_file_name(1)).read_bytes()
    (folder / channel_file_name(1)).write_bytes(whole[:-40])
    with pytest.raises(InputError) as caught:
        read(folder)
    assert caught.value.code == "undecodable"


def test_paths_elsewhere_are_shown_as_one_recording(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", noise(50), noise(50, 1))
    with as_one_recording([folder / channel_file_name(1), folder / channel_file_name(0)]) as path:
        np.testing.assert_array_equal(read(path), np.stack([noise(50, 1), noise(50)]))
    with as_one_recording([folder / channel_file_name(0)]) as path:
        assert path == folder / channel_file_name(0)
