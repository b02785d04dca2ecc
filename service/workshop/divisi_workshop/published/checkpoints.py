"""Checkpoints of the published systems, ours and theirs, as `divisi export` takes them.

    python -m divisi_workshop.published.checkpoints ours --runs RUNS --out DIR [--speeds speeds.json]
    python -m divisi_workshop.published.checkpoints theirs joint FILE.pth --out checkpoint.pt

`ours` writes `DIR/<model id>.yaml`, the draft of a card, and `DIR/<model id>.pt` for every system whose run is in RUNS:
one-voice weights become networks for two and for four voices, runs that learned from true pitches are given the
multi-F0 network of RUNS/multi_f0 if there is one. `benchmarks/published_speed.py` makes `speeds.json`.

`theirs` reads what was published: state dicts of torch (UMSS, its joint successors, the U-Nets) without unpickling
code, the multi-F0 estimator and the voice assigner as plain arrays in an `.npz`. What needs code is refused.
"""

import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
import yaml
from torch import Tensor, nn

from divisi.contract.errors import InputError
from divisi_workshop.config import plain
from divisi_workshop.published import umss, unet
from divisi_workshop.published.config import Part, Pitch
from divisi_workshop.published.multi_f0 import MultiF0, VoiceAssigner
from divisi_workshop.published.train import PREFIXES

State = dict[str, Tensor]

CARDS = resources.files("divisi_workshop.learning").joinpath("cards", "published.yaml")
MULTI_F0 = PREFIXES[Part.MULTI_F0]
MULTI_F0_PARTS = ("branch_magnitude", "branch_phase", "late")
ASSIGNER_BRANCHES = ("soprano", "alto", "tenor", "bass")
# Tensors that hold no weights: tables of the synthesiser and of the published front end.
_TABLES = ("source_filter_synth.", "F0Extractor.audio_transform.", "sample_rate")
# Their names in patterns, ours for them; numbers are reckoned from theirs.
_SEPARATOR_NAMES = (
    (r"^encoder\.layer_norm\.", "encoder.norm."),
    (r"^gru_noise_mag\.", "decoder.noise_spectrum."),
    (r"^dense_outs\.0\.", "decoder.harmonic_amplitude."),
    (r"^dense_outs\.1\.", "decoder.noise_gain."),
    (r"^dense_outs\.2\.", "decoder.gaps."),
)
_UNET_NAMES = (
    (r"^condition_generator\.conv(\d)\.", "condition.convolutions.{}."),
    (r"^conv(\d)\.", "down.{}."),
    (r"^deconv(\d)_BAD\.", "after.{}."),
    (r"^deconv(\d)\.", "up.{}."),
)


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


def load_multi_f0(network: MultiF0, arrays: Path) -> None:
    """Fills the published multi-F0 estimator from `late_deep.npz`: arrays `<part>.<layer>.<array>`.

    Raises:
        InputError: code `damaged-checkpoint`, as everything here.
    """
    _fill_parts({part: getattr(network, part) for part in MULTI_F0_PARTS}, arrays)


def load_assigner(network: VoiceAssigner, arrays: Path) -> None:
    """Fills the published voice assigner from `voas_cnn.npz`."""
    branches = zip(ASSIGNER_BRANCHES, network.branches, strict=True)
    _fill_parts({"trunk": network.trunk, **dict(branches)}, arrays)


def import_umss(checkpoint: Path, multi_f0: Path, voice_count: int = 4) -> umss.Umss:
    """UMSS or its one-voice training, whose checkpoint holds the separator alone; pitches by the given estimator."""
    network = umss.Umss(umss.published_umss(voice_count))
    load_multi_f0(network.pitch.multi_f0, multi_f0)
    _load(network.separator, _separator_state(read_state(checkpoint)))
    return network.eval()


def import_joint(checkpoint: Path) -> umss.Umss:
    """VA_NN, VA_NN_0, VA_NN_1 or W_UP: separator, multi-F0 estimator and assigner in one checkpoint."""
    state = read_state(checkpoint)
    network = umss.Umss(umss.published_joint())
    _load(network.separator, _separator_state(state))
    for part, name in zip(MULTI_F0_PARTS, ("base_model1", "base_model2", "cuesta"), strict=True):
        _fill(getattr(network.pitch.multi_f0, part), _in_order(state, f"F0Extractor.{name}."))
    assigner = network.pitch.assigner
    assert assigner is not None
    _fill(assigner.trunk, _in_order(state, "F0Assigner.F0Assigner."))
    for number, branch in enumerate(assigner.branches, start=1):
        body = _in_order(state, f"F0Assigner.branch{number}.")
        _fill(branch, body + _in_order(state, f"F0Assigner.post_process{number}."))
    return network.eval()


def import_unet(checkpoint: Path, multi_f0: Path, voice_count: int = 4) -> unet.UnetSeparator:
    """A U-Net baseline; its condition is seen from the checkpoint."""
    state = {}
    for theirs, value in read_state(checkpoint).items():
        if not theirs.startswith(_TABLES):
            linear = r"^condition_generator\.linear_(gamma|beta)_(\d)\."
            name = re.sub(linear, lambda found: f"condition.{found[1]}.{2 * int(found[2]) - 2}.", theirs)
            name = _renamed(name, _UNET_NAMES).replace("condition_generator.", "condition.")
            state[name] = value
    is_efficient = any(name.startswith("condition.gamma") for name in state)
    config = unet.published(unet.Condition.EFFICIENT if is_efficient else unet.Condition.ORIGINAL)
    pitch = umss.published_umss(voice_count)
    network = unet.UnetSeparator(unet.UnetConfig(config.condition, bank=config.bank, pitch=pitch))
    load_multi_f0(network.pitch.multi_f0, multi_f0)
    _load(network.unet, state)
    return network.eval()


