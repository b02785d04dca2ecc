"""What an engine is: it runs one bundle's graph on waveforms. Fourth in *upload → job → worker → engine → stems*.

Adapters are named by text and imported when opened, so that a process holds the runtime it uses and no other (and,
unless it asked for TorchScript, no torch).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, Self, cast

import numpy as np

from divisi.bundles.store import ModelBundle
from divisi.contract.errors import ModelError
from divisi.engines.fitter import Fitter
from divisi.engines.model_server import ModelServerOptions
from divisi.settings import Settings

ENGINES = {
    "onnx_runtime": "divisi.engines.onnx_runtime:OnnxRuntimeEngine",
    "torch_script": "divisi.engines.torch_script:TorchScriptEngine",
    "torch_serve": "divisi.engines.torch_serve:TorchServeEngine",
    "passthrough": "divisi.engines.passthrough:PassthroughEngine",
}

# Of models that are fitted to each recording, see `fitter`; whatever engine a worker runs its graphs in.
FITTER = "divisi.engines.script_fitter:ScriptFitter"

# The extra of this project that brings each adapter's library.
_EXTRA_OF_LIBRARY = {"onnxruntime": "worker", "torch": "torch", "safetensors": "torch-serve"}


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


class Engine(Protocol):
    """One opened model. Not thread-safe; one engine serves one caller at a time."""

    @property
    def name(self) -> str:
        """The adapter's name in `ENGINES`."""

    @property
    def device(self) -> str:
        """Where the graph really runs, such as `cpu` or `cuda:0`."""

    @property
    def provider(self) -> str:
        """What computes there, for people: an execution provider, the name of a GPU, the address of a server."""

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

    def close(self) -> None:
        """Gives the memory back; may be called twice."""


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
