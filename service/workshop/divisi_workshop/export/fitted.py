"""Publishes a model that has no weights: the methods of a fit, compiled as TorchScript, with a card.

Beside `export`, which traces networks. Compiled and plain code are run through the same short fit first; nothing is
published unless the images agree.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from divisi.bundles.card_file import CARD_FILE, write_card
from divisi.bundles.checksums import write_checksums
from divisi.bundles.store import ModelBundle, open_bundle
from divisi.contract.card import Artifact, CardDraft, ModelCard, Parity
from divisi.contract.errors import ModelError
from divisi.engines.script_fitter import METHODS
from divisi.engines.torch_script import SIGNATURE_FILE
from divisi.whole_files import sha256_of
from divisi_workshop.export.export import TORCH_SCRIPT_FILE, ExportOptions, refuse_existing, stage_bundle
from divisi_workshop.export.model_card import MODEL_CARD_FILE, render_model_card
from divisi_workshop.export.torch_script import copy_without_debug_records
from divisi_workshop.networks.fast_mnmf import FastMnmf, Fit

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
