"""Network → `model.ts`: traced, frozen, free of devices and of the paths of the machine that made it."""

from __future__ import annotations

import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from divisi.contract.card import CardDraft
from divisi.engines.agreement import signature_of
from divisi.engines.torch_script import SIGNATURE_FILE
from divisi_workshop.export.packed_torch_script import pack_constants

# Source lines of every operation, with absolute paths; only error messages would read them.
_DEBUG_SUFFIX = ".debug_pkl"


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
    pack_constants(module)
    signature = json.dumps(signature_of(card))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.name
        torch.jit.save(module, str(whole), _extra_files={SIGNATURE_FILE: signature})
        copy_without_debug_records(whole, path)


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


def copy_without_debug_records(whole: Path, path: Path) -> None:
    """Copies an artifact without what names files of this machine, and with dates that never change."""
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            if not entry.filename.endswith(_DEBUG_SUFFIX):
                # A ZipInfo made from a name has a fixed date.
                target.writestr(zipfile.ZipInfo(entry.filename), source.read(entry))
