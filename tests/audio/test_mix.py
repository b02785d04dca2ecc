from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.audio.sandbox import MixPart, mix_files
from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat

RATE = 16_000
# Half a step of 24 bits, and float32.
ROUNDING = 2.0**-23


def part(folder: Path, name: str, level: float, num_samples: int = 100_000, num_channels: int = 1) -> Path:
    times = np.arange(num_samples) / RATE
    path = folder / name
    tone = np.tile(level * np.sin(2 * np.pi * 220 * times), (num_channels, 1)).T
    soundfile.write(path, tone, RATE, format="WAV", subtype="FLOAT")
    return path


def mixed(parts: list[MixPart], out: Path, stem_format: StemFormat) -> np.ndarray:
    mix_files(parts, out, stem_format)
    return soundfile.read(out)[0]


def test_parts_are_added_at_their_gains(tmp_path: Path) -> None:
    first, second = part(tmp_path, "1", 0.5), part(tmp_path, "2", 0.25)
    mix = mixed([MixPart(first, 1.0), MixPart(second, 0.5)], tmp_path / "mix", StemFormat.WAV)
    np.testing.assert_allclose(mix, 1.25 * soundfile.read(first)[0], atol=ROUNDING)


@pytest.mark.parametrize("stem_format", [StemFormat.WAV, StemFormat.WAV16, StemFormat.WAV32F, StemFormat.FLAC])
@pytest.mark.parametrize("level", [0.7, 20.0])
def test_a_mix_beyond_full_scale_is_turned_down_as_a_whole(stem_format, level, tmp_path: Path) -> None:
    first, second = part(tmp_path, "1", level), part(tmp_path, "2", level)
    mix = mixed([MixPart(first, 1.0), MixPart(second, 1.0)], tmp_path / "mix", stem_format)
    tone = soundfile.read(first)[0]
    np.testing.assert_allclose(mix, tone / np.abs(tone).max(), atol=2.0**-15)


def test_the_shortest_part_ends_the_mix(tmp_path: Path) -> None:
    parts = [MixPart(part(tmp_path, "1", 0.1), 1.0), MixPart(part(tmp_path, "2", 0.1, 70_000), 1.0)]
    assert len(mixed(parts, tmp_path / "mix", StemFormat.WAV)) == 70_000


def test_parts_that_differ_in_channels_are_refused(tmp_path: Path) -> None:
    parts = [MixPart(part(tmp_path, "1", 0.1), 1.0), MixPart(part(tmp_path, "2", 0.1, num_channels=2), 1.0)]
    with pytest.raises(InputError, match="differ") as refused:
        mix_files(parts, tmp_path / "mix", StemFormat.WAV)
    assert refused.value.code == "mix-mismatch"
    assert not (tmp_path / "mix").exists()
