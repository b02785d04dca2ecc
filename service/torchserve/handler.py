"""Runs inside TorchServe: a batch of segments in, estimates out, both as safetensors over HTTP.

Travels in the `.mar` beside the TorchScript artifact and imports nothing of divisi. Requests that TorchServe joins and
whose segments are of one shape go through the graph together.

Request: tensors `mixture` (B, C, T) and, for models that take one, `roster` (B, S); float32. Answer: the outputs of the
graph by name, float32, with the headers below. What is refused is answered 422, what the graph fails on 500, with the
reason as text.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

SIGNATURE_FILE = "signature.json"
ARTIFACT_HEADER = "X-Divisi-Artifact"
"""SHA-256 of the artifact that answered."""
DEVICE_HEADER = "X-Divisi-Device"
"""Where it ran, such as `cpu` or `cuda:0`."""
ERROR_HEADER = "X-Divisi-Error"
"""Set to `input` or `graph` when the body is a reason and no tensors."""

Tensors = dict[str, np.ndarray]
log = logging.getLogger(__name__)


class SegmentHandler:
    """One worker of TorchServe, which calls `initialize` once and then `handle`; the only class, as it demands."""

    def initialize(self, context: Any) -> None:
        """Loads the artifact onto the GPU that TorchServe gave this worker, or the CPU where it gave none."""
        folder = Path(context.system_properties["model_dir"])
        path = folder / context.manifest["model"]["serializedFile"]
        gpu = context.system_properties.get("gpu_id")
        self._device = "cpu" if gpu is None else f"cuda:{gpu}"
        torch.set_num_threads(int((context.model_yaml_config or {}).get("threads", 1)))
        files = {SIGNATURE_FILE: ""}
        self._module = torch.jit.load(str(path), map_location=self._device, _extra_files=files).eval()
        signature = json.loads(files[SIGNATURE_FILE])
        self._inputs, self._outputs = list(signature["inputs"]), list(signature["outputs"])
        with path.open("rb") as file:
            self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()

    def handle(self, rows: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answers every row of a batch; one row's fault leaves the others alone."""
        answers: list[bytes] = [b""] * len(rows)
        groups: dict[Any, list[tuple[int, Tensors]]] = defaultdict(list)
        for index, row in enumerate(rows):
            context.set_response_header(index, ARTIFACT_HEADER, self._sha256)
            context.set_response_header(index, DEVICE_HEADER, self._device)
            try:
                tensors = self._read(row.get("body") or row.get("data"))
                groups[tuple(tensors[name].shape[1:] for name in self._inputs)].append((index, tensors))
            except ValueError as refusal:
                answers[index] = _refuse(context, index, 422, "input", refusal)
        for group in groups.values():
            try:
                results = self._run([tensors for _, tensors in group])
                for (index, _), result in zip(group, results, strict=True):
                    context.set_response_content_type(index, "application/octet-stream")
                    answers[index] = safetensors.numpy.save(result)
            except Exception as error:  # whatever a graph does costs its requests, not the worker
                log.exception("the graph failed")
                for index, _ in group:
                    answers[index] = _refuse(context, index, 500, "graph", error)
        return answers

    def _read(self, body: Any) -> Tensors:
        """The tensors of a request; ValueError says what is wrong with them."""
        if not isinstance(body, (bytes, bytearray)):
            raise ValueError(f"the body must be safetensors, it came as {type(body).__name__}")
        try:
            tensors = safetensors.numpy.load(bytes(body))
        except Exception as error:
            raise ValueError(f"the body is no safetensors: {error}") from error
        if sorted(tensors) != sorted(self._inputs):
            raise ValueError(f"the graph takes {self._inputs}, the request holds {sorted(tensors)}")
        for name, array in tensors.items():
            if array.dtype != np.float32 or array.ndim < 2 or 0 in array.shape:
                raise ValueError(f"{name} must be float32 and hold something, it is {array.dtype} {array.shape}")
        if len({len(array) for array in tensors.values()}) != 1:
            raise ValueError("the tensors of a request must have one batch size")
        return tensors

    def _run(self, requests: list[Tensors]) -> list[Tensors]:
        """The graph's outputs for several requests of one shape, apart again."""
        joined = [
            torch.from_numpy(np.concatenate([tensors[name] for tensors in requests])).to(self._device)
            for name in self._inputs
        ]
        with torch.inference_mode():
            outputs = self._module(*joined)
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        arrays = [output.cpu().contiguous().numpy() for output in outputs]
        ends = np.cumsum([len(tensors["mixture"]) for tensors in requests])[:-1]
        parts = zip(*(np.split(array, ends) for array in arrays), strict=True)
        return [dict(zip(self._outputs, part, strict=True)) for part in parts]


def _refuse(context: Any, index: int, status: int, whose: str, reason: Exception) -> bytes:
    context.set_response_status(code=status, phrase="", idx=index)
    context.set_response_header(index, ERROR_HEADER, whose)
    context.set_response_content_type(index, "text/plain; charset=utf-8")
    return str(reason).encode()
