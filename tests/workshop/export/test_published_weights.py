"""Published checkpoints, written here in their layout, come out as our networks with every weight in its place."""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from divisi.contract.errors import InputError
from divisi_workshop.published import umss, unet
from divisi_workshop.published.checkpoints import (
    import_joint,
    import_umss,
    import_unet,
    load_assigner,
    load_multi_f0,
    read_state,
    theirs,
)
from divisi_workshop.published.multi_f0 import MultiF0, VoiceAssigner


def layer_sizes(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]


def as_arrays(part: str, module: nn.Module, names: list[str] | None = None) -> dict[str, np.ndarray]:
    """One part as the published arrays have it, filled with numbers that tell layers apart."""
    random = np.random.default_rng(len(part))
    arrays = {}
    layers = layer_sizes(module)
    for name, layer in zip(names or [f"{number:02d}" for number in range(len(layers))], layers, strict=True):
        if isinstance(layer, nn.Conv2d):
            outputs, inputs, height, width = layer.weight.shape
            arrays[f"{part}.{name}.weight"] = random.standard_normal((height, width, inputs, outputs), np.float32)
            arrays[f"{part}.{name}.bias"] = random.standard_normal(outputs, np.float32)
        else:
            for kind in ("gamma", "beta", "mean", "var"):
                arrays[f"{part}.{name}.{kind}"] = random.random(layer.weight.shape, np.float32) + 0.5
    return arrays


def multi_f0_arrays() -> dict[str, np.ndarray]:
    network = MultiF0()
    parts = ("branch_magnitude", "branch_phase", "late")
    return {name: array for part in parts for name, array in as_arrays(part, getattr(network, part)).items()}


@pytest.fixture(scope="module")
def multi_f0_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "late_deep.npz"
    np.savez(path, **multi_f0_arrays())
    return path


