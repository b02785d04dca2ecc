"""What a run of a published system is: which parts learn, from which losses, on which mixtures.

One YAML file under `configs/` each, told from those of the flagship by its key `system`; saved beside the weights. A
schedule of several stages, such as W_UP's three, is several files, each started from the checkpoint of the last.
"""

from enum import StrEnum
from typing import Any

from pydantic.dataclasses import dataclass

from divisi_workshop.config import STRICT, parse, plain
from divisi_workshop.learning.learning import RunConfig
from divisi_workshop.published import umss, unet

NINO_DIOS = "nino_dios"


class Part(StrEnum):
    """A part of a network that may learn."""

    MULTI_F0 = "multi_f0"
    ASSIGNER = "assigner"
    SEPARATOR = "separator"
    UNET = "unet"


class Pitch(StrEnum):
    """Where the separator's pitches come from while it learns: labels, or what the network itself reads."""

    LABELS = "labels"
    NETWORK = "network"


@dataclass(frozen=True, config=STRICT)
class LossWeights:
    """Weights of the losses (see `losses`); 0 leaves a loss out. Published: reconstruction 1, salience 1e4,
    voices 1e5, commitment 1e4.
    """

    reconstruction: float = 0.0
    sources: float = 0.0
    salience: float = 0.0
    voices: float = 0.0
    commitment: float = 0.0
    multi_f0: float = 0.0
    assigner: float = 0.0
    magnitude: float = 0.0
    relative_magnitude: float = 0.0
    """As `magnitude`, but relative to each voice's own level, so that quiet voices count as loud ones."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SystemConfig(RunConfig):
    """One run. `learns` names the parts that are trained; all others are frozen."""

    system: str
    learns: tuple[Part, ...]
    weights: LossWeights
    network: umss.UmssConfig | unet.UnetConfig
    voice_count: int = 4
    """Voices in a mixture; 1 trains on single voices, 2 on random pairs."""
    pitch: Pitch = Pitch.NETWORK
    seed: int = 4
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    warmup_steps: int = 30
    validate_every: int = 250
    save_every: int = 50
    held_excerpts: int = 24
    half_convolutions: bool = False
    """F0 networks compute in bfloat16 while they learn: twice as fast where the processor knows it."""
    dataset: str = NINO_DIOS
    """Niño Dios, or one of `choir_folders`: bc1song, bcbq, csd, cantoria. Only Niño Dios is split by singer."""


def parse_system(values: dict[str, Any]) -> SystemConfig:
    """A run from plain values. `network` may name a preset (`served`, `published_joint`, …) and what differs from it.

    Raises:
        InputError: code `invalid-configuration`.
    """
    network = dict(values.get("network", {}))
    family: Any = unet if Part.UNET in values.get("learns", ()) else umss
    kind: Any = unet.UnetConfig if family is unet else umss.UmssConfig
    is_whole = "pitch" in network or "multi_f0" in network
    preset = network.pop("preset", None if is_whole else "served")
    base = plain(family.PRESETS[preset]()) if preset else {}
    remix = {"hop_length": 256, "excerpt_seconds": 2.048, **values.get("remix", {})}
    return parse(SystemConfig, {**values, "remix": remix, "network": parse(kind, merge(base, network))})


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, folder by folder."""
    merged = dict(base)
    for name, value in changes.items():
        merged[name] = merge(merged.get(name, {}), value) if isinstance(value, dict) else value
    return merged
