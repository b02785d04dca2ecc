"""Runs a bundle's TorchScript: the one serving module that imports torch.

A trained network is one graph, `TorchScriptEngine`. A model that is fitted to each recording is a set of methods, which
`ScriptFitter` calls one by one: starts, iterations, images; what they compute is in the artifact, what they start from
is drawn here, so that it is the same on every device. TorchScript declares neither names nor sizes of what goes in and
out; export writes them into the artifact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from divisi.contract.errors import ModelError
from divisi.models.agreement import check_mixture, check_outputs, check_roster, check_signature, silence
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions
from divisi.models.plan import FitPlan

SIGNATURE_FILE = "signature.json"


class TorchScriptEngine:
    """One loaded script module. The number of threads holds for the whole process, as torch has it."""

    name = "torch_script"

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        self.provider = _take_device(options)
        self._card = bundle.card
        self.device = options.device
        self._is_half = options.half_precision and bundle.card.half_precision_safe
        module, signature = _load(bundle, options.device)
        check_signature(signature["inputs"], signature["outputs"], bundle.card)
        self._module: torch.jit.ScriptModule | None = module
        self.run(silence(self._card))

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if self._module is None:
            raise ModelError("engine torch_script is closed", code="engine-closed")
        mixture = check_mixture(mixture, self._card)
        roster = check_roster(roster, len(mixture), self._card)
        arrays = (mixture,) if roster is None else (mixture, roster)
        try:
            with torch.inference_mode(), self._precision():
                tensors = self._module(*(torch.from_numpy(array).to(self.device) for array in arrays))
        except RuntimeError as error:
            message = f"{self._card.id}: TorchScript failed on a mixture of shape {mixture.shape}: {error}"
            raise ModelError(message, code="engine-failed") from error
        tensors = (tensors,) if isinstance(tensors, torch.Tensor) else tensors
        names = self._card.output_names
        if len(tensors) != len(names):
            message = f"{self._card.id}: the graph gave {len(tensors)} outputs, the card names {list(names)}"
            raise ModelError(message, code="wrong-output")
        # A copy, because a traced graph may answer with its input or with one of its constants.
        outputs = {name: tensor.float().cpu().numpy().copy() for name, tensor in zip(names, tensors, strict=True)}
        return check_outputs(outputs, mixture.shape, self._card)

    def close(self) -> None:
        self._module = None

    def _precision(self) -> AbstractContextManager[Any]:
        """In half precision torch runs in float16 what it knows to stand it (products, convolutions), and no more."""
        if not self._is_half:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.float16)


METHODS = (
    "analyse",
    "start",
    "restart_factors",
    "follow",
    "listen_to_spots",
    "iterate",
    "normalise",
    "log_likelihood",
    "levels",
    "image",
)
# The published numbers: two-step starts (30 iterations of 2 bases each, but at most a third of all), gains, iterations
# between normalisations.
_FIRST_STEP_ITERATIONS = 30
_FIRST_STEP_BASES = 2
_FAR_GAIN = 0.05
_NORMALISE_EVERY = 10
# A spot microphone shows its instrument's patterns quickly; more iterations gave no more (simulated quintets).
_SPOT_ITERATIONS = 20
# Room microphones pick up everybody.
_ROOM_GAIN = 0.3
# Frequencies at a time: their powers fit into the second-level cache of a processor; a GPU takes all at once.
_BLOCK_BINS = {"cpu": 32, "cuda": 1 << 16}
# Of full scale: a quieter microphone is taken as silent.
_SILENCE = 1e-7

Array = NDArray[np.float32]


class ScriptFitter:
    """One loaded artifact. What its methods give stays on the device, unread."""

    name = "script_fitter"

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        self.provider = _take_device(options)
        self.device = options.device
        self._name = bundle.name
        module, signature = _load(bundle, options.device)
        if missing := set(METHODS).difference(signature.get("methods", ())):
            message = f"{bundle.name}: the artifact lacks the methods {', '.join(sorted(missing))}"
            raise ModelError(message, code="wrong-signature")
        self._module: torch.jit.ScriptModule | None = module
        self._block_bins = _BLOCK_BINS[options.device.partition(":")[0]]
        self._plan: FitPlan | None = None
        self._leader: Any = None
        self._latest: Any = None
        self._num_samples = 0

    def num_steps(self, plan: FitPlan) -> int:
        return plan.num_iterations + (_SPOT_ITERATIONS if plan.initialisation == "spots" else 0)

    def fit(self, stretches: np.ndarray, plan: FitPlan) -> Iterator[None]:
        call = self._call
        self._plan, self._num_samples = plan, stretches.shape[2]
        self._leader = self._latest = None
        levels = np.sqrt(np.square(stretches, dtype=np.float64).mean(axis=(0, 2)))
        self._scale = np.where(levels > _SILENCE, levels, 1.0).astype(np.float32)
        rng = np.random.default_rng(plan.seed)
        fit = call("analyse", stretches, self._scale, plan.fft_length, plan.is_precise)
        num_frames = fit["real"].shape[2]
        num_iterations = plan.num_iterations
        if plan.initialisation == "two_step":
            num_first = min(_FIRST_STEP_ITERATIONS, math.ceil(num_iterations / 3))
            fit = call("start", fit, *self._draw(rng, plan, _FIRST_STEP_BASES, num_frames), self._gains(plan))
            for number in range(num_first):
                fit = self._iterate(fit, plan, number)
                yield
            fit = call("restart_factors", fit, *self._draw(rng, plan, plan.num_bases, num_frames))
            num_iterations -= num_first
        elif plan.initialisation == "spots":
            factors = list(self._draw(rng, plan, plan.num_bases, num_frames))
            yield from self._listen_to_spots(fit, plan, factors)
            fit = call("start", fit, *factors, self._gains(plan))
        else:
            fit = call("start", fit, *self._draw(rng, plan, plan.num_bases, num_frames), self._gains(plan))
        for number in range(num_iterations):
            fit = self._iterate(fit, plan, number)
            yield
        self._leader = self._latest = fit

    def log_likelihood(self) -> float:
        """Of the stretches given last, as the fit stands."""
        return float(self._call("log_likelihood", self._latest, self._block_bins))

    def levels(self) -> np.ndarray:
        return _read(self._call("levels", self._leader))

    def adapt(self, stretch: np.ndarray, num_iterations: int) -> Iterator[None]:
        call, plan = self._call, self._plan
        if plan is None or self._leader is None:
            raise ModelError("fit before adapt", code="engine-failed")
        self._latest = None
        self._num_samples = stretch.shape[1]
        fit = call("analyse", stretch[None], self._scale, plan.fft_length, plan.is_precise)
        # Activations alone are drawn, from the plan's seed: what a stretch becomes does not depend on those before it.
        shape = (plan.num_sources, plan.num_bases, fit["real"].shape[2])
        activations = np.random.default_rng([plan.seed, 1]).uniform(0.1, 1, shape).astype(np.float32)
        fit = call("follow", fit, self._leader, activations)
        for _ in range(num_iterations):
            fit = call("iterate", fit, False, False, plan.projects, self._block_bins)
            yield
        self._latest = fit

    def image(self, source: int) -> np.ndarray:
        image = _read(self._call("image", self._latest, source, self._num_samples))
        if not np.isfinite(image).all():
            raise ModelError(f"{self._name}: the fit came to NaN or infinity", code="non-finite-estimates")
        return image

    def close(self) -> None:
        self._leader = self._latest = self._module = None

    def _call(self, method: str, *arguments: Any) -> Any:
        """Calls a method with numbers, arrays, or what an earlier call gave.

        Returns:
            a number, or something to give to a later call or to `_read`.

        Raises:
            ModelError: code `engine-failed` or `engine-closed`.
        """
        if self._module is None:
            raise ModelError(f"{self._name} is closed", code="engine-closed")
        values = [
            torch.from_numpy(value).to(self.device) if isinstance(value, np.ndarray) else value for value in arguments
        ]
        try:
            with torch.inference_mode():
                return getattr(self._module, method)(*values)
        except RuntimeError as error:
            message = f"{self._name}: {method} failed: {str(error).strip().splitlines()[-1]}"
            raise ModelError(message, code="engine-failed") from error

    def _iterate(self, fit: Any, plan: FitPlan, number: int) -> Any:
        fit = self._call("iterate", fit, plan.learns_gains, True, plan.projects, self._block_bins)
        return self._call("normalise", fit) if number % _NORMALISE_EVERY == 0 else fit

    def _draw(self, rng: np.random.Generator, plan: FitPlan, num_bases: int, num_frames: int) -> tuple[Array, Array]:
        """Bases (S, F, K) and activations (S, K, N), uniform in (0, 1]."""
        num_bins = plan.fft_length // 2 + 1
        bases = 1 - rng.random((plan.num_sources, num_bins, num_bases), np.float32)
        return bases, 1 - rng.random((plan.num_sources, num_bases, num_frames), np.float32)

    def _listen_to_spots(self, fit: Any, plan: FitPlan, factors: list[Array]) -> Iterator[None]:
        """Puts what the spots show into the factors of the sources that have one."""
        call = self._call
        places = [place for place, channel in enumerate(plan.spot_channels) if channel is not None]
        channels = np.array([plan.spot_channels[place] for place in places], np.int64)
        own = call("listen_to_spots", fit, channels, factors[0][places], factors[1][places])
        for _ in range(_SPOT_ITERATIONS):
            own = call("iterate", own, False, False, False, self._block_bins)
            yield
        factors[0][places] = _read(own["bases"])
        factors[1][places] = _read(own["activations"])

    def _gains(self, plan: FitPlan) -> Array:
        """Gains (S, C) to start from.

        Circular, as published: microphone m belongs to source m mod S. With spots each belongs to its instrument, and
        the others to everybody. ILRMA has one channel a source, for good: its spot, and for others what is left.
        """
        num_sources, num_channels = plan.num_sources, len(self._scale)
        others = [channel for channel in range(num_channels) if channel not in plan.spot_channels]
        if not plan.learns_gains:
            left = iter(others)
            own = [next(left) if channel is None else channel for channel in plan.spot_channels]
            return np.eye(num_channels, dtype=np.float32)[own]
        gains = np.full((num_sources, num_channels), _FAR_GAIN, np.float32)
        if plan.initialisation != "spots":
            gains[np.arange(num_channels) % num_sources, np.arange(num_channels)] = 1
            return gains
        gains[:, others] = _ROOM_GAIN
        without = [place for place, channel in enumerate(plan.spot_channels) if channel is None]
        for place, channel in enumerate(plan.spot_channels):
            if channel is not None:
                gains[place, channel] = 1
        for number, place in enumerate(without):
            if others:
                gains[place, others[number % len(others)]] = 1
            else:
                gains[place] = _ROOM_GAIN
        return gains


def _read(tensor: Any) -> np.ndarray:
    """What a method gave, as an array of its own."""
    return np.array(tensor.cpu().numpy())


def _take_device(options: EngineOptions) -> str:
    """Sets the number of threads; gives the name of what will compute."""
    device = torch.device(options.device)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        message = f"device {options.device} was asked for; torch {torch.__version__} sees {count} CUDA devices"
        raise ModelError(message, code="wrong-device")
    torch.set_num_threads(options.num_threads)
    return "torch on the CPU" if device.type == "cpu" else f"torch on {torch.cuda.get_device_name(device)}"


def _load(bundle: ModelBundle, device: str) -> tuple[torch.jit.ScriptModule, dict[str, Any]]:
    """The script module, and what export wrote into it: names and sizes of what goes in and out."""
    path = bundle.artifact_path("torchscript")
    files = {SIGNATURE_FILE: ""}
    try:
        module = torch.jit.load(str(path), map_location=device, _extra_files=files)
    except RuntimeError as error:
        raise ModelError(f"{bundle.name}: torch cannot load {path.name}: {error}", code="damaged-bundle") from error
    if not files[SIGNATURE_FILE]:
        raise ModelError(f"{bundle.name}: {path.name} lacks {SIGNATURE_FILE}; export it anew", code="wrong-signature")
    return module.eval(), json.loads(files[SIGNATURE_FILE])
