"""What an engine is: it runs one bundle's graph on waveforms. Fourth in *upload → job → worker → engine → stems*.

Adapters are named by text and imported when opened, so that a process holds the runtime it uses and no other (and,
unless it asked for TorchScript, no torch).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, Self, cast

import numpy as np

from divisi.contract.card import ModelCard
from divisi.contract.errors import ModelError
from divisi.models.bundle import ModelBundle
from divisi.models.plan import FitPlan
from divisi.settings import Settings

ENGINES = {
    "onnx_runtime": "divisi.models.onnx_runtime:OnnxRuntimeEngine",
    "torch_script": "divisi.models.torch_script:TorchScriptEngine",
    "torch_serve": "divisi.models.torch_serve:TorchServeEngine",
    "passthrough": "divisi.models.agreement:PassthroughEngine",
}

# Of models that are fitted to each recording, see `Fitter`; whatever engine a worker runs its graphs in.
FITTER = "divisi.models.torch_script:ScriptFitter"

# The extra of this project that brings each adapter's library.
_EXTRA_OF_LIBRARY = {"onnxruntime": "worker", "torch": "torch", "safetensors": "torch-serve"}


@dataclass(frozen=True)
class ModelServerOptions:
    """Where a TorchServe is.

    Attributes:
        url: address of its inference API.
        key_file: JSON with the key under `inference`; read again whenever the key is refused. None: it asks for none.
        timeout_seconds: longest wait for one answer, queueing at the server included.
        patience_seconds: how long it is tried again while it is away, full, or starting.
    """

    url: str = "http://127.0.0.1:8080"
    key_file: Path | None = None
    timeout_seconds: float = 120.0
    patience_seconds: float = 20.0


@dataclass(frozen=True)
class EngineOptions:
    """Where and how an engine runs.

    Attributes:
        device: `cpu`, `cuda` or `cuda:1`; an engine that cannot run there refuses to open.
        num_threads: threads inside one operation. Two or more collapse when cores are shared: scale by processes.
        half_precision: compute in float16 where the model's card says that this is safe, and the engine can.
        model_server: where the TorchServe of engine `torch_serve` is.
    """

    device: str = "cpu"
    num_threads: int = 1
    half_precision: bool = False
    model_server: ModelServerOptions = field(default_factory=ModelServerOptions)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The options that this deployment's settings name."""
        server = ModelServerOptions(
            settings.torch_serve_url, settings.torch_serve_key_file, settings.torch_serve_timeout_seconds
        )
        return cls(settings.device, settings.engine_threads, settings.half_precision, server)


class Opened(Protocol):
    """An opened model of whatever kind. Not thread-safe; it serves one caller at a time."""

    @property
    def name(self) -> str:
        """The adapter's name in `ENGINES`."""

    @property
    def device(self) -> str:
        """Where the graph really runs, such as `cpu` or `cuda:0`."""

    @property
    def provider(self) -> str:
        """What computes there, for people: an execution provider, the name of a GPU, the address of a server."""

    def close(self) -> None:
        """Gives the memory back; may be called twice."""


