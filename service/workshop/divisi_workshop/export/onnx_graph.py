"""Network → `model.onnx`: one file, weights inside, batch and length free.

Goes through the older of torch's two exporters. The newer one (`dynamo=True`, torch 2.13) takes 30 times as long and
wrote the number of frames of its example into a graph with recurrent layers, so that no other length ran.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from divisi.contract.card import CardDraft
from divisi.contract.errors import ModelError
from divisi_workshop.export.onnx_operators import accurate_operators
from divisi_workshop.export.packed_onnx import pack_constants

# Every runtime of today knows it. The newest that the exporter writes, 20, runs no faster.
OPSET = 17


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
        _trace(network, example, card, path)
        model = onnx.load(path)
        pack_constants(model)
        onnx.save(model, path)
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the exporter and what it calls share no base class
        raise ModelError(f"{card.id} cannot be exported to ONNX: {error}", code="export-failed", kind="onnx") from error


def _trace(network: nn.Module, example: tuple[Tensor, ...], card: CardDraft, path: Path) -> None:
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
