"""Opening engines by name, in this process and in a fresh one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.models.tiny_bundle import HOP, tiny_draft, tiny_network
from tests.patience import PATIENCE_SECONDS

from divisi.contract.errors import ModelError
from divisi.models.agreement import silence
from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, open_engine
from divisi.settings import default_model_store
from divisi_workshop.export.export import export_bundle

STORE = BundleStore(default_model_store())
RUN_ONE_SEGMENT = """
import sys
from pathlib import Path
import numpy as np
from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, open_engine

engine = open_engine("onnx_runtime", BundleStore(Path(sys.argv[1])).get("tiny-duo"), EngineOptions())
estimates = engine.run(np.ones((1, 1, int(sys.argv[2])), np.float32))["estimates"]
print(*estimates.shape)
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("torch", "onnx")))
"""


def test_an_interpreter_that_ran_a_segment_through_onnx_runtime_has_no_torch(tmp_path: Path) -> None:
    export_bundle(tiny_network(), tiny_draft(), tmp_path)
    command = [sys.executable, "-c", RUN_ONE_SEGMENT, str(tmp_path), str(4 * HOP)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"1 2 1 {4 * HOP}", "[]"]


def test_an_unknown_engine_is_refused_with_the_names_of_the_known(tmp_path: Path) -> None:
    bundle = export_bundle(tiny_network(), tiny_draft(), tmp_path)
    with pytest.raises(ModelError, match="onnx_runtime, torch_script, torch_serve, passthrough") as refused:
        open_engine("tensor_flow", bundle, EngineOptions())
    assert refused.value.code == "unknown-engine"


def test_an_engine_without_its_library_says_what_to_install(tmp_path: Path) -> None:
    export_bundle(tiny_network(), tiny_draft(), tmp_path)
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    without_library = "import sys; sys.modules['onnxruntime'] = None\n" + RUN_ONE_SEGMENT
    command = [sys.executable, "-c", without_library, str(tmp_path), str(4 * HOP)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert "ModelError: engine onnx_runtime needs onnxruntime" in done.stderr
    assert "pip install 'divisi-choir[worker]'" in done.stderr


TRAINED = [model for model in STORE.model_ids() if not STORE.get(model).card.fitting]


@pytest.mark.parametrize("model", TRAINED)
def test_the_engine_without_a_model_gives_what_every_shipped_card_promises(model: str) -> None:
    bundle = STORE.get(model)
    mixture = silence(bundle.card)
    outputs = open_engine("passthrough", bundle, EngineOptions()).run(mixture)
    assert list(outputs) == list(bundle.card.output_names)
