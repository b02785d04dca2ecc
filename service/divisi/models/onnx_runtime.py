"""Runs a bundle's ONNX graph in ONNX Runtime: the default engine, with no torch in the process."""

from __future__ import annotations

import numpy as np
import onnxruntime

from divisi.contract.errors import ModelError
from divisi.models.agreement import check_mixture, check_outputs, check_roster, check_signature, silence
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS_ONLY = 3
_CUDA_SETTINGS = {
    # The last batch of a recording has a size of its own; trying every algorithm for each new size takes seconds.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Memory grows by what is needed, not to the next power of two: other models share the device.
    "arena_extend_strategy": "kSameAsRequested",
}


class OnnxRuntimeEngine:
    """One session; its execution provider is the one asked for, or it does not open."""

    name = "onnx_runtime"

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        self._card = bundle.card
        self.device = options.device
        self.provider = _CPU if options.device == "cpu" else _CUDA
        self._session: onnxruntime.InferenceSession | None = _open_session(bundle, options)
        self._run_options = _run_options(bundle, options)
        check_signature(
            {value.name: value.shape for value in self._session.get_inputs()},
            {value.name: value.shape for value in self._session.get_outputs()},
            self._card,
        )
        self.run(silence(self._card))

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if self._session is None:
            raise ModelError("engine onnx_runtime is closed", code="engine-closed")
        mixture = check_mixture(mixture, self._card)
        inputs = {"mixture": mixture, "roster": check_roster(roster, len(mixture), self._card)}
        names = self._card.output_names
        try:
            given = {name: inputs[name] for name in self._card.input_names}
            arrays = self._session.run(list(names), given, self._run_options)
        except Exception as error:  # the runtime's exceptions share no base class of their own
            message = f"{self._card.id}: ONNX Runtime failed on a mixture of shape {mixture.shape}: {error}"
            raise ModelError(message, code="engine-failed") from error
        return check_outputs(dict(zip(names, arrays, strict=True)), mixture.shape, self._card)

    def close(self) -> None:
        self._session = None


def _open_session(bundle: ModelBundle, options: EngineOptions) -> onnxruntime.InferenceSession:
    kind, _, index = options.device.partition(":")
    provider = {"cpu": _CPU, "cuda": _CUDA}[kind]
    if provider not in onnxruntime.get_available_providers():
        message = (
            f"device {options.device} needs {provider}; this ONNX Runtime has {onnxruntime.get_available_providers()}; "
            "install the extra worker-gpu in place of worker"
        )
        raise ModelError(message, code="wrong-device")
    path = bundle.artifact_path("onnx")
    settings: dict[str, str] = {}
    if provider == _CUDA:
        settings = _CUDA_SETTINGS | {"device_id": index or "0"}
        onnxruntime.preload_dlls()  # CUDA libraries that came as Python packages are not where the loader looks
    try:
        session = onnxruntime.InferenceSession(
            str(path), _session_options(options), providers=[provider], provider_options=[settings]
        )
    except Exception as error:
        raise ModelError(
            f"{bundle.name}: ONNX Runtime cannot load {path.name}: {error}", code="damaged-bundle"
        ) from error
    # ONNX Runtime falls back to the CPU in silence when the CUDA libraries do not load.
    if session.get_providers()[0] != provider:
        message = f"device {options.device} was asked for; ONNX Runtime runs on {session.get_providers()}"
        raise ModelError(message, code="wrong-device")
    return session


def _session_options(options: EngineOptions) -> onnxruntime.SessionOptions:
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.num_threads
    session_options.inter_op_num_threads = 1
    session_options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Threads that wait must not burn the cores that other workers of this machine need.
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A pattern is kept for every shape ever seen. The arena alone stays at what the largest batch of segments took, and
    # is a third faster than none.
    session_options.enable_mem_pattern = False
    session_options.log_severity_level = _ERRORS_ONLY
    return session_options


def _run_options(bundle: ModelBundle, options: EngineOptions) -> onnxruntime.RunOptions:
    run_options = onnxruntime.RunOptions()
    if bundle.card.segment_length == "whole":
        # One long recording must not hold its memory until the process ends.
        kind, _, index = options.device.partition(":")
        arena = f"{'gpu' if kind == 'cuda' else 'cpu'}:{index or 0}"
        run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", arena)
    return run_options
