"""Drafts of the published systems' cards, from runs as the train loop leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from divisi.contract.card import CardDraft
from divisi_workshop.config import plain, read_values
from divisi_workshop.published import checkpoints, umss, unet
from divisi_workshop.published.config import parse_system
from divisi_workshop.published.train import SystemRun

CARDS = yaml.safe_load(checkpoints.CARDS.read_text(encoding="utf-8"))
SPEED = {"real_time_factor": 0.1, "machine": "a machine", "engine": "ONNX Runtime", "num_threads": 1}


@pytest.mark.parametrize("model_id", CARDS["systems"])
def test_the_draft_says_what_the_network_of_its_run_gives(model_id: str) -> None:
    system = CARDS["systems"][model_id]
    values = read_values(system["checkpoint"])
    config = plain(parse_system(values))
    card = CardDraft.model_validate(checkpoints.draft(model_id, CARDS, config, SPEED))
    assert f"{values['steps']} steps" in str(card.training)
    assert card.speed[0].real_time_factor == 0.1

    state = checkpoints.for_voices({"config": config, "average": {}}, system.get("voice_count"))
    network = {"umss": umss, "unet": unet}[system["network"]].build(state["config"]["network"]).eval()
    with torch.inference_mode():
        outputs = network(torch.zeros(1, 1, 4 * card.length_multiple))
    assert len(outputs) == len(card.output_names)
    assert outputs[0].shape[1] == len(card.stems)
    assert outputs[1].shape[2] == 4 * card.length_multiple // (card.hop_length or 1)


def test_only_systems_that_were_trained_are_drafted(tmp_path: Path) -> None:
    values = read_values("umss_1s_again")
    config = plain(parse_system(values))
    (tmp_path / "umss_1s_again").mkdir()
    torch.save({"config": config, "average": {"w": torch.ones(1)}}, tmp_path / "umss_1s_again" / "checkpoint.pt")
    out = tmp_path / "drafts"
    checkpoints.ours(tmp_path, out)
    assert {path.name for path in out.iterdir()} == {
        f"umss-1s{variant}.{kind}" for variant in ("", "-duo") for kind in ("pt", "yaml")
    }
    pair = torch.load(out / "umss-1s-duo.pt", weights_only=True)
    assert pair["config"]["network"]["voice_count"] == pair["config"]["network"]["heuristic"]["voice_count"] == 2


@pytest.mark.parametrize(("name", "model_id"), [("umss_1s_again", "umss-1s"), ("unet_satb", "unet-satb")])
def test_what_learned_from_true_pitches_takes_the_multi_f0_network_of_its_own_run(
    name: str, model_id: str, tmp_path: Path
) -> None:
    values, trained_values = read_values(name), read_values("multi_f0")
    trained_values["network"] |= {"multi_f0": {"channels": 3, "late_channels": 5}, "heuristic": {"threshold": 0.6}}
    runs = {name: SystemRun(parse_system(values)), "multi_f0": SystemRun(parse_system(trained_values))}
    for folder, run in runs.items():
        (tmp_path / folder).mkdir()
        run.save(tmp_path / folder / "checkpoint.pt")
    out = tmp_path / "drafts"
    checkpoints.ours(tmp_path, out)
    state = torch.load(out / f"{model_id}.pt", weights_only=True)
    network = {"umss_1s_again": umss, "unet_satb": unet}[name].build(state["config"]["network"])
    reader = state["config"]["network"].get("pitch", state["config"]["network"])
    assert reader["heuristic"]["threshold"] == 0.6
    assert reader["heuristic"]["refined"]
    network.load_state_dict(state["average"])  # raises where sizes and weights are not of one network
    own, expected = network.state_dict(), runs["multi_f0"].average.state_dict()
    taken = [key for key in expected if key.startswith("pitch.multi_f0.")]
    assert len(taken) > 20
    for key in taken:
        torch.testing.assert_close(own[key], expected[key])


def test_what_learned_with_pitches_of_its_own_keeps_its_networks(
    tmp_path: Path,
) -> None:
    for name, seed in (("va_nn", 1), ("multi_f0", 2)):
        values = read_values(name)
        (tmp_path / name).mkdir()
        SystemRun(parse_system({**values, "seed": seed})).save(tmp_path / name / "checkpoint.pt")
    checkpoints.ours(tmp_path, tmp_path / "drafts")
    before = torch.load(tmp_path / "va_nn" / "checkpoint.pt", weights_only=True)["average"]
    after = torch.load(tmp_path / "drafts" / "va-nn.pt", weights_only=True)["average"]
    for key, value in before.items():
        torch.testing.assert_close(after[key], value)
