"""Network → `model.onnx` and `model.ts`: one file each, weights inside, batch and length free.

ONNX goes through the older of torch's two exporters. The newer (`dynamo=True`, torch 2.13) takes 30 times as long and
wrote the number of frames of its example into a graph with recurrent layers, so that no other length ran.
"""

import json
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.onnx import register_custom_op_symbolic, symbolic_helper, unregister_custom_op_symbolic

from divisi.contract.card import CardDraft
from divisi.contract.errors import ModelError
from divisi.models.agreement import signature_of
from divisi.models.torch_script import METHODS, SIGNATURE_FILE
from divisi_workshop.export.packing import pack_onnx, pack_torch_script

# Every runtime of today knows it. The newest that the exporter writes, 20, runs no faster.
OPSET = 17
# Source lines of every operation, with absolute paths; only error messages would read them.
_DEBUG_SUFFIX = ".debug_pkl"


def export_onnx(network: nn.Module, example: tuple[Tensor, ...], card: CardDraft, path: Path) -> None:
    """Writes the network's graph as ONNX.

    Args:
        network: in evaluation mode, on the CPU.
        example: what to trace with: a mixture, float32 (B, C, T), and a roster (B, S) where the card says so.
        card: names inputs and outputs; gives every axis that is not free its size.

    Raises:
        ModelError: code `export-failed`, such as for an operator that ONNX does not have.
    """
    try:
        with warnings.catch_warnings(), torch.inference_mode(), accurate_operators(OPSET):
            # Deprecated upstream. Whether tracing froze a size is measured afterwards, on other sizes.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                example,
                str(path),
                input_names=list(card.input_names),
                output_names=list(card.output_names),
                dynamic_axes=_free_axes(card),
                opset_version=OPSET,
                dynamo=False,
            )
        model = onnx.load(path)
        pack_onnx(model)
        onnx.save(model, path)
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the exporter and what it calls share no base class
        raise ModelError(f"{card.id} cannot be exported to ONNX: {error}", code="export-failed", kind="onnx") from error


def _free_axes(card: CardDraft) -> dict[str, dict[int, str]]:
    axes = {
        "mixture": {0: "B", 2: "T"},
        "roster": {0: "B"},
        "estimates": {0: "B", 3: "T"},
        "f0": {0: "B", 2: "N"},
        "voicing": {0: "B", 2: "N"},
        "presence": {0: "B"},
        "resynthesis": {0: "B", 2: "T"},
    }
    if card.num_channels == "any":
        axes["mixture"][1] = axes["estimates"][2] = axes["resynthesis"][1] = "C"
    return {name: axes[name] for name in (*card.input_names, *card.output_names)}


@contextmanager
def accurate_operators(opset: int) -> Iterator[None]:
    """Within this context the exporter writes group normalisation as `_group_norm` does."""
    register_custom_op_symbolic("aten::group_norm", _group_norm, opset)
    try:
        yield
    finally:
        unregister_custom_op_symbolic("aten::group_norm", opset)


@symbolic_helper.parse_args("v", "i", "v", "v", "f", "i")
def _group_norm(graph: Any, x: Any, num_groups: int, weight: Any, bias: Any, epsilon: float, _cudnn: int) -> Any:
    """Group normalisation of x (B, channels, …) whose means are taken one axis after the other.

    The exporter's own form ends in one running float32 sum over a whole group; over a million values (10 s of a
    spectrogram with 32 channels) it is off by 5e-3, a thousand times more than torch. Sums of sums are off by 2e-6.
    """
    rank = len(symbolic_helper._get_tensor_sizes(x))
    centred = graph.op("Sub", x, _mean_of_group(graph, x, rank, num_groups))
    variance = _mean_of_group(graph, graph.op("Mul", centred, centred), rank, num_groups)
    deviation = graph.op("Sqrt", graph.op("Add", variance, graph.op("Constant", value_t=torch.tensor(epsilon))))
    normalised = graph.op("Div", centred, deviation)
    per_channel = _integers(graph, [-1, *[1] * (rank - 2)])
    if not symbolic_helper._is_none(weight):
        normalised = graph.op("Mul", normalised, graph.op("Reshape", weight, per_channel))
    if not symbolic_helper._is_none(bias):
        normalised = graph.op("Add", normalised, graph.op("Reshape", bias, per_channel))
    return normalised


def _mean_of_group(graph: Any, x: Any, rank: int, num_groups: int) -> Any:
    """(B, channels, …) → (B, channels, 1, …): every channel gets the mean of its group."""
    of_channel = x
    for axis in range(rank - 1, 1, -1):
        of_channel = graph.op("ReduceMean", of_channel, axes_i=[axis], keepdims_i=1)
    grouped = graph.op("Reshape", of_channel, _integers(graph, [0, num_groups, -1]))
    of_group = graph.op("ReduceMean", grouped, axes_i=[2], keepdims_i=1)
    spread = graph.op("Expand", of_group, graph.op("Shape", grouped))
    return graph.op("Reshape", spread, graph.op("Shape", of_channel))


def _integers(graph: Any, values: list[int]) -> Any:
    return graph.op("Constant", value_t=torch.tensor(values, dtype=torch.int64))


def export_torch_script(network: nn.Module, example: tuple[Tensor, ...], card: CardDraft, path: Path) -> None:
    """Writes the network's graph as TorchScript.

    Args:
        network: in evaluation mode, on the CPU.
        example: what to trace with: a mixture, float32 (B, C, T), and a roster (B, S) where the card says so.
        card: names and sizes of what goes in and out, kept in the artifact.
    """
    with warnings.catch_warnings(), torch.inference_mode():
        # Deprecated upstream, yet asked for. Whether tracing froze a size is measured afterwards, on other sizes.
        warnings.simplefilter("ignore")
        module = torch.jit.freeze(torch.jit.trace(network, example, check_trace=False))
    _follow_the_device_of_the_mixture(module)
    pack_torch_script(module)
    _save(module, signature_of(card), path)


def export_fit(module: nn.Module, path: Path) -> None:
    """Writes the methods of a fit as TorchScript; compiled, not traced, since a fit is a loop of the engine's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(module)
    _save(script, {"methods": METHODS}, path)


def _follow_the_device_of_the_mixture(module: torch.jit.ScriptModule) -> None:
    """Makes tensors that the graph creates (such as the first state of a GRU) appear where the mixture is.

    Tracing writes the device it saw, the CPU, into the graph; on a GPU such a graph mixes devices and fails.
    """
    graph: Any = module.graph
    mixture = list(graph.inputs())[1]
    device = graph.create("prim::device", [mixture], 1)
    device.output().setType(torch._C.DeviceObjType.get())
    device.insertBefore(next(iter(graph.nodes())))
    for constant in graph.findAllNodes("prim::Constant"):
        if constant.output().type().kind() == "DeviceObjType":
            constant.output().replaceAllUsesWith(device.output())
    torch._C._jit_pass_dce(graph)
    graph.lint()


def _save(module: torch.jit.ScriptModule, signature: Any, path: Path) -> None:
    """Without what names files of this machine, and with dates that never change."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.name
        torch.jit.save(module, str(whole), _extra_files={SIGNATURE_FILE: json.dumps(signature)})
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
            for entry in source.infolist():
                if not entry.filename.endswith(_DEBUG_SUFFIX):
                    # A ZipInfo made from a name has a fixed date.
                    target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
