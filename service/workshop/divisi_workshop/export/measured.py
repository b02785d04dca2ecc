"""What an evaluation measured, for the card of the model that is exported again with it.

The chain is: export → `divisi evaluate --out DIR`, which runs the bundle through the serving path → export once more
with DIR/evaluation.json. The weights are the same; only the card gains its figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from divisi.contract.card import CardDraft, Quality
from divisi.contract.errors import InputError

MIXTURE = "mixture"
_STRETCHES = {"frames": "1 s frames", "excerpts": "4 s excerpts"}


def read_quality(path: Path, card: CardDraft) -> tuple[Quality, ...]:
    """The figures of one model in an `evaluation.json`, a Quality for each kind of stretch.

    Raises:
        InputError: code `damaged-evaluation`; the file is no evaluation, or not one of this model and version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        systems = {system["system"]: system for system in content["systems"]}
        measured, mixture = systems[f"{card.id} {card.version}"], systems[MIXTURE]
        return tuple(_quality(content, stretch, measured[stretch], mixture[stretch]) for stretch in _STRETCHES)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path.name} holds no evaluation of {card.id} {card.version}: {error!r}"
        raise InputError(message, code="damaged-evaluation") from error


def _quality(content: dict[str, Any], stretch: str, model: dict[str, Any], mixture: dict[str, Any]) -> Quality:
    way = "the recording separated in one go" if content["separated"] == "whole" else "each excerpt by itself"
    return Quality(
        test_set=content["dataset"],
        protocol=f"{_STRETCHES[stretch]}, {way}; mean of {model['count']}, median {model['median']:.2f}",
        metric=content["metric"],
        per_stem={name: round(value, 2) for name, value in model["per_voice"].items()},
        mean=round(model["mean"], 2),
        mixture_mean=round(mixture["mean"], 2),
    )
