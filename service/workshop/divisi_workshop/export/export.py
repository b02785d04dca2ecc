"""Network or checkpoint → published bundle, or nothing: artifacts, parity, card, checksums, then one rename."""

import copy
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from divisi.contract.card import Artifact, ArtifactKind, CardDraft, ModelCard, Parity
from divisi.contract.errors import ConflictError, InputError, ModelError
from divisi.models.bundle import CARD_FILE, ModelBundle, open_bundle, read_card, write_card, write_checksums
from divisi.whole_files import sha256_of
from divisi_workshop.export.graphs import OPSET, export_fit, export_onnx, export_torch_script
from divisi_workshop.export.model_card import MODEL_CARD_FILE, read_quality, render_model_card
from divisi_workshop.export.parity import (
    NOISE_LEVEL,
    SEED,
    measure_fit_parity,
    measure_parity,
    parity_lengths,
    round_to_half,
    run_network,
)
from divisi_workshop.networks.fast_mnmf import FastMnmf

ONNX_FILE = "model.onnx"
TORCH_SCRIPT_FILE = "model.ts"
_GIT_SECONDS = 10


@dataclass(frozen=True)
class ExportOptions:
    """What an export may say besides the draft.

    Attributes:
        notes: Markdown for the end of MODEL_CARD.md.
        git_commit: of the code that made the network; None outside a repository.
        created: time of the export, with time zone; None: now.
        seed: of the noise that parity is measured on, and kept in the card. A network with hard decisions (argmax,
            thresholds) may meet a tie in one noise, where rounding decides; another seed tells that from a wrong graph.
    """

    notes: str = ""
    git_commit: str | None = None
    created: datetime | None = None
    seed: int = SEED


def export_from_checkpoint(
    network: str, checkpoint: Path, draft: Path, out_root: Path, *, measured: Path | None = None, notes: str = ""
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
    return export_bundle(module, card, out_root, ExportOptions(notes, git_commit()))


def export_bundle(
    network: nn.Module, draft: CardDraft, out_root: Path, options: ExportOptions = ExportOptions()
) -> ModelBundle:
    """Publishes a network as `<out_root>/<model_id>/<version>/`.

    Args:
        network: mixture (B, C, T), and roster (B, S) where the draft takes one → estimates (B, S, C, T), or a tuple of
            them and the draft's extra outputs in order.
        draft: what the author states about it.

    Raises:
        ConflictError: code `version-exists`; a published version never changes.
        ModelError: code `export-failed`, `parity-failed`, or an engine refuses an artifact; nothing is published then.
    """
    network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    if draft.weight_precision == "half":
        round_to_half(network)
    return _publish(
        draft,
        out_root,
        options,
        write=lambda stage: _write_artifacts(network, draft, stage),
        measure=lambda candidate: measure_parity(network, candidate, options.seed),
    )


def export_fitted(draft: CardDraft, out_root: Path, options: ExportOptions = ExportOptions()) -> ModelBundle:
    """Publishes FastMNMF2 or ILRMA, whichever the draft's `fitting` names: no weights, the steps of a fit, compiled.

    Raises:
        ConflictError: code `version-exists`.
        ModelError: code `export-failed`: the draft is of a trained model; or `parity-failed`.
    """
    if draft.fitting is None:
        raise ModelError(f"{draft.id}: the card has no `fitting`; it is no fitted model", code="export-failed")
    return _publish(
        draft,
        out_root,
        options,
        write=_write_fit,
        measure=lambda candidate: measure_fit_parity(FastMnmf(), candidate.path / TORCH_SCRIPT_FILE, options.seed),
    )


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from; None for an installed package or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def _publish(
    draft: CardDraft,
    out_root: Path,
    options: ExportOptions,
    *,
    write: Callable[[Path], tuple[Artifact, ...]],
    measure: Callable[[ModelBundle], Parity],
) -> ModelBundle:
    """Makes a bundle in a folder on the disk of the target that no BundleStore looks into, and moves it when whole."""
    target = out_root / draft.id / draft.version
    _refuse_existing(target)
    out_root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out_root))
    try:
        stage = folder / draft.id / draft.version
        stage.mkdir(parents=True)
        artifacts = write(stage)
        checksums = {artifact.file: artifact.sha256 for artifact in artifacts}
        created = (options.created or datetime.now(UTC)).replace(microsecond=0)
        stated = {name: getattr(draft, name) for name in CardDraft.model_fields}
        card = ModelCard(**stated, artifacts=artifacts, git_commit=options.git_commit, created=created)
        card = card.model_copy(update={"parity": measure(ModelBundle(stage, card, checksums))})
        write_card(card, stage / CARD_FILE)
        (stage / MODEL_CARD_FILE).write_text(render_model_card(card, options.notes), encoding="utf-8", newline="\n")
        write_checksums(stage, [CARD_FILE, MODEL_CARD_FILE, *checksums])
        open_bundle(stage).verify()
        target.parent.mkdir(parents=True, exist_ok=True)
        _refuse_existing(target)
        stage.rename(target)
    finally:
        shutil.rmtree(folder)
    return open_bundle(target)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        message = f"{target.parent.name}/{target.name} is published already; give the card a new version"
        raise ConflictError(message, code="version-exists")


def _write_artifacts(network: nn.Module, draft: CardDraft, stage: Path) -> tuple[Artifact, ...]:
    num_channels = 1 if draft.num_channels == "any" else draft.num_channels
    # Traced at a batch and a length that parity is not measured at, so that a size frozen by tracing shows.
    length = parity_lengths(draft)[0] + draft.length_multiple
    generator = torch.Generator().manual_seed(0)
    mixture = NOISE_LEVEL * torch.randn(2, num_channels, length, generator=generator)
    example = (mixture, torch.ones(2, len(draft.stems))) if draft.takes_roster else (mixture,)
    run_network(network, draft, *(tensor.numpy() for tensor in example))
    export_onnx(network, example, draft, stage / ONNX_FILE)
    export_torch_script(network, example, draft, stage / TORCH_SCRIPT_FILE)
    return _describe(stage / ONNX_FILE, "onnx", OPSET), _describe(stage / TORCH_SCRIPT_FILE, "torchscript")


def _write_fit(stage: Path) -> tuple[Artifact, ...]:
    export_fit(FastMnmf(), stage / TORCH_SCRIPT_FILE)
    return (_describe(stage / TORCH_SCRIPT_FILE, "torchscript"),)


def _describe(path: Path, kind: ArtifactKind, opset: int | None = None) -> Artifact:
    return Artifact(kind=kind, file=path.name, sha256=sha256_of(path), bytes=path.stat().st_size, opset=opset)


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
