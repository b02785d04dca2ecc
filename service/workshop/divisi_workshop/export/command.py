"""What `divisi export NETWORK CHECKPOINT --card draft.yaml --out model_store` does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from divisi.bundles.card_file import read_card
from divisi.bundles.store import ModelBundle
from divisi.contract.card import CardDraft
from divisi.contract.errors import InputError
from divisi_workshop.export.export import ExportOptions, export_bundle
from divisi_workshop.export.model_card import read_quality
from divisi_workshop.export.parity import SEED

_GIT_SECONDS = 10


def export_from_checkpoint(
    network: str,
    checkpoint: Path,
    draft: Path,
    out_root: Path,
    *,
    measured: Path | None = None,
    notes: Path | None = None,
    seed: int = SEED,
) -> ModelBundle:
    """Publishes trained weights as a bundle.

    Args:
        network: `package.module:function`; the function takes a configuration (or None) and gives the network.
        checkpoint: as the train loop saves it: weights under `average` or else `network`, the network's configuration
            under `network` of `config`. Read without unpickling code.
        draft: YAML of a CardDraft.
        out_root: folder of the bundles, such as `model_store`.
        measured: `evaluation.json` of an earlier export of the same weights; its figures go into the card.
        notes: Markdown for the end of MODEL_CARD.md.
        seed: see `ExportOptions`.

    Raises:
        InputError: network or checkpoint cannot be used; code `unknown-network` or `damaged-checkpoint`.
        ConflictError, ModelError: as `export_bundle`.
    """
    build = _find_builder(network)
    card = read_card(draft, CardDraft)
    if measured is not None:
        card = card.model_copy(update={"quality": (*card.quality, *read_quality(measured, card))})
    state = _read_checkpoint(checkpoint)
    module = build((state.get("config") or {}).get("network"))
    try:
        module.load_state_dict(state.get("average") or state["network"])
    except (KeyError, RuntimeError) as error:
        message = f"{checkpoint.name} does not fit {network}: {error}"
        raise InputError(message, code="damaged-checkpoint") from error
    text = notes.read_text(encoding="utf-8") if notes else ""
    return export_bundle(module, card, out_root, ExportOptions(text, git_commit(), seed=seed))


def _find_builder(network: str) -> Callable[[Mapping[str, Any] | None], nn.Module]:
    module_name, _, function_name = network.partition(":")
    try:
        builder: Callable[[Mapping[str, Any] | None], nn.Module] = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"network {network!r} cannot be found ({error}); name it as package.module:function"
        raise InputError(message, code="unknown-network") from error
    return builder


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails on foreign bytes in any way it likes
        raise InputError(f"{path.name} is no checkpoint: {error}", code="damaged-checkpoint") from error
    if not isinstance(state, dict):
        raise InputError(f"{path.name} holds {type(state).__name__}, not a checkpoint", code="damaged-checkpoint")
    return state


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from; None for an installed package or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
