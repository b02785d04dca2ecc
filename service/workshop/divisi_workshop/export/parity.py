"""How far the exported artifacts are from the network, through the engines that will serve them.

On noise, in which every bin sounds, and on the sample chorale: networks that read pitches decide hardly anything in
noise, and formant voices leave bins empty, where logarithms hear what rounding left.
"""

import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import nn

from divisi.audio.recording import resample
from divisi.contract.card import ArtifactKind, CardDraft, Parity
from divisi.contract.errors import ModelError
from divisi.models.bundle import ModelBundle
from divisi.models.engine import Engine, EngineOptions, open_engine
from divisi.sample import mixture_path

# Of full scale: -80 dBFS, far below what a stem can be heard to differ by, far above float32 rounding in deep graphs.
TOLERANCE = 1e-4
SEED = 20
BATCH_SIZES = (1, 3)
# Noise at -20 dBFS, about as loud as a recording.
NOISE_LEVEL = 0.1
_FIT_LENGTH, _FIT_CHANNELS, _FIT_ITERATIONS = 8192, 3, 3

_ENGINE_OF_KIND: dict[ArtifactKind, str] = {"onnx": "onnx_runtime", "torchscript": "torch_script"}


def measure_parity(network: nn.Module, bundle: ModelBundle, seed: int = SEED) -> Parity:
    """Compares every artifact of a bundle with the network on noise and on singing of several sizes (and rosters, where
    it takes one).

    Waveforms differ by their largest absolute difference; f0, in Hz, by its largest difference relative to the
    network's.

    Args:
        network: in evaluation mode, on the CPU.

    Raises:
        ModelError: code `parity-failed`, an artifact is beyond the tolerance; or whatever its engine refuses.
    """
    lengths = parity_lengths(bundle.card)
    errors: dict[ArtifactKind, float] = {}
    for artifact in bundle.card.artifacts:
        engine = open_engine(_ENGINE_OF_KIND[artifact.kind], bundle, EngineOptions())
        try:
            by_output = _largest_errors(network, engine, bundle.card, lengths, seed)
        finally:
            engine.close()
        if not all(error <= TOLERANCE for error in by_output.values()):
            found = ", ".join(f"{name} by {error:.2g}" for name, error in by_output.items())
            message = (
                f"{bundle.name}: {artifact.file} differs from the network: {found}; "
                f"{TOLERANCE:.0e} is allowed, nothing was published"
            )
            raise ModelError(message, code="parity-failed", kind=artifact.kind, errors=by_output)
        errors[artifact.kind] = max(by_output.values())
    return Parity(
        max_abs_error=errors,
        tolerance=TOLERANCE,
        seed=seed,
        batch_sizes=BATCH_SIZES,
        lengths=lengths,
        signals=("noise", "the sample chorale"),
    )


