"""Drafts of the cards of all published systems, and their checkpoints as export takes them.

    python -m divisi_workshop.published.cards --runs RUNS --out DIR [--speeds speeds.json]

Writes `DIR/<model id>.yaml` and `DIR/<model id>.pt` for every system whose run is in RUNS: one-voice weights become
networks for two and for four voices, runs that learned from true pitches are given the multi-F0 network of
RUNS/multi_f0 if there is one, and steps of training come from the checkpoints. `benchmarks/published_speed.py` makes
`speeds.json`. docs/published-systems.md has the whole chain.
"""

import argparse
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml

from divisi_workshop.published.config import Part, Pitch
from divisi_workshop.published.train import PREFIXES

CARDS = resources.files("divisi_workshop.learning").joinpath("cards", "published.yaml")
MULTI_F0 = PREFIXES[Part.MULTI_F0]


def draft(model_id: str, cards: dict[str, Any], config: dict[str, Any], speed: dict[str, Any] | None) -> dict[str, Any]:
    """The plain values of one CardDraft.

    Args:
        model_id: one of the systems in `cards`.
        cards: the contents of `published.yaml`.
        config: of the run that made the weights.
        speed: an entry of the card's `speed`, if it was measured.
    """
    system = cards["systems"][model_id]
    outputs: list[dict[str, Any]] = [{"name": "f0", "hop_length": 256}]
    if system["network"] == "umss":
        outputs.append({"name": "resynthesis"})
    steps = f"{config['steps']} steps of {config['batch_size']} excerpts of {config['remix']['excerpt_seconds']:.3g} s."
    return {
        "id": model_id,
        **cards["common"],
        **{name: system[name] for name in ("version", "title", "description", "stem_family")},
        "stems": cards["stems"][system["stem_family"]],
        "extra_outputs": outputs,
        "speed": [speed] if speed else [],
        "training": {"summary": f"{system['training']} {steps} {cards['material']}", "data": cards["data"]},
    }


def for_voices(state: dict[str, Any], voice_count: int | None) -> dict[str, Any]:
    """A checkpoint for export: averaged weights, and the network's configuration, changed to `voice_count` voices."""
    network = dict(state["config"]["network"])
    if voice_count is not None:
        network |= {"voice_count": voice_count, "heuristic": {**network["heuristic"], "voice_count": voice_count}}
    return {"config": {**state["config"], "network": network}, "average": state["average"]}


def with_multi_f0(state: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint whose multi-F0 network is that of another run: weights, size, and what counts as a peak of it. Only
    `average` is kept.
    """
    network = dict(state["config"]["network"])
    reader = dict(network["pitch"]) if "pitch" in network else network
    reader["multi_f0"] = trained["config"]["network"]["multi_f0"]
    threshold = trained["config"]["network"]["heuristic"]["threshold"]
    reader["heuristic"] = {**reader["heuristic"], "threshold": threshold}
    if "pitch" in network:
        network["pitch"] = reader
    average = {name: value for name, value in state["average"].items() if not name.startswith(MULTI_F0)}
    average |= {name: value for name, value in trained["average"].items() if name.startswith(MULTI_F0)}
    return {"config": {**state["config"], "network": network}, "average": average}


def load_run(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a run, None if there is none."""
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--speeds", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cards = yaml.safe_load(CARDS.read_text(encoding="utf-8"))
    speeds = json.loads(arguments.speeds.read_text()) if arguments.speeds else {}
    multi_f0 = load_run(arguments.runs / "multi_f0")
    for model_id, system in cards["systems"].items():
        state = load_run(arguments.runs / system["checkpoint"])
        if state is None:
            continue
        if multi_f0 is not None and state["config"]["pitch"] == Pitch.LABELS:
            state = with_multi_f0(state, multi_f0)
        torch.save(for_voices(state, system.get("voice_count")), arguments.out / f"{model_id}.pt")
        values = draft(model_id, cards, state["config"], speeds.get(model_id))
        (arguments.out / f"{model_id}.yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


if __name__ == "__main__":
    main()
