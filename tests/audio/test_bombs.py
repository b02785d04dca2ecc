"""Small files that decode into very much: refused by what they would fill, by header or while decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.audio.decode import open_decoder
from divisi.audio.recording import AudioLimits
from divisi.audio.sandbox import inspect_audio, inspect_audio_in_child
from divisi.contract.errors import InputError

RATE, CHANNELS, SECONDS = 8_000, 8, 100
DECODED_BYTES = RATE * CHANNELS * SECONDS * 4
LIMIT_BYTES = 1_000_000


def silence(path: Path, container: str, codec: str) -> Path:
    """Silence in many channels."""
    with soundfile.SoundFile(path, "w", RATE, CHANNELS, format=container, subtype=codec) as file:
        for _ in range(SECONDS):
            file.write(np.zeros((RATE, CHANNELS), np.int16))
    return path


def flac(path: Path) -> Path:
    return silence(path, "FLAC", "PCM_16")


def flac_that_hides_its_length(path: Path) -> Path:
    data = bytearray(flac(path).read_bytes())
    data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])
    path.write_bytes(data)
    return path


def ogg(path: Path) -> Path:
    return silence(path, "OGG", "VORBIS")


bombs = pytest.mark.parametrize("make_bomb", [flac, flac_that_hides_its_length, ogg])


@bombs
@pytest.mark.parametrize("inspect", [inspect_audio, inspect_audio_in_child])
def test_a_file_that_fills_too_much_is_refused(
    tmp_path: Path, limits: AudioLimits, make_bomb: Callable[[Path], Path], inspect: Callable
) -> None:
    path = make_bomb(tmp_path / "bomb")
    assert path.stat().st_size * 100 < DECODED_BYTES
    tight = replace(limits, max_duration_seconds=3600, max_decoded_bytes=LIMIT_BYTES)
    with pytest.raises(InputError, match="1000000") as caught:
        inspect(path, tight)
    assert caught.value.code == "audio-too-large"
    assert inspect(path, replace(tight, max_decoded_bytes=DECODED_BYTES)).num_samples == RATE * SECONDS


@bombs
def test_decoding_stops_at_the_limit(
    tmp_path: Path, limits: AudioLimits, make_bomb: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the header says: it is taken out of the way here."""
    monkeypatch.setattr("divisi.audio.decode.check_limits", lambda *_: None)
    tight = replace(limits, max_duration_seconds=3600, max_decoded_bytes=LIMIT_BYTES)
    with open_decoder(make_bomb(tmp_path / "bomb"), tight) as decoder:
        with pytest.raises(InputError) as caught:
            list(decoder.blocks(4096))
        assert caught.value.code == "audio-too-large"
        assert decoder.num_decoded * CHANNELS * 4 < 2 * LIMIT_BYTES
