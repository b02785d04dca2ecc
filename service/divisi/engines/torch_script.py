"""Runs a bundle's TorchScript graph: the one serving module that imports torch.

For machines that have torch anyway, and to compare with ONNX Runtime. TorchScript declares neither names nor sizes of
what goes in and out; export writes them into the artifact.
"""

from __future__ import annotations

import json

import numpy as np
import torch

from divisi.bundles.store import ModelBundle
from divisi.engines.agreement import check_mixture, check_outputs, check_roster, check_signature, silence
from divisi.engines.engine import EngineOptions
from divisi.errors import ModelError

SIGNATURE_FILE = "signature.json"


class TorchScriptEngine:
    """One loaded script module. The number of threads holds for the whole process, as torch has it."""

    name = "torch_script"

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ModelError("device cuda was asked for; this torch sees no CUDA device", code="wrong-device")
        torch.set_num_threads(options.num_threads)
        self._card = bundle.card
        self.device = options.device
        self._module: torch.jit.ScriptModule | None = _load(bundle, options.device)
        self.run(silence(self._card))

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        if self._module is None:
            raise ModelError("engine torch_script is closed", code="engine-closed")
        mixture = check_mixture(mixture, self._card)
        roster = check_roster(roster, len(mixture), self._card)
        arrays = (mixture,) if roster is None else (mixture, roster)
        try:
            with torch.inference_mode():
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
        outputs = {name: tensor.cpu().numpy().copy() for name, tensor in zip(names, tensors, strict=True)}
        return check_outputs(outputs, mixture.shape, self._card)

    def close(self) -> None:
        self._module = None


def _load(bundle: ModelBundle, device: str) -> torch.jit.ScriptModule:
    path = bundle.artifact_path("torchscript")
    files = {SIGNATURE_FILE: ""}
    try:
        module = torch.jit.load(str(path), map_location=device, _extra_files=files)
    except RuntimeError as error:
        raise ModelError(f"{bundle.name}: torch cannot load {path.name}: {error}", code="damaged-bundle") from error
    if not files[SIGNATURE_FILE]:
        raise ModelError(f"{bundle.name}: {path.name} lacks {SIGNATURE_FILE}; export it anew", code="wrong-signature")
    signature = json.loads(files[SIGNATURE_FILE])
    check_signature(signature["inputs"], signature["outputs"], bundle.card)
    return module.eval()