def their_perceptron(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for layer in range(3):
        shapes[f"{name}.{layer}.0.weight"] = (outputs, inputs if layer == 0 else outputs)
        shapes[f"{name}.{layer}.0.bias"] = shapes[f"{name}.{layer}.1.weight"] = shapes[f"{name}.{layer}.1.bias"] = (
            outputs,
        )
    return shapes


def their_gru(name: str, inputs: int, hidden: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.weight_ih_l0": (3 * hidden, inputs),
        f"{name}.weight_hh_l0": (3 * hidden, hidden),
        f"{name}.bias_ih_l0": (3 * hidden,),
        f"{name}.bias_hh_l0": (3 * hidden,),
    }


def separator_state() -> dict[str, Tensor]:
    """The separator's checkpoint as published: 5 573 961 numbers, and a table of the synthesiser."""
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.layer_norm.scale": (1, 257, 1, 1),
        "encoder.layer_norm.shift": (1, 257, 1, 1),
        **their_gru("encoder.gru1", 257, 256),
        **their_gru("encoder.gru2", 256, 256),
        **their_gru("encoder.gru3", 256, 256),
        "encoder.dense.weight": (128, 256),
        "encoder.dense.bias": (128,),
        **their_perceptron("decoder.f0_mlp", 1, 512),
        **their_perceptron("decoder.z_mlp", 128, 512),
        **their_gru("decoder.gru", 1024, 512),
        **their_perceptron("decoder.mlp", 512, 512),
        **their_gru("gru_noise_mag", 512, 40),
    }
    for number, outputs in enumerate((1, 1, 21)):
        shapes[f"dense_outs.{number}.weight"], shapes[f"dense_outs.{number}.bias"] = (outputs, 512), (outputs,)
    generator = torch.Generator().manual_seed(1)
    state = {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    assert sum(value.numel() for value in state.values()) == 5_573_961
    return {**state, "source_filter_synth.window": torch.ones(3)}


def sequence_state(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """A sequence with theirs between the layers that have weights: ReLU and padding take numbers too."""
    state, number = {}, 0
    for layer in layer_sizes(module):
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] % 2 == 0:
            number += 1
        for name, value in layer.state_dict().items():
            state[f"{prefix}{number}.{name}"] = value + 0.01 * torch.randn_like(value.float()).to(value.dtype)
        number += 2 if isinstance(layer, nn.Conv2d) else 1
    return state


def joint_state() -> dict[str, Tensor]:
    front, assigner = MultiF0(), VoiceAssigner()
    state = separator_state()
    for part, name in (("branch_magnitude", "base_model1"), ("branch_phase", "base_model2"), ("late", "cuesta")):
        state |= sequence_state(f"F0Extractor.{name}.", getattr(front, part))
    state |= sequence_state("F0Assigner.F0Assigner.", assigner.trunk)
    for number, branch in enumerate(assigner.branches, start=1):
        layers = list(branch)
        state |= sequence_state(f"F0Assigner.branch{number}.", nn.Sequential(*layers[:-2]))
        state |= sequence_state(f"F0Assigner.post_process{number}.", nn.Sequential(*layers[-2:]))
    return {**state, "F0Extractor.audio_transform.kernels": torch.zeros(2)}


def unet_state(condition: unet.Condition) -> dict[str, Tensor]:
    network = unet.UnetSeparator(unet.published(condition)).unet
    state: dict[str, Tensor] = {"sample_rate": torch.tensor(16_000)}
    for level, (down, up) in enumerate(zip(network.down, network.up, strict=True), start=1):
        state |= {f"conv{level}.{name}": value for name, value in down.state_dict().items()}
        state |= {f"deconv{level}.{name}": value for name, value in up.state_dict().items()}
    for level, after in enumerate(network.after, start=1):
        state |= {f"deconv{level}_BAD.{name}": value for name, value in after.state_dict().items()}
    for name, value in network.condition.state_dict().items():
        first, _, rest = name.partition(".")
        if condition is unet.Condition.ORIGINAL:
            theirs = f"conv{int(rest[0]) + 1}.{rest[2:]}" if first == "convolutions" else name
        else:
            theirs = f"linear_{first}_{int(rest[0]) // 2 + 1}.{rest[2:]}"
        state[f"condition_generator.{theirs}"] = value
    return state


def test_published_f0_arrays_fill_our_networks(multi_f0_file: Path, tmp_path: Path) -> None:
    front = MultiF0()
    load_multi_f0(front, multi_f0_file)
    stored = multi_f0_arrays()
    tall = stored["branch_phase.09.weight"]
    assert front.branch_phase is not None
    assert torch.equal(layer_sizes(front.branch_phase)[9].weight, torch.from_numpy(tall).permute(3, 2, 0, 1))
    assert torch.equal(layer_sizes(front.late)[5].running_var, torch.from_numpy(stored["late.05.var"]))

    assigner = VoiceAssigner()
    arrays = as_arrays("trunk", assigner.trunk)
    for name, branch in zip(("soprano", "alto", "tenor", "bass"), assigner.branches, strict=True):
        arrays |= as_arrays(name, branch, ["00", "01", "02", "out"])
    np.savez(tmp_path / "voas.npz", **arrays)
    load_assigner(assigner, tmp_path / "voas.npz")
    assert torch.equal(layer_sizes(assigner.branches[3])[-1].bias, torch.from_numpy(arrays["bass.out.bias"]))


def test_a_umss_checkpoint_becomes_our_separator(multi_f0_file: Path, tmp_path: Path) -> None:
    state = separator_state()
    torch.save(state, tmp_path / "umss.pth")
    separator = import_umss(tmp_path / "umss.pth", multi_f0_file).separator
    assert torch.equal(separator.encoder.norm.shift.flatten(), state["encoder.layer_norm.shift"].flatten())
    assert torch.equal(separator.decoder.z_mlp[6].weight, state["decoder.z_mlp.2.0.weight"])
    assert torch.equal(separator.decoder.mlp[4].bias, state["decoder.mlp.1.1.bias"])
    assert torch.equal(separator.decoder.gaps.weight, state["dense_outs.2.weight"])
    assert torch.equal(separator.decoder.noise_spectrum.weight_hh_l0, state["gru_noise_mag.weight_hh_l0"])


def test_a_joint_checkpoint_becomes_our_whole_network(tmp_path: Path) -> None:
    state = joint_state()
    torch.save({"state_dict": state}, tmp_path / "joint.pth")
    network = import_joint(tmp_path / "joint.pth")
    assert isinstance(network.pitch.assigner, VoiceAssigner)
    assert torch.equal(network.pitch.multi_f0.branch_magnitude[0].weight, state["F0Extractor.base_model1.0.weight"])
    assert torch.equal(network.pitch.assigner.branches[2][-2].bias, state["F0Assigner.post_process3.0.bias"])
    trunk_norm = layer_sizes(network.pitch.assigner.trunk)[-1]
    assert torch.equal(trunk_norm.running_mean, state["F0Assigner.F0Assigner.14.running_mean"])


@pytest.mark.parametrize("condition", list(unet.Condition))
def test_a_unet_checkpoint_tells_its_condition(condition: unet.Condition, multi_f0_file: Path, tmp_path: Path) -> None:
    state = unet_state(condition)
    torch.save(state, tmp_path / "unet.pth")
    network = import_unet(tmp_path / "unet.pth", multi_f0_file)
    assert network.config.condition is condition
    assert torch.equal(network.unet.up[3].weight, state["deconv4.weight"])
    assert torch.equal(network.unet.after[4][0].running_var, state["deconv5_BAD.0.running_var"])


def test_an_imported_checkpoint_is_laid_out_as_export_reads_it(tmp_path: Path) -> None:
    torch.save(joint_state(), tmp_path / "joint.pth")
    theirs("joint", tmp_path / "joint.pth", tmp_path / "checkpoint.pt")
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    network = umss.build(stored["config"]["network"])
    network.load_state_dict(stored["average"])


TRAP = Path(tempfile.gettempdir()) / "divisi-was-fooled"


class Malice:
    """Runs code when unpickled carelessly."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (TRAP,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_malicious_checkpoint_is_refused_and_its_code_does_not_run(tmp_path: Path, multi_f0_file: Path) -> None:
    for name, content in (("pickle.pth", pickle.dumps({"a": Malice()})), ("array.npz", pickle.dumps(Malice()))):
        (tmp_path / name).write_bytes(content)
    torch.save({"encoder.dense.bias": Malice()}, tmp_path / "zip.pth")
    np.save(tmp_path / "objects.npy", np.array([Malice()], dtype=object), allow_pickle=True)
    for name in ("pickle.pth", "zip.pth"):
        with pytest.raises(InputError, match="no checkpoint"):
            import_umss(tmp_path / name, multi_f0_file)
    for name in ("array.npz", "objects.npy"):
        with pytest.raises(InputError, match="no plain arrays"):
            load_multi_f0(MultiF0(), tmp_path / name)
    assert not TRAP.exists()


def test_a_checkpoint_that_lacks_or_adds_weights_is_refused_by_their_names(tmp_path: Path, multi_f0_file: Path) -> None:
    state = separator_state()
    for name, changed in (
        ("lacking", {key: value for key, value in state.items() if key != "encoder.dense.bias"}),
        ("strange", {**state, "decoder.surprise": torch.zeros(1)}),
        ("resized", {**state, "encoder.dense.bias": torch.zeros(7)}),
    ):
        torch.save(changed, tmp_path / f"{name}.pth")
        with pytest.raises(InputError, match=r"encoder\.dense\.bias|decoder\.surprise"):
            import_umss(tmp_path / f"{name}.pth", multi_f0_file)


def test_a_file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(InputError, match="no state dict"):
        read_state(tmp_path / "list.pth")
