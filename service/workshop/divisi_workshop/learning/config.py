"""What a training run is: one YAML file under `configs/`, read into frozen dataclasses and saved beside the weights."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from divisi_workshop.choirs.remix import RemixOptions


class Stage(StrEnum):
    """What learns: pitches from labels, who sings from a finished tracker, masks from disturbed labels, masks from what
    a tracker hears, or all.
    """

    PITCH = "pitch"
    PRESENCE = "presence"
    MASK = "mask"
    ADAPT = "adapt"
    JOINT = "joint"


@dataclass(frozen=True)
class TrainConfig:
    """One run. Steps count optimiser steps."""

    stage: Stage
    steps: int
    seed: int = 1
    batch_size: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup_steps: int = 60
    clip_norm: float = 5.0
    average_decay: float = 0.995
    magnitude_weight: float = 20.0
    pitch_weight: float = 1.0
    presence_weight: float = 0.1
    validate_every: int = 500
    save_every: int = 250
    singers: tuple[int, ...] = (1, 2, 3)
    validation_singer: int = 4
    remix: RemixOptions = field(default_factory=RemixOptions)
    network: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.validation_singer in self.singers:
            raise ValueError(f"singer {self.validation_singer} is kept for validation and must not be trained on")

    def as_plain(self) -> dict[str, Any]:
        """Plain values that YAML and a weights-only checkpoint can carry."""
        values = asdict(self)
        values["stage"] = str(self.stage)
        values["singers"] = list(self.singers)
        values["remix"]["noise_db"] = list(self.remix.noise_db)
        return values


def load_config(name_or_path: str) -> TrainConfig:
    """Read a configuration by the name of a shipped one (`chorus`) or by the path of a YAML file."""
    shipped = resources.files("divisi_workshop.learning").joinpath("configs", f"{name_or_path}.yaml")
    text = shipped.read_text() if shipped.is_file() else Path(name_or_path).read_text()
    return parse_config(yaml.safe_load(text))


def parse_config(values: dict[str, Any]) -> TrainConfig:
    """Build a configuration from plain values; unknown names raise TypeError."""
    remix = dict(values.get("remix", {}))
    if "noise_db" in remix:
        remix["noise_db"] = tuple(remix["noise_db"])
    rest = {name: value for name, value in values.items() if name not in ("remix", "stage", "singers")}
    return TrainConfig(
        stage=Stage(values["stage"]),
        singers=tuple(values.get("singers", (1, 2, 3))),
        remix=RemixOptions(**remix),
        **rest,
    )
