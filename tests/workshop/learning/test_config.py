"""Configurations: what is shipped loads, and nobody trains on the singer kept for validation."""

from importlib import resources

import pytest
import yaml

from divisi.contract.errors import InputError, NotFoundError
from divisi_workshop.config import parse, plain, read_values
from divisi_workshop.learning.train import Stage, TrainConfig


def shipped_names() -> list[str]:
    folder = resources.files("divisi_workshop.learning").joinpath("configs")
    names = (item.name for item in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.startswith("chorus") and name.endswith(".yaml"))


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_configuration_loads_and_keeps_singer_4_out(name: str) -> None:
    config = parse(TrainConfig, read_values(name))
    assert config.steps >= 0
    assert 4 not in config.singers


def test_training_on_the_validation_singer_is_refused() -> None:
    with pytest.raises(InputError, match="singer 4"):
        parse(TrainConfig, {"stage": "pitch", "steps": 10, "singers": [1, 4]})


def test_a_configuration_survives_being_written_and_read() -> None:
    config = parse(TrainConfig, {"stage": "mask", "steps": 10, "remix": {"room_share": 0.5, "noise_db": [-50, -40]}})
    assert config.stage is Stage.MASK
    assert parse(TrainConfig, yaml.safe_load(yaml.safe_dump(plain(config)))) == config


def test_an_unknown_name_in_a_configuration_is_refused() -> None:
    with pytest.raises(InputError, match="no_such_thing"):
        parse(TrainConfig, {"stage": "pitch", "steps": 10, "no_such_thing": 1})


def test_a_configuration_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(NotFoundError, match=r"no_such_configuration.*chorus_pitch"):
        read_values("no_such_configuration")
