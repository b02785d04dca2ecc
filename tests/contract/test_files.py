"""The table of files: each row agrees with itself, and every file that a job has is found by it."""

from __future__ import annotations

import pytest

from divisi.contract.answers import ViewsBody
from divisi.contract.errors import KINDS
from divisi.contract.files import FILES, LINKABLE_PATHS, FileRole, RecordList, media_type_of, path_of
from divisi.delivery.files import preview_name
from divisi.delivery.pitch_files import pitch_names
from divisi.delivery.views import CONFIDENCE_NAME, PEAKS_NAME, REPORT_NAME, spectrogram_name


@pytest.mark.parametrize("row", FILES.values(), ids=list(FILES))
def test_a_name_leads_to_a_path_and_back(row: FileRole) -> None:
    name = row.name_at("alto-2")
    assert row.value_in(name) == ("alto-2" if row.variable else "")
    assert row.path_of(name) == row.path.replace(f"{{{row.variable}}}", "alto-2")
    assert row.missing in KINDS
    assert (row.variable is None) == (row.parameter is None)


def test_no_two_rows_share_a_path() -> None:
    assert len({row.path for row in FILES.values()}) == len(FILES)


def test_names_of_other_roles_are_not_taken_for_ones_own() -> None:
    assert FILES["spectrogram"].value_in("peaks.json") is None
    assert FILES["spectrogram"].value_in("spectrogram-.png") is None
    assert FILES["pitch_json"].value_in("pitch.csv") is None


PITCH_NAMES = pitch_names(["alto"])
BESIDE_AUDIO = [*PITCH_NAMES, PEAKS_NAME, CONFIDENCE_NAME, REPORT_NAME, spectrogram_name("alto"), preview_name("alto")]


@pytest.mark.parametrize("name", BESIDE_AUDIO)
def test_whatever_the_worker_makes_beside_audio_has_a_row(name: str) -> None:
    endings = {
        "json": "application/json",
        "csv": "text/csv",
        "mid": "audio/midi",
        "png": "image/png",
        "mp3": "audio/mpeg",
        "musicxml": "application/vnd.recordare.musicxml+xml",
    }
    assert media_type_of(name) == endings[name.rsplit(".", 1)[1]]
    held_in: RecordList = "previews" if name.endswith("mp3") else "pitch" if name in PITCH_NAMES else "views"
    assert path_of(held_in, name).split("/")[0] in LINKABLE_PATHS


def test_a_file_that_no_row_is_about_is_noticed() -> None:
    with pytest.raises(KeyError):
        media_type_of("scores.xml")
    with pytest.raises(KeyError):
        path_of("pitch", "scores.xml")


def test_the_answer_names_every_view_that_a_job_has_one_of() -> None:
    alone = {row.path.partition(".")[0] for row in FILES.values() if row.is_one_view}
    assert alone | {"spectrograms"} == set(ViewsBody.model_fields)
