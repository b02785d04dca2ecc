"""The handler inside TorchServe, in its own context: joined requests come apart again, each with its answer."""

from __future__ import annotations

import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from tests.models.tiny_bundle import HOP, noise

from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, open_engine
from divisi_workshop.export.torch_serve_archive import HANDLER, write_archive

# Segments that go through the graph together sum in another order than alone: some float32 rounding at full scale.
ROUNDING = 1e-5


def started(bundle: ModelBundle, folder: Path) -> tuple[Any, Any]:
    """A handler that has unpacked the bundle's archive, and the context it works in."""
    from ts.service import Service

    with zipfile.ZipFile(write_archive(bundle, folder)) as archive:
        archive.extractall(folder)
    spec = spec_from_file_location("handler", HANDLER)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    handler = module.SegmentHandler()
    manifest = {"model": {"serializedFile": "model.ts", "configFile": "model-config.yaml"}}
    context = Service(bundle.card.id, str(folder), manifest, handler.handle, None, 4).context
    handler.initialize(context)
    return handler, context


def ask(handler: Any, context: Any, *bodies: Any) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of every answer, the requests having come together."""
    from ts.context import RequestProcessor

    context.request_processor = [RequestProcessor({}) for _ in bodies]
    answers = handler.handle([{"body": body} for body in bodies], context)
    states = [context.get_response_status(index)[0] for index in range(len(bodies))]
    return [(states[index], context.get_response_headers(index), answer) for index, answer in enumerate(answers)]


def test_requests_of_several_sizes_each_get_their_own(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    handler, context = started(tiny_bundle, tmp_path)
    mixtures = [noise(1, 1, 9 * HOP, seed=1), noise(3, 1, 9 * HOP, seed=2), noise(1, 1, 5 * HOP, seed=3)]
    answers = ask(handler, context, *(bytearray(safetensors.numpy.save({"mixture": mixture})) for mixture in mixtures))
    engine = open_engine("torch_script", tiny_bundle, EngineOptions())
    for mixture, (status, headers, body) in zip(mixtures, answers, strict=True):
        assert status == 200
        assert headers["X-Divisi-Device"] == "cpu"
        assert headers["X-Divisi-Artifact"] == tiny_bundle.artifact("torchscript").sha256
        outputs = safetensors.numpy.load(body)
        for name, array in engine.run(mixture).items():
            np.testing.assert_allclose(
                outputs[name] / np.maximum(array, 1), array / np.maximum(array, 1), atol=ROUNDING
            )


def test_one_refused_request_leaves_the_others_alone(tiny_roster_bundle: ModelBundle, tmp_path: Path) -> None:
    handler, context = started(tiny_roster_bundle, tmp_path)
    mixture, roster = noise(2, 1, 9 * HOP), np.ones((2, 2), np.float32)
    good = safetensors.numpy.save({"mixture": mixture, "roster": roster})
    bad = {
        "the body must be safetensors": "text",
        "the body is no safetensors": b"\x80\x04.",
        "the graph takes ['mixture', 'roster']": safetensors.numpy.save({"mixture": mixture}),
        "mixture must be float32": safetensors.numpy.save({"mixture": mixture.astype(np.float64), "roster": roster}),
        "one batch size": safetensors.numpy.save({"mixture": mixture, "roster": roster[:1]}),
    }
    first, *refused, last = ask(handler, context, good, *bad.values(), good)
    assert first[0] == last[0] == 200
    assert first[2] == last[2]
    for reason, (status, headers, body) in zip(bad, refused, strict=True):
        assert status == 422
        assert headers["X-Divisi-Error"] == "input"
        assert reason in body.decode()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_the_graph_fails_on_is_told_and_the_worker_lives(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    handler, context = started(tiny_bundle, tmp_path)
    wrong = safetensors.numpy.save({"mixture": np.ones((1, 1, 1, 8), np.float32)})
    good = safetensors.numpy.save({"mixture": noise(1, 1, 4 * HOP)})
    (status, headers, body), (other, _, _) = ask(handler, context, wrong, good)
    assert (status, headers["X-Divisi-Error"], other) == (500, "graph", 200)
    assert body