class Engine(Opened, Protocol):
    """An opened model that runs one graph."""

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Separates a batch of segments; nothing is kept from one call to the next.

        Args:
            mixture: float32 (B, C, T) at the card's sample rate; T a multiple of the card's `length_multiple`, none of
                the sizes 0.
            roster: float32 (B, S), 1 where the voice may sing in that segment, 0 where it is known to be absent; None:
                all may. Only for models whose card says `takes_roster`.

        Returns:
            `estimates`: float32 (B, S, C, T), stems in the card's order, and each of the card's extra outputs by its
            name; all C-contiguous and finite, none shared with the input or with an earlier answer.

        Raises:
            ModelError: code `wrong-input`, `wrong-output`, `non-finite-estimates`, `engine-failed` or `engine-closed`.
        """


def open_engine(name: str, bundle: ModelBundle, options: EngineOptions) -> Engine:
    """Opens a bundle in the named engine and has it separate some silence: what it opens is warm and fits its card.

    Args:
        name: a name in `ENGINES`, or `module:Class` for an adapter of one's own.

    Raises:
        ModelError: unknown engine, library or device missing, artifact missing or damaged, or graph and card disagree.
    """
    module_name, separator, class_name = ENGINES.get(name, name).partition(":")
    if not separator:
        raise ModelError(f"there is no engine {name!r}; there are: {', '.join(ENGINES)}", code="unknown-engine")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        extra = _EXTRA_OF_LIBRARY.get(library)
        if extra is None:
            raise
        message = f"engine {name} needs {library}, which is not installed: pip install 'divisi-choir[{extra}]'"
        raise ModelError(message, code="missing-library") from error
    return cast(Engine, getattr(module, class_name)(bundle, options))


def can_fit() -> bool:
    """True where the library is installed that fitted models run on; it is looked for, not loaded."""
    return find_spec("torch") is not None


def open_fitter(bundle: ModelBundle, options: EngineOptions) -> Fitter:
    """Opens the bundle of a model that is fitted to each recording.

    Raises:
        ModelError: as `open_engine`.
    """
    return cast(Fitter, open_engine(FITTER, bundle, options))


class Fitter(Opened, Protocol):
    """An opened model that is fitted to each recording; holds one recording at a time."""

    def num_steps(self, plan: FitPlan) -> int:
        """Iterations of all kinds that `fit` takes."""

    def fit(self, stretches: np.ndarray, plan: FitPlan) -> Iterator[None]:
        """Fits everything, room and instruments, to some stretches of a recording; yields after each iteration.

        Args:
            stretches: float32 (B, C, T), each as long as a window at least.

        Raises:
            ModelError: code `engine-failed`, `engine-closed`.
        """

    def levels(self) -> np.ndarray:
        """Power of each source at each microphone, after `fit`: float64 (S, C)."""

    def adapt(self, stretch: np.ndarray, num_iterations: int) -> Iterator[None]:
        """Keeps the room of the last `fit`, and finds who plays when in another stretch of the same recording.

        Args:
            stretch: float32 (C, T).
        """

    def image(self, source: int) -> np.ndarray:
        """One source as it sounds in what was given last: float32 (B, C, T); all images together are what was given.

        Raises:
            ModelError: code `non-finite-estimates`.
        """


LARGEST_BATCH = 64
# A batch twice as large must be this much faster per segment to be worth its memory.
_LEAST_GAIN = 1.1
# Of a model that takes recordings whole.
_WHOLE_SECONDS = 4


@dataclass(frozen=True)
class Pace:
    """What an engine does at one batch size; `real_time_factor` is seconds of computing a second of audio."""

    batch_size: int
    real_time_factor: float


def measure_pace(
    engine: Engine, card: ModelCard, batch_size: int = 1, *, clock: Callable[[], float] = time.perf_counter
) -> Pace:
    """Times a batch of silent segments, after one that is not timed where a GPU first has to choose its kernels.

    Only the part of a segment that ends up in stems counts as audio; its context does not.

    Raises:
        ModelError: as `Engine.run`, such as when the device has no memory for the batch.
    """
    if card.segment_length == "whole":
        length = fresh = -(-_WHOLE_SECONDS * card.sample_rate // card.length_multiple) * card.length_multiple
    else:
        length, fresh = card.segment_length, card.segment_length - 2 * card.context_length
    num_channels = 1 if card.num_channels == "any" else card.num_channels
    segments = np.zeros((batch_size, num_channels, length), np.float32)
    if engine.device != "cpu":
        engine.run(segments)
    began = clock()
    engine.run(segments)
    return Pace(batch_size, (clock() - began) * card.sample_rate / (batch_size * fresh))


def find_pace(engine: Engine, card: ModelCard, *, clock: Callable[[], float] = time.perf_counter) -> Pace:
    """Doubles the batch until it gains little, or the device's memory is full; gives the best that ran.

    A model that takes recordings whole has batches of one.
    """
    best = measure_pace(engine, card, 1, clock=clock)
    while card.segment_length != "whole" and best.batch_size < LARGEST_BATCH:
        try:
            larger = measure_pace(engine, card, 2 * best.batch_size, clock=clock)
        except ModelError as error:
            if error.code != "engine-failed":
                raise
            break
        if best.real_time_factor < _LEAST_GAIN * larger.real_time_factor:
            break
        best = larger
    return best


def batch_size_for(engine: Engine, card: ModelCard, wanted: int | None) -> int:
    """The batch size that was asked for; where none was, 1 on a CPU, and on a GPU what `find_pace` finds."""
    if wanted is not None:
        return wanted
    return 1 if engine.device == "cpu" else find_pace(engine, card).batch_size
