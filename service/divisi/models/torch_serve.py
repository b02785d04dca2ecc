"""Has a TorchServe run a bundle's TorchScript graph: the engine for machines whose workers hold no model themselves.

Segments go out and estimates come back as safetensors over HTTP (`service/torchserve/handler.py` is the other end). The
server must hold an archive of the very artifact that the bundle names; the file itself need not be here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import safetensors.numpy

from divisi.contract.errors import ModelError, UnavailableError
from divisi.models.agreement import check_mixture, check_outputs, check_roster, silence
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, ModelServerOptions

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


_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_CONNECT_SECONDS = 2.0
# A worker of TorchServe that dies this often under one request dies of it.
_DEATHS_OF_ONE_REQUEST = 3
_KEY_REFUSED = "InvalidKeyException"
# Set by our handler on its own refusals, which come without TorchServe's JSON.
_ERROR_HEADER = "X-Divisi-Error"


class ModelServer:
    """A connection that is kept open. Not thread-safe."""

    def __init__(self, options: ModelServerOptions, sleep: Callable[[float], None] = time.sleep) -> None:
        self._options = options
        self._sleep = sleep
        self._key: str | None = None
        timeout = httpx.Timeout(options.timeout_seconds, connect=_CONNECT_SECONDS)
        # The key must not travel through a proxy that the environment names.
        self._client = httpx.Client(base_url=options.url, timeout=timeout, trust_env=False)

    def wait_until_healthy(self) -> None:
        """Returns once all its workers run.

        Raises:
            UnavailableError: code `model-server-away`; they do not within `patience_seconds`.
        """
        self._persist(lambda: self._client.get("/ping", headers=self._headers()), self._ping_trouble)

    def predict(self, model: str, version: str, body: bytes) -> httpx.Response:
        """Answers 200 to a request for one model.

        Raises:
            UnavailableError: code `model-server-away`; it does not answer within `patience_seconds`, or not in time.
            ModelError: code `missing-model`, `wrong-input` or `engine-failed`.
        """
        path = f"/predictions/{model}/{version}"
        deaths = 0

        def trouble(response: httpx.Response) -> str | None:
            nonlocal deaths
            found = self._prediction_trouble(response, f"{model} {version}")
            if found is not None and response.status_code == httpx.codes.INSUFFICIENT_STORAGE:
                deaths += 1
                if deaths == _DEATHS_OF_ONE_REQUEST:
                    message = f"{model}: {deaths} workers of TorchServe died of one batch of segments: {found}"
                    raise ModelError(message, code="engine-failed")
            return found

        return self._persist(lambda: self._client.post(path, content=body, headers=self._headers()), trouble)

    def close(self) -> None:
        """Closes the connection; may be called twice."""
        self._client.close()

    def _persist(
        self, ask: Callable[[], httpx.Response], trouble_with: Callable[[httpx.Response], str | None]
    ) -> httpx.Response:
        """Asks until there is no trouble, with growing pauses."""
        began = time.monotonic()
        pauses = _growing_pauses()
        while True:
            try:
                response = ask()
                trouble = trouble_with(response)
                if trouble is None:
                    return response
            except httpx.ReadTimeout as error:
                message = f"TorchServe at {self._options.url} gave no answer in {self._options.timeout_seconds:g} s"
                raise UnavailableError(message, code="model-server-away") from error
            except httpx.TransportError as error:
                trouble = str(error) or type(error).__name__
            pause = next(pauses)
            if time.monotonic() + pause > began + self._options.patience_seconds:
                message = f"TorchServe at {self._options.url} cannot be used: {trouble}"
                raise UnavailableError(message, code="model-server-away")
            self._sleep(pause)

    def _ping_trouble(self, response: httpx.Response) -> str | None:
        if self._is_key_refused(response):
            return self._forget_key()
        status = _field(response, "status")
        return None if response.is_success and status == "Healthy" else f"it says {status or response.status_code}"

    def _prediction_trouble(self, response: httpx.Response, name: str) -> str | None:
        """What may pass; None when all is well. Raises ModelError for what would come again."""
        if response.is_success:
            return None
        if self._is_key_refused(response):
            return self._forget_key()
        reason = _field(response, "message") or response.text[:500] or f"HTTP {response.status_code}"
        if response.headers.get(_ERROR_HEADER) == "input":
            raise ModelError(f"{name}: TorchServe refuses the segments: {reason}", code="wrong-input")
        if response.headers.get(_ERROR_HEADER) == "graph":
            raise ModelError(f"{name}: the graph failed in TorchServe: {reason}", code="engine-failed")
        if response.status_code == httpx.codes.NOT_FOUND:
            message = f"TorchServe at {self._options.url} does not serve {name}: {reason}"
            raise ModelError(message, code="missing-model")
        if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            size = response.request.headers.get("content-length")
            message = f"{name}: a request of {size} bytes is beyond TorchServe's max_request_size; lower the batch size"
            raise ModelError(message, code="engine-failed")
        if response.is_server_error or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return reason
        raise ModelError(f"{name}: TorchServe answered {response.status_code}: {reason}", code="engine-failed")

    def _is_key_refused(self, response: httpx.Response) -> bool:
        """TorchServe answers 400 to an expired key; a proxy before it may answer 401 or 403."""
        refusals = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
        return response.status_code in refusals or _field(response, "type") == _KEY_REFUSED

    def _forget_key(self) -> str:
        self._key = None
        return f"it refuses the key of {self._options.key_file or 'DIVISI_TORCH_SERVE_KEY_FILE, which is not set'}"

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/octet-stream"}
        if self._key is None and self._options.key_file is not None:
            self._key = _read_key(self._options.key_file)
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers


def _read_key(path: Path) -> str | None:
    """None while TorchServe starts and has written none; without a key it refuses, and one asks again."""
    try:
        key = json.loads(path.read_text(encoding="utf-8"))["inference"]["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(key)


def _field(response: httpx.Response, name: str) -> str | None:
    """A field of TorchServe's JSON; None where the body is none, or lacks it."""
    try:
        content = response.json()
    except ValueError:
        return None
    return str(content[name]) if isinstance(content, dict) and name in content else None


def _growing_pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
