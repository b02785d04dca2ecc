"""The published data sets, laid out here in miniature, are read and split as published."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.contract.errors import InputError, NotFoundError
from divisi_workshop.choirs.choir_folders import CSD_TEST_SINGERS, load_dataset
from divisi_workshop.choirs.takes import SAMPLE_RATE, Choir

HZ = {"s": 440.0, "a": 330.0, "t": 220.0, "b": 110.0}


def write(path: Path, pitch_hz: float, sample_rate: int = SAMPLE_RATE, with_crepe: bool = True) -> None:
    """Half a second of a tone with partials like a voice's, and its CREPE files, the last frames of which are not
    confident.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(sample_rate // 2) / sample_rate
    partials = [np.sin(2 * np.pi * number * pitch_hz * time) / number for number in range(1, 9)]
    soundfile.write(path, 0.3 * np.sum(partials, axis=0), sample_rate)
    if with_crepe:
        crepe = path.parent.parent / "crepe_f0_center"
        crepe.mkdir(exist_ok=True)
        np.save(crepe / f"{path.stem}_frequency.npy", np.full(32, pitch_hz))
        np.save(crepe / f"{path.stem}_confidence.npy", np.r_[np.full(22, 0.9), np.full(10, 0.3)])


def write_parts(data: Path, folder: str, names: list[str]) -> None:
    for name in names:
        for voice, pitch_hz in HZ.items():
            write(data / folder / "audio_16kHz" / f"{name}_{voice}_1ch.wav", pitch_hz)


def names_of(choirs: list[Choir]) -> list[str]:
    return [choir.parts[0][0].name.removesuffix("_s_1ch") for choir in choirs]


@pytest.fixture
def bach_and_barbershop(tmp_path: Path) -> Path:
    bach = ["1_BC001_part1", "1_BC001_part2", "2_BC002_part1", "17_BC021_part11", "8_BC009_part1", "9_BC010_part1"]
    write_parts(tmp_path, "BC", bach)
    write_parts(tmp_path, "BQ", ["1_BQ001_part1", "8_BQ009_part1"])
    return tmp_path


def test_bcbq_keeps_the_songs_8_and_9_back_and_leaves_the_empty_part_out(bach_and_barbershop: Path) -> None:
    trained, held = load_dataset("bcbq", bach_and_barbershop, bach_and_barbershop)
    assert names_of(trained) == ["1_BC001_part1", "1_BC001_part2", "2_BC002_part1", "1_BQ001_part1"]
    assert names_of(held) == ["8_BC009_part1", "9_BC010_part1", "8_BQ009_part1"]


def test_bc1song_is_one_song_with_another_to_validate(bach_and_barbershop: Path) -> None:
    trained, held = load_dataset("bc1song", bach_and_barbershop, bach_and_barbershop)
    assert names_of(trained) == ["1_BC001_part1", "1_BC001_part2"]
    assert names_of(held) == ["2_BC002_part1"]


def test_pitches_of_crepe_are_silent_where_it_is_not_confident(bach_and_barbershop: Path) -> None:
    trained, _ = load_dataset("bc1song", bach_and_barbershop, bach_and_barbershop)
    bass = trained[0].parts[3][0]
    assert bass.samples.dtype == np.int16
    assert len(bass.f0_hz) == 101
    assert (bass.f0_hz[:60] == 110).all()
    assert (bass.f0_hz[75:] == 0).all()


def test_csd_keeps_the_singers_of_the_published_test_back(tmp_path: Path) -> None:
    for song in CSD_TEST_SINGERS:
        tenor = "Tenor" if song == "El Rossinyol" else "tenor"
        for voice, pitch_hz in zip(("Soprano", "ContraAlt", tenor, "Bajos"), HZ.values(), strict=True):
            for singer in range(1, 5):
                write(tmp_path / "ChoralSingingDataset" / song / "audio_16kHz" / f"X_{voice}_{singer}.wav", pitch_hz)
    trained, held = load_dataset("csd", tmp_path, tmp_path)
    assert [choir.parts[2][0].name for choir in held] == ["X_Tenor_2", "X_tenor_3", "X_tenor_4"]
    assert [part.name for part in trained[1].parts[1]] == ["X_ContraAlt_1", "X_ContraAlt_2", "X_ContraAlt_4"]


def test_cantoria_is_resampled_and_labelled_where_crepe_has_not_been(tmp_path: Path) -> None:
    for song in ("CEA", "VBP"):
        for voice, pitch_hz in HZ.items():
            path = tmp_path / "Cantoria" / "Audio" / f"Cantoria_{song}_{voice.upper()}.wav"
            write(path, pitch_hz, sample_rate=44_100, with_crepe=False)
    trained, held = load_dataset("cantoria", tmp_path, tmp_path / "cache")
    assert [choir.parts[0][0].name for choir in trained + held] == ["Cantoria_VBP_S", "Cantoria_CEA_S"]
    tenor = held[0].parts[2][0]
    assert len(tenor.samples) == SAMPLE_RATE // 2
    assert np.median(tenor.f0_hz[20:80]) == pytest.approx(220, rel=0.01)
    assert (tmp_path / "cache" / "labels" / "Cantoria" / "Cantoria_CEA_T.npy").is_file()


def test_what_is_missing_is_named(bach_and_barbershop: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="bcbq, bc1song, csd, cantoria"):
        load_dataset("moon", tmp_path, tmp_path)
    with pytest.raises(InputError, match="El Rossinyol"):
        load_dataset("csd", tmp_path, tmp_path)
    (bach_and_barbershop / "BC" / "audio_16kHz" / "1_BC001_part1_t_1ch.wav").unlink()
    with pytest.raises(InputError, match="no fellow t"):
        load_dataset("bc1song", bach_and_barbershop, tmp_path)
