"""Are the models what was published, and does the engine run on the device that was asked for?"""

from __future__ import annotations

import time

import numpy as np

from divisi.bundles.store import BundleStore
from divisi.contract.errors import DivisiError, ModelError
from divisi.doctor.finding import Finding, bad, doubtful, good
from divisi.engines.engine import EngineOptions, open_engine
from divisi.separation.separator import Separator
from divisi.settings import Settings

AUDIO_SECONDS = 10.0
SLOW_FACTOR = 1.0
RESTORE = "copy this version of the model again from where it was published"


def examine_models(settings: Settings, bundles: BundleStore) -> list[Finding]:
    """Checks every file of every version against its checksum, then runs the default model."""
    model_ids = bundles.model_ids()
    if not model_ids:
        return [bad("models", f"none in {bundles.root}", "set DIVISI_MODEL_STORE to the folder of the models")]
    versions = [(model_id, version) for model_id in model_ids for version in bundles.versions(model_id)]
    findings = [_examine_bundle(bundles, model_id, version) for model_id, version in versions]
    if settings.default_model not in model_ids:
        what = f"the default model {settings.default_model} is not there; there are: {', '.join(model_ids)}"
        return [*findings, bad("default model", what, "set DIVISI_DEFAULT_MODEL to one of them")]
    return [*findings, _examine_engine(settings, bundles)]


def _examine_bundle(bundles: BundleStore, model_id: str, version: str) -> Finding:
    subject = f"model {model_id} {version}"
    try:
        bundles.get(model_id, version).verify()
    except ModelError as error:
        return bad(subject, error.message, RESTORE)
    return good(subject, "all checksums agree")


def _examine_engine(settings: Settings, bundles: BundleStore) -> Finding:
    subject = "engine"
    try:
        bundle = bundles.get(settings.default_model)
        engine = open_engine(settings.engine, bundle, EngineOptions.of(settings))
        try:
            factor = _real_time_factor(Separator(engine, bundle.card, settings.batch_size or 1))
            where = f"{engine.name} on {engine.device} ({engine.provider})"
        finally:
            engine.close()
    except DivisiError as error:
        remedy = "see DIVISI_ENGINE and DIVISI_DEVICE; workers that cannot open their engine take no jobs"
        return bad(subject, f"{settings.engine} on {settings.device}: {error.message}", remedy)
    what = f"{where}: {factor:.3f} s of work a second of mono audio"
    if factor > SLOW_FACTOR:
        return doubtful(subject, what, "slower than the music plays: use a faster device, or more workers")
    return good(subject, what)


def _real_time_factor(separator: Separator) -> float:
    rate = separator.card.sample_rate
    noise = np.random.default_rng(0).standard_normal((1, int(AUDIO_SECONDS * rate))).astype(np.float32) * 0.1
    began = time.perf_counter()
    for _ in separator.separate([noise], rate, 1):
        pass
    return (time.perf_counter() - began) / AUDIO_SECONDS
