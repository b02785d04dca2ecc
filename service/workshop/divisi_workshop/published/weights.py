"""Published checkpoints in our networks, so that whoever has them can serve them.

    python -m divisi_workshop.published.weights joint FILE.pth --out checkpoint.pt
    divisi export divisi_workshop.published.umss:build checkpoint.pt --card draft.yaml --out model_store

Checkpoints of UMSS, of its joint successors and of the U-Nets are state dicts of torch, read without unpickling code;
the multi-F0 estimator and the voice assigner are plain arrays in an `.npz`. Files that would need code are refused.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from divisi.contract.errors import InputError
from divisi_workshop.config import plain
from divisi_workshop.published import umss, unet
from divisi_workshop.published.multi_f0 import MultiF0, VoiceAssigner

State = dict[str, Tensor]

MULTI_F0_PARTS = ("branch_magnitude", "branch_phase", "late")
ASSIGNER_BRANCHES = ("soprano", "alto", "tenor", "bass")
# Tensors that hold no weights: tables of the synthesiser and of the published front end.
_TABLES = ("source_filter_synth.", "F0Extractor.audio_transform.", "sample_rate")
_HEADS = {"0": "harmonic_amplitude", "1": "noise_gain", "2": "gaps"}


def load_multi_f0(network: MultiF0, arrays: Path) -> None:
    """Fills the published multi-F0 estimator from `late_deep.npz`: arrays `<part>.<layer>.<array>`.

    Raises:
        InputError: code `damaged-checkpoint`, as everything here.
    """
    stored = read_arrays(arrays)
    for part in MULTI_F0_PARTS:
        _fill(getattr(network, part), _layers(stored, part))
    _refuse_leftovers(stored, MULTI_F0_PARTS)


def load_assigner(network: VoiceAssigner, arrays: Path) -> None:
    """Fills the published voice assigner from `voas_cnn.npz`."""
    stored = read_arrays(arrays)
    _fill(network.trunk, _layers(stored, "trunk"))
    for name, branch in zip(ASSIGNER_BRANCHES, network.branches, strict=True):
        _fill(branch, _layers(stored, name))
    _refuse_leftovers(stored, ("trunk", *ASSIGNER_BRANCHES))


def import_umss(checkpoint: Path, multi_f0: Path, voice_count: int = 4) -> umss.Umss:
    """UMSS or its one-voice training, whose checkpoint holds the separator alone; pitches by the given estimator."""
    network = umss.Umss(umss.published_umss(voice_count))
    load_multi_f0(network.pitch.multi_f0, multi_f0)
    network.separator.load_state_dict(_fitting(network.separator, _separator_state(read_state(checkpoint))))
    return network.eval()


def import_joint(checkpoint: Path) -> umss.Umss:
    """VA_NN, VA_NN_0, VA_NN_1 or W_UP: separator, multi-F0 estimator and assigner in one checkpoint."""
    state = read_state(checkpoint)
    network = umss.Umss(umss.published_joint())
    network.separator.load_state_dict(_fitting(network.separator, _separator_state(state)))
    for part, name in zip(MULTI_F0_PARTS, ("base_model1", "base_model2", "cuesta"), strict=True):
        _copy_in_order(getattr(network.pitch.multi_f0, part), _under(state, f"F0Extractor.{name}."))
    assigner = network.pitch.assigner
    assert assigner is not None
    _copy_in_order(assigner.trunk, _under(state, "F0Assigner.F0Assigner."))
    for number, branch in enumerate(assigner.branches, start=1):
        body = _under(state, f"F0Assigner.branch{number}.")
        last = _under(state, f"F0Assigner.post_process{number}.")
        _copy_in_order(branch, {**body, **{f"1000{name}": value for name, value in last.items()}})
    return network.eval()


def import_unet(checkpoint: Path, multi_f0: Path, voice_count: int = 4) -> unet.UnetSeparator:
    """A U-Net baseline; its condition is seen from the checkpoint."""
    state = {_unet_name(name): value for name, value in read_state(checkpoint).items() if not name.startswith(_TABLES)}
    is_efficient = any(name.startswith("condition.gamma") for name in state)
    config = unet.published(unet.Condition.EFFICIENT if is_efficient else unet.Condition.ORIGINAL)
    pitch = umss.published_umss(voice_count)
    network = unet.UnetSeparator(unet.UnetConfig(config.condition, bank=config.bank, pitch=pitch))
    load_multi_f0(network.pitch.multi_f0, multi_f0)
    network.unet.load_state_dict(_fitting(network.unet, state))
    return network.eval()


def read_state(path: Path) -> State:
    """The state dict of a checkpoint; where that lies under a key, the usual ones are looked through."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler fails on foreign bytes in any way it likes
        raise InputError(
            f"{path.name} is no checkpoint of plain weights: {error}", code="damaged-checkpoint"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path.name} holds no state dict", code="damaged-checkpoint")
    return {name.removeprefix("module."): value for name, value in content.items()}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name; nothing is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:
        raise InputError(f"{path.name} holds no plain arrays: {error}", code="damaged-checkpoint") from error