def read_state(path: Path) -> State:
    """The state dict of a checkpoint; where that lies under a key, the usual ones are looked through."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails on foreign bytes in any way it likes
        message = f"{path.name} is no checkpoint of plain weights: {error}"
        raise InputError(message, code="damaged-checkpoint") from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path.name} holds no state dict", code="damaged-checkpoint")
    return {name.removeprefix("module."): value for name, value in content.items()}


def _separator_state(state: State) -> State:
    """Their encoder, decoder and heads by our names. Their perceptrons are sequences of sequences of three."""
    nested = re.compile(r"^(decoder\.(?:f0_mlp|z_mlp|mlp))\.(\d)\.(\d)\.")
    ours = {}
    for theirs, value in state.items():
        if not theirs.startswith((*_TABLES, "F0Extractor.", "F0Assigner.")):
            name = nested.sub(lambda found: f"{found[1]}.{3 * int(found[2]) + int(found[3])}.", theirs)
            ours[_renamed(name, _SEPARATOR_NAMES)] = value.reshape(-1, 1) if "layer_norm.s" in theirs else value
    return ours


def _renamed(name: str, patterns: Iterable[tuple[str, str]]) -> str:
    """By the first pattern that fits; what they count from 1 we count from 0."""
    for pattern, ours in patterns:
        if found := re.match(pattern, name):
            return ours.format(*(int(number) - 1 for number in found.groups())) + name[found.end() :]
    return name


def _in_order(state: State, prefix: str) -> list[State]:
    """The layers of a sequence of theirs that have weights, each as name → tensor."""
    layers: dict[int, State] = {}
    for name, value in state.items():
        if name.startswith(prefix):
            number, _, kind = name.removeprefix(prefix).partition(".")
            layers.setdefault(int(number), {})[kind] = value
    if not layers:
        raise InputError(f"the checkpoint has no {prefix}*", code="damaged-checkpoint")
    return [layers[number] for number in sorted(layers)]


def _fill_parts(parts: Mapping[str, nn.Module], path: Path) -> None:
    """Fills parts from arrays `<part>.<layer>.<array>`; `out` comes after the numbered layers. Nothing is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:
        raise InputError(f"{path.name} holds no plain arrays: {error}", code="damaged-checkpoint") from error
    layers: dict[str, dict[str, State]] = {part: {} for part in parts}
    kinds = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        layer, _, kind = rest.partition(".")
        if part not in parts:
            raise InputError(f"{path.name} holds an unknown array {name}", code="damaged-checkpoint")
        # Kernels are (frequency, time, in, out).
        value = np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array
        layers[part].setdefault(layer, {})[kinds.get(kind, kind)] = torch.from_numpy(value)
    for part, module in parts.items():
        _fill(module, [layers[part][layer] for layer in sorted(layers[part])])


def _fill(module: nn.Module, layers: list[State]) -> None:
    """Copies layers, in order, into the convolutions and norms of a module."""
    targets = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    if len(targets) != len(layers):
        raise InputError(f"{len(layers)} layers for {len(targets)}", code="damaged-checkpoint")
    for target, layer in zip(targets, layers, strict=True):
        _load(target, layer)


def _load(module: nn.Module, state: State) -> None:
    """Every tensor of the module, in its shape, and no other; counters of batches stay ours."""
    counters = {name: value for name, value in module.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        module.load_state_dict({**state, **counters})
    except RuntimeError as error:
        raise InputError(f"the checkpoint does not fit: {error}", code="damaged-checkpoint") from error


def ours(
    runs: Annotated[Path, typer.Option()],
    out: Annotated[Path, typer.Option()],
    speeds: Annotated[Path | None, typer.Option()] = None,
) -> None:
    """Drafts of cards and checkpoints for export, of every system that has a run."""
    out.mkdir(parents=True, exist_ok=True)
    cards = yaml.safe_load(CARDS.read_text(encoding="utf-8"))
    measured = json.loads(speeds.read_text()) if speeds else {}
    trained = {
        path.parent.name: torch.load(path, map_location="cpu", weights_only=True)
        for path in runs.glob("*/checkpoint.pt")
        if path.parent.name in {"multi_f0", *(system["checkpoint"] for system in cards["systems"].values())}
    }
    for model_id, system in cards["systems"].items():
        state = trained.get(system["checkpoint"])
        if state is None:
            continue
        if "multi_f0" in trained and state["config"]["pitch"] == Pitch.LABELS:
            state = with_multi_f0(state, trained["multi_f0"])
        torch.save(for_voices(state, system.get("voice_count")), out / f"{model_id}.pt")
        values = draft(model_id, cards, state["config"], measured.get(model_id))
        (out / f"{model_id}.yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def theirs(
    kind: Literal["umss", "joint", "unet"],
    checkpoint: Path,
    out: Annotated[Path, typer.Option()],
    multi_f0: Annotated[Path | None, typer.Option(help="late_deep.npz; for umss and unet")] = None,
    voices: int = 4,
) -> None:
    """A published checkpoint in our network."""
    if kind == "joint":
        network: umss.Umss | unet.UnetSeparator = import_joint(checkpoint)
    elif multi_f0 is None:
        raise typer.BadParameter(f"{kind} needs --multi-f0")
    else:
        network = (import_umss if kind == "umss" else import_unet)(checkpoint, multi_f0, voices)
    torch.save({"config": {"network": plain(network.config)}, "average": network.state_dict()}, out)


if __name__ == "__main__":
    app = typer.Typer()
    app.command()(ours)
    app.command()(theirs)
    app()
