"""Opened models, kept warm between jobs: loading one takes longer than separating a short song."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter, OrderedDict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from divisi import DISTRIBUTION
from divisi.contract.errors import ModelError
from divisi.models.bundle import BundleStore
from divisi.models.engine import EngineOptions, batch_size_for, can_fit, measure_pace, open_engine, open_fitter
from divisi.separation.deliver import AnySeparator
from divisi.separation.fitted_separator import FittedSeparator
from divisi.separation.separator import Separator
from divisi.settings import Settings

# A GPU holds a few models; a worker that is asked for more in turn closes the one that was not used for longest.
MAX_WARM_MODELS = 3

# Distributions whose version says what ran, and the module they bring.
_RUNTIMES = {"onnxruntime": "onnxruntime", "onnxruntime-gpu": "onnxruntime", "torch": "torch"}


class WarmModels:
    """Separators by model and version, opened when first asked for."""

    def __init__(self, settings: Settings, bundles: BundleStore) -> None:
        self._settings = settings
        self._bundles = bundles
        self._open: OrderedDict[tuple[str, str], AnySeparator] = OrderedDict()
        self.batches: Counter[int] = Counter()
        """How often an engine was given how many segments at a time, over all models."""

    def get(self, model_id: str, model_version: str | None = None) -> AnySeparator:
        """The opened model.

        Raises:
            NotFoundError: no such model (`unknown-model`).
            ModelError: it does not open, or not on the configured device.
        """
        settings = self._settings
        wanted = (model_id, model_version or self._bundles.get(model_id).card.version)
        if wanted not in self._open:
            while len(self._open) >= MAX_WARM_MODELS:
                _, oldest = self._open.popitem(last=False)
                oldest.engine.close()
            bundle = self._bundles.get(*wanted)
            options = EngineOptions.of(settings)
            if bundle.card.fitting:
                self._open[wanted] = FittedSeparator(open_fitter(bundle, options), bundle.card, settings.work_dir)
            else:
                engine = open_engine(settings.engine, bundle, options)
                batch_size = batch_size_for(engine, bundle.card, settings.batch_size)
                self._open[wanted] = Separator(engine, bundle.card, batch_size, self.batches)
        self._open.move_to_end(wanted)
        return self._open[wanted]

    def warm_up(self) -> dict[str, Any]:
        """Opens the default model, or the first there is.

        Returns name, device, provider and versions of what runs it, and how fast it runs: `batch_size`, and
        `real_time_factor`, seconds of computing a second of audio. `can_fit` says whether fitted models run, too.

        Raises:
            ModelError: there is no model, or it does not open.
        """
        model_ids = self._bundles.model_ids()
        if not model_ids:
            raise ModelError(f"there is no model in {self._bundles.root}", code="no-models")
        default = self._settings.default_model
        separator = self.get(default if default in model_ids else model_ids[0])
        facts = engine_facts(separator) | {"can_fit": can_fit()}
        if isinstance(separator, Separator):
            pace = measure_pace(separator.engine, separator.card, separator.batch_size)
            facts |= {"batch_size": pace.batch_size, "real_time_factor": round(pace.real_time_factor, 4)}
        return facts


def engine_facts(separator: AnySeparator) -> dict[str, Any]:
    """Name, device and provider of an engine, and the versions that explain its output."""
    engine = separator.engine
    return {"name": engine.name, "device": engine.device, "provider": engine.provider, **_versions()}


def _versions() -> dict[str, str]:
    versions = {"divisi": version(DISTRIBUTION)}
    for name, module in _RUNTIMES.items():
        if module in sys.modules:
            with contextlib.suppress(PackageNotFoundError):
                versions[name] = version(name)
    return versions
