"""The data sets of the published systems, read from folders as their users have them, as choirs to remix.

    DATA/BC/audio_16kHz/<song>_BC<number>_part<n>_<s|a|t|b>_1ch.wav            Bach Chorales, in parts of 10 s
    DATA/BQ/audio_16kHz/<song>_BQ<number>_part<n>_<s|a|t|b>_1ch.wav            Barbershop Quartets
    DATA/ChoralSingingDataset/<song>/audio_16kHz/*<Soprano|ContraAlt|Tenor|Bajos>*.wav    16 singers, in order of name
    DATA/Cantoria/Audio/Cantoria_<song>_<S|A|T|B>.wav                          any rate

Beside `audio_16kHz` may lie `crepe_f0_center/<file>_{frequency,confidence}.npy` (16 ms); recordings without them are
labelled by WORLD, once, into CACHE/labels/<data set>.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from divisi.contract.errors import InputError, NotFoundError
from divisi_workshop.choirs.takes import LABEL_HOP_SECONDS, SAMPLE_RATE, VOICES, Choir, Part, read_mono
from divisi_workshop.choirs.world_voices import read_or_make_label

CREPE_HOP_SECONDS = 0.016
CREPE_CONFIDENCE = 0.4
EMPTY_PARTS = ("17_BC021_part11",)
"""One of its files is empty; the published systems leave it out."""
HELD_SONGS = {"BC": ("8_BC", "9_BC"), "BQ": ("8_BQ", "9_BQ")}
CSD_VOICES = ("soprano", "contraalt", "tenor", "bajos")
CSD_TEST_SINGERS = {"El Rossinyol": 2, "Locus Iste": 3, "Nino Dios": 4}
CANTORIA_TEST_SONGS = ("EJB1", "EJB2", "CEA")

Split = tuple[list[Choir], list[Choir]]


def load_dataset(name: str, data: Path, cache: Path) -> Split:
    """Choirs to train on and choirs kept back, split as published.

    Raises:
        NotFoundError: `unknown-dataset`.
        InputError: `missing-data`, a folder or a voice is not there.
    """
    if name not in LOADERS:
        message = f"there is no data set {name!r}; there are: {', '.join(LOADERS)}"
        raise NotFoundError(message, code="unknown-dataset")
    return LOADERS[name](data, cache / "labels")


def load_bcbq(data: Path, labels: Path) -> Split:
    """All songs of both sets; of each the last two in order of name are kept back."""
    trained: list[Choir] = []
    held: list[Choir] = []
    for folder, kept in HELD_SONGS.items():
        for name, files in find_parts(data / folder).items():
            (held if name.startswith(kept) else trained).append(read_quartet(files, labels / folder))
    return trained, held


def load_bc1song(data: Path, labels: Path) -> Split:
    """The first song of BC alone; the second is kept back."""
    parts = find_parts(data / "BC")
    trained, held = (
        [read_quartet(files, labels / "BC") for name, files in parts.items() if name.startswith(song)]
        for song in ("1_BC001", "2_BC002")
    )
    return trained, held


def load_csd(data: Path, labels: Path) -> Split:
    """The three songs of the Choral Singing Dataset, the singers of the published test kept back."""
    trained: list[Choir] = []
    held: list[Choir] = []
    for song, test_singer in CSD_TEST_SINGERS.items():
        folder = data / "ChoralSingingDataset" / song
        recordings = list_recordings(folder / "audio_16kHz")
        by_voice = [[path for path in recordings if voice in path.stem.lower()] for voice in CSD_VOICES]
        test = test_singer - 1
        if any(len(paths) <= test for paths in by_voice):
            raise InputError(f"{folder} lacks singers: found {list(map(len, by_voice))}", code="missing-data")
        singers = [
            [read_part(path, voice, labels / "CSD") for path in paths]
            for paths, voice in zip(by_voice, VOICES, strict=True)
        ]
        held.append(Choir(tuple((voice[test],) for voice in singers)))
        trained.append(Choir(tuple((*voice[:test], *voice[test + 1 :]) for voice in singers)))
    return trained, held


def load_cantoria(data: Path, labels: Path) -> Split:
    """All songs of Cantoria; those of the published test are kept back."""
    songs: dict[str, dict[str, Path]] = {}
    for path in list_recordings(data / "Cantoria" / "Audio"):
        song, voice = path.stem.partition("_")[2].rsplit("_", 1)
        songs.setdefault(song, {})[voice.lower()] = path
    trained: list[Choir] = []
    held: list[Choir] = []
    for song, paths in songs.items():
        if {*"satb"} <= paths.keys():
            (held if song in CANTORIA_TEST_SONGS else trained).append(read_quartet(paths, labels / "Cantoria"))
    return trained, held


LOADERS: dict[str, Callable[[Path, Path], Split]] = {
    "bcbq": load_bcbq,
    "bc1song": load_bc1song,
    "csd": load_csd,
    "cantoria": load_cantoria,
}


def find_parts(folder: Path) -> dict[str, dict[str, Path]]:
    """Parts of songs by name, in order of name, each with its four recordings by `s`, `a`, `t`, `b`."""
    parts: dict[str, dict[str, Path]] = {}
    for path in list_recordings(folder / "audio_16kHz"):
        name, voice, _ = path.stem.rsplit("_", 2)
        if name not in EMPTY_PARTS:
            parts.setdefault(name, {})[voice] = path
    return parts


def list_recordings(folder: Path) -> list[Path]:
    recordings = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".wav", ".flac"))
    if not recordings:
        raise InputError(f"{folder} holds no recordings", code="missing-data")
    return recordings


def read_quartet(files: dict[str, Path], labels: Path) -> Choir:
    if missing := {*"satb"} - files.keys():
        found = next(iter(files.values()))
        raise InputError(f"{found} has no fellow {'/'.join(sorted(missing))}", code="missing-data")
    return Choir(tuple((read_part(files[voice[0]], voice, labels),) for voice in VOICES))


def read_part(recording: Path, voice: str, labels: Path) -> Part:
    """One singer, mono at 16 kHz, with a pitch by CREPE where there is one, else by WORLD."""
    mono = read_mono(recording)
    frame_count = int(len(mono) / SAMPLE_RATE / LABEL_HOP_SECONDS) + 1
    f0_hz = read_crepe(recording, frame_count)
    if f0_hz is None:
        f0_hz = read_or_make_label(mono, voice, labels / f"{recording.stem}.npy")
    return Part(recording.stem, (np.clip(mono, -1, 1) * 32767).astype(np.int16), f0_hz)


def read_crepe(recording: Path, frame_count: int) -> np.ndarray | None:
    """CREPE's pitch on the label grid, 0 where it is not confident. Shape: (frame_count,), or None."""
    stem = recording.parent.parent / "crepe_f0_center" / recording.stem
    frequency, confidence = (stem.with_name(f"{stem.name}_{kind}.npy") for kind in ("frequency", "confidence"))
    if not (frequency.is_file() and confidence.is_file()):
        return None
    track = np.where(np.load(confidence) < CREPE_CONFIDENCE, 0, np.load(frequency)).astype(np.float32)
    nearest = np.round(np.arange(frame_count) * LABEL_HOP_SECONDS / CREPE_HOP_SECONDS).astype(int)
    return track[np.minimum(nearest, len(track) - 1)]
