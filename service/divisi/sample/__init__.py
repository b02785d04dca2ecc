"""The sample recording: a four-voice chorale sung by synthetic voices, and its true sources, as FLAC files.

Rendered by `divisi_workshop.choirs.sample_chorale`; nobody's recording is in it.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

MIXTURE = "chorale"
SOURCES = ("soprano", "alto", "tenor", "bass")


def sample_folder() -> Path:
    """Where the files lie in the installed package."""
    return Path(str(files(__name__)))


def mixture_path() -> Path:
    """The recording of all four voices: stereo, 44.1 kHz, 16 bit, about 10 s."""
    return sample_folder() / f"{MIXTURE}.flac"


def source_path(voice: str) -> Path:
    """The true source of one voice of SOURCES; together they are the mixture, to the last bit."""
    return sample_folder() / f"{voice}.flac"
