"""Runs a bundle's TorchScript: the one serving module that imports torch.

A trained network is one graph, `TorchScriptEngine`; a model that is fitted to each recording is a set of methods,
`ScriptMethods`, which `script_fitter` calls one by one. TorchScript declares neither names nor sizes of what goes in
and out; export writes them into the artifact.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from divisi.contract.errors import ModelError
from divisi.models.agreement import check_mixture, check_outputs, check_roster, check_signature, silence
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions

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


class ScriptMethods:
    """The methods of a script module that is worked step by step; what they give stays on the device, unread.

    Args:
        bundle: its TorchScript artifact lists the methods that it has.
        options: where to run.
        methods: names that must be there.
    """

    def __init__(self, bundle: ModelBundle, options: EngineOptions, methods: Sequence[str]) -> None:
        self.provider = _take_device(options)
        self.device = options.device
        self._name = bundle.name
        module, signature = _load(bundle, options.device)
        if missing := set(methods).difference(signature.get("methods", ())):
            message = f"{bundle.name}: the artifact lacks the methods {', '.join(sorted(missing))}"
            raise ModelError(message, code="wrong-signature")
        self._module: torch.jit.ScriptModule | None = module

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls a method.

        Args:
            arguments: numbers, arrays, or what an earlier call gave.

        Returns:
            a number, or something to give to a later call or to `read`.

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

    def read(self, tensor: Any) -> np.ndarray:
        """What a method gave, as an array of its own."""
        return np.array(tensor.cpu().numpy())

    def close(self) -> None:
        """Gives the memory back; may be called twice."""
        self._module = None


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
