"""A set of learning tracks by one button: of a part, as slow and as low as the mixer plays."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest
import soundfile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.page.conftest import Tab


def test_a_set_for_the_altos_is_made_at_the_speed_and_in_the_key_chosen(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    tab.open_mixer(playing=False)
    page.get_by_label("Speed").select_option(label="80 %")
    page.get_by_label("Transpose").select_option(label="−2")
    tracks = page.get_by_role("region", name="Learning tracks")
    tracks.get_by_label("Part").select_option(label="Alto")
    tracks.get_by_label("Format").select_option(label="FLAC")
    with page.expect_download() as download:
        tracks.get_by_role("button", name="Make the set").click()
    asked = next(url for url in tab.requests if "/tracks?" in url)
    assert asked.endswith("/tracks?format=flac&parts=alto&speed=80&semitones=-2")
    assert download.value.suggested_filename == "chorale - learning tracks (80 percent, 2 down).zip"
    download.value.save_as(tmp_path / "tracks.zip")
    with zipfile.ZipFile(tmp_path / "tracks.zip") as opened:
        names = opened.namelist()
        front = next(name for name in names if "alto in front" in name)
        samples, rate = soundfile.read(io.BytesIO(opened.read(front)))
    assert any("all parts" in name for name in names)
    assert all(name.endswith(".flac") for name in names)
    seconds = float(page.get_by_role("slider", name="Position", exact=True).get_attribute("max") or 0)
    assert len(samples) / rate == pytest.approx(seconds / 0.8, abs=0.1)
