"""Whether a graph and its card agree on the shapes that go in and come out: the questions that every adapter asks.

And the one adapter that has no graph: `PassthroughEngine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from divisi.contract.card import CardDraft, ModelCard
from divisi.contract.errors import ModelError
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions

# A length in samples or frames that the card does not fix.
ANY = None


def check_mixture(mixture: np.ndarray, card: ModelCard) -> np.ndarray:
    """The mixture, C-contiguous, once it is what the card asks for.

    Args:
        mixture: float32 (B, C, T).

    Raises:
        ModelError: code `wrong-input`; our own fault, as the Separator cuts the segments.
    """
    if not isinstance(mixture, np.ndarray) or mixture.dtype != np.float32:
        found = mixture.dtype if isinstance(mixture, np.ndarray) else type(mixture).__name__
        raise ModelError(f"{card.id}: mixture must be float32, it is {found}", code="wrong-input")
    if mixture.ndim != 3 or 0 in mixture.shape:
        raise ModelError(f"{card.id}: mixture must be (B, C, T), it has shape {mixture.shape}", code="wrong-input")
    num_channels, length = mixture.shape[1:]
    if card.num_channels not in ("any", num_channels):
        message = f"{card.id}: mixture must have {card.num_channels} channels, its shape is {mixture.shape}"
        raise ModelError(message, code="wrong-input")
    if length % card.length_multiple:
        message = (
            f"{card.id}: mixture must last a multiple of {card.length_multiple} samples, its shape is {mixture.shape}"
        )
        raise ModelError(message, code="wrong-input")
    return np.ascontiguousarray(mixture)


def check_roster(roster: np.ndarray | None, num_segments: int, card: ModelCard) -> np.ndarray | None:
    """The roster to give to the graph: as given, all ones when none was given, None when the graph takes none.

    Args:
        roster: float32 (B, S): 1 where the voice may sing, 0 where it is known to be absent.
        num_segments: B.

    Raises:
        ModelError: code `wrong-input`; our own fault, as the Separator writes the roster.
    """
    if not card.takes_roster:
        if roster is not None:
            raise ModelError(f"{card.id}: a roster was given; the graph takes none", code="wrong-input")
        return None
    expected = (num_segments, len(card.stems))
    if roster is None:
        return np.ones(expected, np.float32)
    if not isinstance(roster, np.ndarray) or roster.dtype != np.float32 or roster.shape != expected:
        found = f"{roster.dtype} {roster.shape}" if isinstance(roster, np.ndarray) else type(roster).__name__
        raise ModelError(f"{card.id}: roster must be float32 {expected}, it is {found}", code="wrong-input")
    if not np.isin(roster, (0, 1)).all():
        raise ModelError(f"{card.id}: roster must hold zeros and ones", code="wrong-input")
    return np.ascontiguousarray(roster)


def check_outputs(
    outputs: Mapping[str, np.ndarray], mixture_shape: tuple[int, ...], card: ModelCard
) -> dict[str, np.ndarray]:
    """The graph's outputs by the card's names, C-contiguous, once their shapes fit and every value is finite.

    Args:
        outputs: name → array, as the runtime gave them.
        mixture_shape: (B, C, T) of the mixture they came from.

    Raises:
        ModelError: code `wrong-output` or `non-finite-estimates`.
    """
    batch, num_channels, length = mixture_shape
    checked = {}
    for name in card.output_names:
        array = outputs[name]
        expected = _output_shape(name, card, batch, num_channels, length)
        if array.dtype != np.float32 or not _fits(array.shape, expected):
            message = f"{card.id}: {name} is {array.dtype} {array.shape}, the card says float32 {_show(expected)}"
            raise ModelError(message, code="wrong-output", output=name)
        if name in ("f0", "voicing"):
            _check_num_frames(name, array.shape[-1], length, card)
        if not np.isfinite(array).all():
            raise ModelError(f"{card.id}: {name} holds NaN or infinity", code="non-finite-estimates", output=name)
        checked[name] = np.ascontiguousarray(array)
    return checked


def check_signature(
    inputs: Mapping[str, Sequence[int | str | None]], outputs: Mapping[str, Sequence[int | str | None]], card: ModelCard
) -> None:
    """Names, ranks and fixed sizes that a graph declares, against the card; a size given as text or None is free.

    Raises:
        ModelError: code `wrong-signature`.
    """
    signature = signature_of(card)
    for what, declared in (("inputs", inputs), ("outputs", outputs)):
        expected = signature[what]
        if list(declared) != list(expected):
            message = f"{card.id}: the graph's {what} are {list(declared)}, the card says {list(expected)}"
            raise ModelError(message, code="wrong-signature")
        for name, shape in expected.items():
            if not _fits([size if isinstance(size, int) else ANY for size in declared[name]], shape):
                message = (
                    f"{card.id}: the graph declares {name} as {_show(declared[name])}, the card says {_show(shape)}"
                )
                raise ModelError(message, code="wrong-signature")


def signature_of(card: CardDraft) -> dict[str, dict[str, tuple[int | None, ...]]]:
    """What the card says of the graph: `inputs` and `outputs`, name → shape in order, None where a size is free."""
    num_channels = ANY if card.num_channels == "any" else card.num_channels
    inputs = {"mixture": (ANY, num_channels, ANY), "roster": (ANY, len(card.stems))}
    return {
        "inputs": {name: inputs[name] for name in card.input_names},
        "outputs": {name: _output_shape(name, card, ANY, num_channels, ANY) for name in card.output_names},
    }


def silence(card: ModelCard) -> np.ndarray:
    """Silence that the card's graph must take, float32 (1, C, T): a second, or one segment if that is shorter."""
    length = -(-card.sample_rate // card.length_multiple) * card.length_multiple
    if card.segment_length != "whole":
        length = min(length, card.segment_length)
    num_channels = 1 if card.num_channels == "any" else card.num_channels
    return np.zeros((1, num_channels, length), np.float32)


def _output_shape(
    name: str, card: CardDraft, batch: int | None, num_channels: int | None, length: int | None
) -> tuple[int | None, ...]:
    if name == "estimates":
        return (batch, len(card.stems), num_channels, length)
    if name == "resynthesis":
        return (batch, num_channels, length)
    if name == "presence":
        return (batch, len(card.stems))
    return (batch, len(card.stems), ANY)  # f0, voicing


def _check_num_frames(name: str, num_frames: int, length: int, card: ModelCard) -> None:
    hop_length = card.hop_length
    assert hop_length is not None
    if num_frames - length // hop_length not in (0, 1):
        message = f"{card.id}: {name} has {num_frames} frames for {length} samples, the card says one per {hop_length}"
        raise ModelError(message, code="wrong-output", output=name)


def _fits(shape: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    return len(shape) == len(expected) and all(
        size == wanted or ANY in (size, wanted) for size, wanted in zip(shape, expected, strict=True)
    )


def _show(shape: Sequence[int | str | None]) -> str:
    return f"({', '.join('any' if size is ANY else str(size) for size in shape)})"


SURE = np.float32(10.0)
"""Log odds that whoever may sing does."""


class PassthroughEngine:
    """An engine without a model, to test all that is around one: the voices that may sing share the mixture evenly.

    The stems sum to the mixture, absent voices are silent, no frame is voiced, all that may sing are detected, the
    resynthesis is the mixture.
    """

    name = "passthrough"
    device = "cpu"
    provider = "numpy"

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        if options.device != "cpu":
            raise ModelError(f"engine passthrough runs on cpu, not on {options.device}", code="wrong-device")
        self._card = bundle.card
        self._is_open = True

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if not self._is_open:
            raise ModelError("engine passthrough is closed", code="engine-closed")
        mixture = check_mixture(mixture, self._card)
        num_stems = len(self._card.stems)
        roster = check_roster(roster, len(mixture), self._card)
        if roster is None:
            roster = np.ones((len(mixture), num_stems), np.float32)
        num_voices = np.maximum(roster.sum(axis=1), 1)[:, None, None]
        outputs = {"estimates": roster[:, :, None, None] * (mixture / num_voices)[:, None]}
        for output in self._card.extra_outputs:
            if output.hop_length is not None:
                num_frames = mixture.shape[-1] // output.hop_length
                outputs[output.name] = np.zeros((len(mixture), num_stems, num_frames), np.float32)
            elif output.name == "presence":
                outputs[output.name] = SURE * (2 * roster - 1)
            else:
                outputs[output.name] = mixture.copy()
        return check_outputs(outputs, mixture.shape, self._card)

    def close(self) -> None:
        self._is_open = False