def parity_lengths(card: CardDraft) -> tuple[int, int]:
    """Two lengths in samples that the graph takes: the segment (4 s for `whole`) and about a third of it."""
    longest = 4 * card.sample_rate if card.segment_length == "whole" else card.segment_length
    multiple = card.length_multiple
    longer = max(2, longest // multiple)
    return (max(1, longer // 3) * multiple, longer * multiple)


def run_network(network: nn.Module, card: CardDraft, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The network's outputs by the card's names.

    Args:
        inputs: float32; the mixture (B, C, T), and the roster (B, S) if the network takes one.
    """
    with torch.inference_mode():
        tensors = network(*(torch.from_numpy(array) for array in inputs))
    tensors = (tensors,) if isinstance(tensors, torch.Tensor) else tensors
    if len(tensors) != len(card.output_names):
        message = f"{card.id}: the network gives {len(tensors)} outputs, the card names {list(card.output_names)}"
        raise ModelError(message, code="wrong-output")
    return {name: tensor.numpy() for name, tensor in zip(card.output_names, tensors, strict=True)}


def _largest_errors(
    network: nn.Module, engine: Engine, card: CardDraft, lengths: tuple[int, ...], seed: int
) -> dict[str, float]:
    random = np.random.default_rng(seed)
    errors: dict[str, list[float]] = {name: [] for name in card.output_names}
    channel_counts = (1, 2) if card.num_channels == "any" else (card.num_channels,)
    everyone = (True, False) if card.takes_roster else (True,)
    signals = (_noise, _singing(card.sample_rate))
    for signal, num_channels, batch, length, is_everyone in product(
        signals, channel_counts, BATCH_SIZES, lengths, everyone
    ):
        mixture = signal(random, (batch, num_channels, length))
        inputs = (mixture, _roster(random, batch, card, is_everyone)) if card.takes_roster else (mixture,)
        expected = run_network(network, card, *inputs)
        for name, found in engine.run(*inputs).items():
            scale = np.maximum(expected[name], 1.0) if name == "f0" else 1.0
            errors[name].append(np.max(np.abs(found - expected[name]) / scale))
    # numpy's maximum of NaN and a number is NaN, Python's may be the number.
    return {name: float(np.max(found)) for name, found in errors.items()}


def _noise(random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """float32 of that shape."""
    return NOISE_LEVEL * random.standard_normal(shape, np.float32)


def _singing(sample_rate: int) -> Callable[[np.random.Generator, tuple[int, int, int]], np.ndarray]:
    """As `_noise`, of stretches of the sample chorale, round and round; each row and channel begins anywhere."""
    samples, recorded_rate = soundfile.read(mixture_path(), dtype="float32", always_2d=True)
    chorale = resample(np.ascontiguousarray(samples.T), recorded_rate, sample_rate)[0]

    def draw(random: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
        starts = random.integers(len(chorale), size=shape[:2])
        return chorale[(starts[:, :, None] + np.arange(shape[2])) % len(chorale)]

    return draw


def _roster(random: np.random.Generator, batch: int, card: CardDraft, is_everyone: bool) -> np.ndarray:
    """float32 (B, S): all ones, or in each row some zeros, at random."""
    roster = np.ones((batch, len(card.stems)), np.float32)
    if not is_everyone:
        for row in roster:
            row[random.permutation(len(row))[: random.integers(1, max(2, len(row)))]] = 0
    return roster


def round_to_half(network: nn.Module) -> None:
    """Rounds every parameter and persistent buffer to the nearest number that float16 has, in place; types stay.

    Only what is stored is rounded: every runtime widens the weights and computes in float32. Parity is measured against
    the rounded network, quality on its bundle.

    Raises:
        ModelError: code `export-failed`; a weight is beyond what float16 reaches, or no number.
    """
    for name, values in network.state_dict().items():
        if not values.is_floating_point():
            continue
        rounded = values.half().to(values.dtype)
        if not bool(torch.isfinite(rounded).all()):
            limit = torch.finfo(torch.float16).max
            found = float(values.abs().max())
            message = f"{name} reaches {found:.3g}, half precision {limit:.0f}; export it with weight_precision: full"
            raise ModelError(message, code="export-failed")
        values.copy_(rounded)


def measure_fit_parity(module: nn.Module, path: Path, seed: int = SEED) -> Parity:
    """Compares the images of a short fit by compiled and by plain code.

    Raises:
        ModelError: code `parity-failed`.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = NOISE_LEVEL * torch.randn(1, _FIT_CHANNELS, _FIT_LENGTH, generator=generator)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        plain = _short_fit(module, samples, seed)
        compiled = _short_fit(torch.jit.load(str(path)), samples, seed)
    error = float((plain - compiled).abs().max())
    if not error <= TOLERANCE:
        message = f"compiled and plain code differ by {error:.1e}; {TOLERANCE:.0e} is allowed"
        raise ModelError(message, code="parity-failed")
    return Parity(
        max_abs_error={"torchscript": error}, tolerance=TOLERANCE, seed=seed, batch_sizes=(1,), lengths=(_FIT_LENGTH,)
    )


def _short_fit(module: Any, samples: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    fit = module.analyse(samples, torch.full((_FIT_CHANNELS,), 0.1), 512, False)
    num_bins, _, num_frames = fit["real"].shape
    bases = torch.rand(2, num_bins, 4, generator=generator)
    activations = torch.rand(2, 4, num_frames, generator=generator)
    fit = module.start(fit, bases, activations, torch.rand(2, _FIT_CHANNELS, generator=generator))
    for _ in range(_FIT_ITERATIONS):
        fit = module.normalise(module.iterate(fit, True, True, False, 64))
    return torch.cat([module.image(fit, source, samples.shape[2]) for source in range(2)])
