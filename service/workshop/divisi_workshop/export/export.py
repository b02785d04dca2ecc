"""Network → published bundle, or nothing: artifacts, parity, card, checksums in a folder beside, then one rename."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from divisi.bundles.card_file import CARD_FILE, write_card
from divisi.bundles.checksums import write_checksums
from divisi.bundles.store import ModelBundle, open_bundle
from divisi.contract.card import Artifact, CardDraft, ModelCard, Parity
from divisi.contract.errors import ConflictError, ModelError
from divisi.engines.script_fitter import METHODS
from divisi.engines.torch_script import SIGNATURE_FILE
from divisi.whole_files import sha256_of
from divisi_workshop.export.graphs import OPSET, copy_without_debug_records, export_onnx, export_torch_script
from divisi_workshop.export.model_card import MODEL_CARD_FILE, render_model_card
from divisi_workshop.export.parity import NOISE_LEVEL, SEED, measure_parity, parity_lengths, round_to_half, run_network
from divisi_workshop.networks.fast_mnmf import FastMnmf, Fit

ONNX_FILE = "model.onnx"
TORCH_SCRIPT_FILE = "model.ts"


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
    target = out_root / draft.id / draft.version
    refuse_existing(target)
    network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    if draft.weight_precision == "half":
        round_to_half(network)
    with stage_bundle(out_root, draft) as stage:
        artifacts = _write_artifacts(network, draft, stage)
        candidate = _complete(draft, artifacts, options)
        checksums = {artifact.file: artifact.sha256 for artifact in artifacts}
        parity = measure_parity(network, ModelBundle(stage, candidate, checksums), options.seed)
        card = candidate.model_copy(update={"parity": parity})
        write_card(card, stage / CARD_FILE)
        (stage / MODEL_CARD_FILE).write_text(render_model_card(card, options.notes), encoding="utf-8", newline="\n")
        write_checksums(stage, [CARD_FILE, MODEL_CARD_FILE, ONNX_FILE, TORCH_SCRIPT_FILE])
        open_bundle(stage).verify()
        target.parent.mkdir(parents=True, exist_ok=True)
        refuse_existing(target)
        stage.rename(target)
    return open_bundle(target)


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
    files = (("onnx", ONNX_FILE, OPSET), ("torchscript", TORCH_SCRIPT_FILE, None))
    return tuple(
        Artifact(kind=kind, file=file, sha256=sha256_of(stage / file), bytes=(stage / file).stat().st_size, opset=opset)
        for kind, file, opset in files
    )


def _complete(draft: CardDraft, artifacts: tuple[Artifact, ...], options: ExportOptions) -> ModelCard:
    created = (options.created or datetime.now(UTC)).replace(microsecond=0)
    stated = {name: getattr(draft, name) for name in CardDraft.model_fields}
    return ModelCard(**stated, artifacts=artifacts, git_commit=options.git_commit, created=created)


@contextmanager
def stage_bundle(out_root: Path, draft: CardDraft) -> Iterator[Path]:
    """A folder on the disk of the target that no BundleStore looks into; gone afterwards, with what was not moved."""
    out_root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out_root))
    try:
        stage = folder / draft.id / draft.version
        stage.mkdir(parents=True)
        yield stage
    finally:
        shutil.rmtree(folder)


def refuse_existing(target: Path) -> None:
    """Raises ConflictError `version-exists` when the bundle is there already."""
    if target.exists():
        message = f"{target.parent.name}/{target.name} is published already; give the card a new version"
        raise ConflictError(message, code="version-exists")


_TOLERANCE = 1e-4
_LENGTH = 8192
_NUM_CHANNELS = 3
_ITERATIONS = 3


def export_fitted(draft: CardDraft, out_root: Path, options: ExportOptions = ExportOptions()) -> ModelBundle:
    """Publishes FastMNMF2 or ILRMA, whichever the draft's `fitting` names, as `<out_root>/<model_id>/<version>/`.

    Raises:
        ConflictError: code `version-exists`.
        ModelError: code `export-failed`: the draft is of a trained model; or `parity-failed`.
    """
    if draft.fitting is None:
        raise ModelError(f"{draft.id}: the card has no `fitting`; it is no fitted model", code="export-failed")
    target = out_root / draft.id / draft.version
    refuse_existing(target)
    with stage_bundle(out_root, draft) as stage:
        path = stage / TORCH_SCRIPT_FILE
        compile_fit(FastMnmf(), path)
        artifact = Artifact(
            kind="torchscript", file=TORCH_SCRIPT_FILE, sha256=sha256_of(path), bytes=path.stat().st_size
        )
        stated = {name: getattr(draft, name) for name in CardDraft.model_fields}
        created = (options.created or datetime.now(UTC)).replace(microsecond=0)
        card = ModelCard(
            **stated,
            artifacts=(artifact,),
            parity=_measure_parity(path, options.seed),
            git_commit=options.git_commit,
            created=created,
        )
        write_card(card, stage / CARD_FILE)
        (stage / MODEL_CARD_FILE).write_text(render_model_card(card, options.notes), encoding="utf-8", newline="\n")
        write_checksums(stage, [CARD_FILE, MODEL_CARD_FILE, TORCH_SCRIPT_FILE])
        open_bundle(stage).verify()
        target.parent.mkdir(parents=True, exist_ok=True)
        refuse_existing(target)
        stage.rename(target)
    return open_bundle(target)


def compile_fit(module: nn.Module, path: Path) -> None:
    """Writes the methods of a fit as TorchScript."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated upstream, yet asked for
        script = torch.jit.script(module)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / path.name
        torch.jit.save(script, str(whole), _extra_files={SIGNATURE_FILE: json.dumps({"methods": METHODS})})
        copy_without_debug_records(whole, path)


def _measure_parity(path: Path, seed: int) -> Parity:
    generator = torch.Generator().manual_seed(seed)
    samples = 0.1 * torch.randn(1, _NUM_CHANNELS, _LENGTH, generator=generator)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        plain = _short_fit(FastMnmf(), samples, seed)
        compiled = _short_fit(torch.jit.load(str(path)), samples, seed)
    error = float((plain - compiled).abs().max())
    if not error <= _TOLERANCE:
        message = f"compiled and plain code differ by {error:.1e}; {_TOLERANCE:.0e} is allowed"
        raise ModelError(message, code="parity-failed")
    return Parity(
        max_abs_error={"torchscript": error}, tolerance=_TOLERANCE, seed=seed, batch_sizes=(1,), lengths=(_LENGTH,)
    )


def _short_fit(module: Any, samples: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    fit: Fit = module.analyse(samples, torch.full((_NUM_CHANNELS,), 0.1), 512, False)
    num_bins, _, num_frames = fit["real"].shape
    bases = torch.rand(2, num_bins, 4, generator=generator)
    activations = torch.rand(2, 4, num_frames, generator=generator)
    fit = module.start(fit, bases, activations, torch.rand(2, _NUM_CHANNELS, generator=generator))
    for _ in range(_ITERATIONS):
        fit = module.normalise(module.iterate(fit, True, True, False, 64))
    return torch.cat([module.image(fit, source, samples.shape[2]) for source in range(2)])
