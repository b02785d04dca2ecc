"""Everything that networks learn from besides the recordings: labels of pitch, voices to sing with, choirs.

    python -m divisi_workshop.choirs DATA CACHE

DATA holds nino_dios/ and chorales/. CACHE receives labels/, speech_voices/ and resung/. What exists is kept, so that an
interrupted run goes on. Needs the speech synthesisers (`speech_packages.sh` beside this file). Guests and rooms are
made by modules of their own; `chorus_chain.sh` calls all of them.
"""

from functools import partial
from pathlib import Path
from typing import Any

import typer

from divisi_workshop.choirs import formant_voices, wide_choirs, world_voices
from divisi_workshop.choirs.speech_voices import load_voices, make_voices
from divisi_workshop.choirs.takes import load_chorales, make_missing
from divisi_workshop.choirs.world_voices import label_folder, recorded_singers

SEED = 1
SECONDS = 20.0
SINGERS = (1, 2, 3)
RECORDED = range(233)
FORMANT = range(50_000, 50_300)
WIDE = {"textures": range(150_000, 150_600), "speech": range(100_000, 100_600)}
"""Numbers of choirs, by who sings them."""
ESPEAK_VOICES, SPEECH_SECONDS = 48, 30.0


def main(data: Path, cache: Path) -> None:
    recordings, labels, resung = data / "nino_dios", cache / "labels" / "nino_dios", cache / "resung"
    label_folder(recordings, labels)
    chorales = load_chorales(data / "chorales" / "jsb_satb_16ths.json", "train")
    recorded = recorded_singers(recordings, labels, SINGERS)
    sung: dict[str, Any] = {"chorales": chorales, "seconds": SECONDS}
    make_missing(resung, RECORDED, SEED, partial(world_voices.make_choir, singers=recorded, **sung))
    make_missing(resung, FORMANT, SEED, partial(formant_voices.make_choir, **sung))
    make_voices(cache / "speech_voices", ESPEAK_VOICES, SPEECH_SECONDS, SEED)
    cast = wide_choirs.Cast(recorded, load_voices(cache / "speech_voices"))
    for kind, numbers in WIDE.items():
        make = partial(wide_choirs.make_choir, cast=cast, shares=wide_choirs.SHARES[kind], **sung)
        make_missing(resung, numbers, SEED, make)


if __name__ == "__main__":
    typer.run(main)
