"""Where the flagship loses: its pitches and voicing replaced by the labels', one after the other.

    python benchmarks/flagship_losses.py --checkpoint RUNS/chorus_presence/checkpoint.pt --choirs CACHE/syn_choose

One stretch of 6 s of every choir in the folder (format of `choirs.takes`), roster of all; SI-SDR of the whole stretch,
mean over the voices that sing in it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from divisi_workshop.choirs.takes import VOICES, Choir, excerpt, load_resung
from divisi_workshop.metrics import si_sdr_db
from divisi_workshop.networks import chorus

START_SECONDS = 1.0
NUM_SAMPLES = 98_304
GROSS_CENTS = 50.0
QUIETEST_SHARE = 1e-3
"""Of the mixture's energy: voices below it are not scored."""


def replaced(f0_hz: Tensor, voicing: Tensor, true_hz: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, pitches and voicing of every row. Shape: (1, V, N) each."""
    sings = true_hz > 0
    cents = 1200 * torch.log2(f0_hz.clamp(min=1) / true_hz.clamp(min=1))
    is_gross = sings & (cents.abs() > GROSS_CENTS)
    told, mended = torch.where(sings, true_hz, f0_hz), torch.where(is_gross, true_hz, f0_hz)
    yield "as heard", f0_hz, voicing
    yield "as heard, voicing from the labels", f0_hz, sings.float()
    yield "wrong by more than 50 cents: from the labels; the rest as heard", mended, voicing
    yield "pitches from the labels, voicing as heard", told, voicing
    yield "both from the labels", told, sings.float()


@torch.inference_mode()
def scores(network: chorus.Chorus, choir: Choir) -> dict[str, list[float]]:
    """SI-SDR of every voice that sings, by row."""
    hop_length = network.config.hop_length
    cut = [excerpt(voice[0], START_SECONDS, 0.0, NUM_SAMPLES, hop_length) for voice in choir.parts]
    sources = np.stack([samples for samples, _ in cut]).astype(np.float64)
    true_hz = torch.from_numpy(np.stack([f0_hz for _, f0_hz in cut]).astype(np.float32))[None]
    mixture = sources.sum(0)
    signal = torch.from_numpy((mixture / np.sqrt(np.square(mixture).mean())).astype(np.float32))[None]
    roster = torch.ones(1, len(VOICES))
    real, imag, wide, narrow = network.spectra(signal)
    f0_hz, voicing = network.decode(network.pitch(wide, narrow, roster)[1])
    found: dict[str, list[float]] = {}
    for name, pitches, voiced in replaced(f0_hz, voicing, true_hz[:, :, : f0_hz.shape[2]]):
        _, partials, masks, rest = network.split(signal, (real, imag), wide, narrow, pitches, voiced, roster)
        shares = [
            (chorus.whole(own, part.shape[1]) + masks * part[:, None]).flatten(0, 1)
            for own, part in zip(partials, rest, strict=True)
        ]
        estimates = network.fourier.synthesise(*shares).double().numpy()
        found[name] = [
            float(si_sdr_db(estimate, source))
            for estimate, source in zip(estimates, sources, strict=True)
            if np.square(source).sum() > QUIETEST_SHARE * np.square(mixture).sum()
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--choirs", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    state = torch.load(arguments.checkpoint, weights_only=True)
    network = chorus.build(state["config"].get("network"))
    assert isinstance(network, chorus.Chorus)
    network.load_state_dict(state["average"])
    network.eval()
    choirs = load_resung(arguments.choirs)
    rows: dict[str, list[float]] = {}
    for choir in tqdm(choirs):
        for name, values in scores(network, choir).items():
            rows.setdefault(name, []).extend(values)
    table = Table(title=f"{len(choirs)} choirs of {arguments.choirs.name}, one stretch each")
    table.add_column("pitches and voicing given to the rest of the network")
    table.add_column("SI-SDR in dB", justify="right")
    for name, values in rows.items():
        table.add_row(name, f"{np.mean(values):.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