def _layers(stored: Mapping[str, np.ndarray], part: str) -> list[dict[str, np.ndarray]]:
    """The layers of a part in order, each as array name → array; `out` comes after the numbered ones."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in stored.items():
        prefix, _, rest = name.partition(".")
        if prefix == part:
            layer, _, kind = rest.partition(".")
            layers.setdefault(layer, {})[kind] = array
    return [layers[layer] for layer in sorted(layers)]


def _fill(module: nn.Module, layers: list[dict[str, np.ndarray]]) -> None:
    """Copies layers, in order, into the convolutions and norms of a module. Kernels are (frequency, time, in, out)."""
    targets = _weighted(module)
    if len(targets) != len(layers):
        raise InputError(f"{len(layers)} layers for {len(targets)}", code="damaged-checkpoint")
    for target, layer in zip(targets, layers, strict=True):
        try:
            if isinstance(target, nn.Conv2d):
                values = {"weight": np.ascontiguousarray(layer["weight"].transpose(3, 2, 0, 1)), "bias": layer["bias"]}
            else:
                names = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
                values = {name: layer[theirs] for name, theirs in names.items()}
            target.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()}, strict=False)
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"a layer does not fit: {error}", code="damaged-checkpoint") from error


def _weighted(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]


def _copy_in_order(module: nn.Module, state: State) -> None:
    """Copies a sequence of theirs into one of ours that has the same layers, padding and ReLU apart."""
    groups: dict[int, State] = {}
    for name, value in state.items():
        number, _, kind = name.partition(".")
        groups.setdefault(int(number), {})[kind] = value
    targets = _weighted(module)
    if len(groups) != len(targets):
        raise InputError(f"{len(groups)} layers for {len(targets)}", code="damaged-checkpoint")
    for target, (_, values) in zip(targets, sorted(groups.items()), strict=True):
        target.load_state_dict(_fitting(target, values))


def _under(state: State, prefix: str) -> State:
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise InputError(f"the checkpoint has no {prefix}*", code="damaged-checkpoint")
    return found


def _separator_state(state: State) -> State:
    """Their encoder, decoder and heads by our names."""
    ours = {}
    for name, value in state.items():
        if name.startswith((*_TABLES, "F0Extractor.", "F0Assigner.")):
            continue
        ours[_separator_name(name)] = value.reshape(-1, 1) if "layer_norm.s" in name else value
    return ours


def _separator_name(name: str) -> str:
    name = name.replace("encoder.layer_norm.", "encoder.norm.")
    name = name.replace("gru_noise_mag.", "decoder.noise_spectrum.")
    name = re.sub(r"^dense_outs\.(\d)\.", lambda found: f"decoder.{_HEADS[found[1]]}.", name)
    # Their perceptrons are sequences of sequences of three.
    nested = re.compile(r"^(decoder\.(?:f0_mlp|z_mlp|mlp))\.(\d)\.(\d)\.")
    return nested.sub(lambda found: f"{found[1]}.{3 * int(found[2]) + int(found[3])}.", name)


def _unet_name(name: str) -> str:
    renamed: Iterable[tuple[str, Callable[[re.Match[str]], str]]] = (
        (r"^condition_generator\.conv(\d)\.", lambda found: f"condition.convolutions.{int(found[1]) - 1}."),
        (
            r"^condition_generator\.linear_(gamma|beta)_(\d)\.",
            lambda found: f"condition.{found[1]}.{2 * int(found[2]) - 2}.",
        ),
        (r"^condition_generator\.", lambda _: "condition."),
        (r"^conv(\d)\.", lambda found: f"down.{int(found[1]) - 1}."),
        (r"^deconv(\d)_BAD\.", lambda found: f"after.{int(found[1]) - 1}."),
        (r"^deconv(\d)\.", lambda found: f"up.{int(found[1]) - 1}."),
    )
    for pattern, ours in renamed:
        name = re.sub(pattern, ours, name)
    return name


def _fitting(module: nn.Module, state: State) -> State:
    """`state` once it names every tensor of the module, in its shape, and no other."""
    own = module.state_dict()
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    wrong = sorted((own.keys() - counters.keys()) ^ state.keys()) or [
        name for name, value in state.items() if own[name].shape != value.shape
    ]
    if wrong:
        raise InputError(f"the checkpoint does not fit: {', '.join(wrong[:5])}", code="damaged-checkpoint")
    return {**state, **counters}


def _refuse_leftovers(stored: Mapping[str, Any], parts: tuple[str, ...]) -> None:
    strange = [name for name in stored if name.partition(".")[0] not in parts]
    if strange:
        raise InputError(f"unknown arrays: {', '.join(strange[:5])}", code="damaged-checkpoint")


def save_checkpoint(network: umss.Umss | unet.UnetSeparator, path: Path) -> None:
    """Writes what `divisi export` reads."""
    torch.save({"config": {"network": plain(network.config)}, "average": network.state_dict()}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("umss", "joint", "unet"))
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--multi-f0", type=Path, help="late_deep.npz; for umss and unet")
    parser.add_argument("--voices", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.kind != "joint" and arguments.multi_f0 is None:
        parser.error(f"{arguments.kind} needs --multi-f0")
    network: umss.Umss | unet.UnetSeparator
    if arguments.kind == "joint":
        network = import_joint(arguments.checkpoint)
    else:
        importer = import_umss if arguments.kind == "umss" else import_unet
        network = importer(arguments.checkpoint, arguments.multi_f0, arguments.voices)
    save_checkpoint(network, arguments.out)


if __name__ == "__main__":
    main()
