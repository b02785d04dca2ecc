"""Has a TorchServe run a bundle's TorchScript graph: the engine for machines whose workers hold no model themselves.

Segments go out and estimates come back as safetensors over HTTP (`service/torchserve/handler.py` is the other end). The
server must hold an archive of the very artifact that the bundle names; the file itself need not be here.
"""

from __future__ import annotations

import numpy as np
import safetensors.numpy

from divisi.bundles.store import ModelBundle
from divisi.contract.errors import ModelError
from divisi.engines.agreement import check_mixture, check_outputs, check_roster, silence
from divisi.engines.engine import EngineOptions
from divisi.engines.model_server import ModelServer

_ARTIFACT_HEADER = "X-Divisi-Artifact"
_DEVICE_HEADER = "X-Divisi-Device"


class TorchServeEngine:
    """One model of one TorchServe. Its device and threads are the server's; a device that was asked for is checked."""

    name = "torch_serve"

    def __init__(self, bundle: ModelBundle, options: EngineOptions) -> None:
        self._card = bundle.card
        self._artifact = bundle.artifact("torchscript")
        self._wanted_device = options.device
        self.device = options.device
        self.provider = f"TorchServe at {options.model_server.url}"
        self._server: ModelServer | None = ModelServer(options.model_server)
        try:
            self._server.wait_until_healthy()
            self.run(silence(self._card))
        except BaseException:
            self.close()
            raise

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """As `Engine.run`; also raises UnavailableError, code `model-server-away`."""
        if self._server is None:
            raise ModelError("engine torch_serve is closed", code="engine-closed")
        mixture = check_mixture(mixture, self._card)
        inputs = {"mixture": mixture, "roster": check_roster(roster, len(mixture), self._card)}
        body = safetensors.numpy.save({name: array for name, array in inputs.items() if array is not None})
        answer = self._server.predict(self._card.id, self._card.version, body)
        self._check_who_answered(answer.headers.get(_ARTIFACT_HEADER), answer.headers.get(_DEVICE_HEADER))
        try:
            tensors = safetensors.numpy.load(answer.content)
        except safetensors.SafetensorError as error:
            message = f"{self._card.id}: what TorchServe answered is no safetensors: {error}"
            raise ModelError(message, code="engine-failed") from error
        names = self._card.output_names
        if sorted(tensors) != sorted(names):
            message = f"{self._card.id}: the graph gave {sorted(tensors)}, the card names {list(names)}"
            raise ModelError(message, code="wrong-output")
        # A copy: what comes from a body cannot be written to.
        return check_outputs({name: tensors[name].copy() for name in names}, mixture.shape, self._card)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _check_who_answered(self, sha256: str | None, device: str | None) -> None:
        """At every answer: a server may come back with another archive, or without its GPU."""
        if sha256 != self._artifact.sha256:
            message = (
                f"TorchServe serves another {self._card.id} {self._card.version}: its artifact has SHA-256 "
                f"{(sha256 or 'unknown')[:12]}…, the bundle's {self._artifact.sha256[:12]}…; make its archive anew"
            )
            raise ModelError(message, code="wrong-model")
        if device is None or device.partition(":")[0] != self._wanted_device.partition(":")[0]:
            message = f"device {self._wanted_device} was asked for; TorchServe runs {self._card.id} on {device}"
            raise ModelError(message, code="wrong-device")
        self.device = device
