"""Configurations: what is shipped loads, and nobody trains on the singer kept for validation."""

from importlib import resources

import pytest
import yaml

from divisi_workshop.learning.config import Stage, load_config, parse_config


def shipped_names() -> list[str]:
    folder = resources.files("divisi_workshop.learning").joinpath("configs")
    names = (item.name for item in folder.iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.startswith("chorus") and name.endswith(".yaml"))


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_configuration_loads_and_keeps_singer_4_out(name: str) -> None:
    config = load_config(name)
    assert config.steps >= 0
    assert 4 not in config.singers


def test_training_on_the_validation_singer_is_refused() -> None:
    with pytest.raises(ValueError, match="singer 4"):
        parse_config({"stage": "pitch", "steps": 10, "singers": [1, 4]})


def test_a_configuration_survives_being_written_and_read() -> None:
    config = parse_config({"stage": "mask", "steps": 10, "remix": {"room_share": 0.5, "noise_db": [-50, -40]}})
    assert config.stage is Stage.MASK
    assert parse_config(yaml.safe_load(yaml.safe_dump(config.as_plain()))) == config


def test_an_unknown_name_in_a_configuration_is_refused() -> None:
    with pytest.raises(TypeError):
        parse_config({"stage": "pitch", "steps": 10, "no_such_thing": 1})
