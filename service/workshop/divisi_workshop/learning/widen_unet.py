"""A U-Net in its published width that starts out saying exactly what a narrower one says.

    python -m divisi_workshop.learning.widen_unet --narrow RUNS/unet_satb_efficient_again/checkpoint.pt \\
        --out RUNS/unet_widened

What more width could bring is then a matter of a few thousand steps from the same start, instead of the many that the
published network takes from nothing. Channels and levels that are new are as drawn, but nothing listens to them yet:
weights from them to what was there before are zero, and learn (Chen et al., "Net2Net", 2016, with zeros in place of
copies). For the efficient condition; the checkpoint is a start for `divisi train CONFIG --start-from`.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from divisi_workshop.learning.system_config import parse_system
from divisi_workshop.learning.train_system import SystemRun
from divisi_workshop.networks import unet

Span = tuple[int, int]
"""Where in the wider network's channels the next ones of the narrower network lie: from, how many."""


def published_width(narrow: unet.UnetConfig) -> unet.UnetConfig:
    """The same network with as many channels and levels as published."""
    wide = unet.published(narrow.condition)
    return replace(
        narrow, first_channels=wide.first_channels, depth=wide.depth, perceptron_hidden=wide.perceptron_hidden
    )


@torch.no_grad()
def place(narrow: Tensor, wide: Tensor, output_axis: int, inputs: list[Span] | None = None) -> None:
    """Write the weights of a narrower layer into a wider one; its first outputs then hear nothing else.

    Shape: of any layer's weights, outputs along `output_axis` and inputs along the other of the first two axes.
    """
    narrow, wide = narrow.movedim(output_axis, 0), wide.movedim(output_axis, 0)
    wide[: len(narrow)] = 0
    taken = 0
    for first, count in inputs or [(0, narrow.shape[1])]:
        wide[: len(narrow), first : first + count] = narrow[:, taken : taken + count]
        taken += count


@torch.no_grad()
def place_corner(narrow: nn.Module, wide: nn.Module) -> None:
    """Write everything that counts outputs alone: biases, and what normalises them."""
    own = dict(wide.named_parameters()) | dict(wide.named_buffers())
    for name, values in (dict(narrow.named_parameters()) | dict(narrow.named_buffers())).items():
        if values.dim() == 1:
            own[name][: len(values)] = values
        elif values.dim() == 0:
            own[name].copy_(values)


def widen(narrow: Any, wide: Any) -> None:
    """Make a `ConditionedUnet` say what a narrower one of no greater depth says, in training and in use.

    Both have the efficient condition.
    """
    deeper = len(wide.down) - len(narrow.down)
    place_corner(narrow, wide)
    for name in ("gamma", "beta"):
        for index in (0, 2):
            layers = getattr(narrow.condition, name)[index], getattr(wide.condition, name)[index]
            place(layers[0].weight, layers[1].weight, 0)
    for level, block in enumerate(narrow.down):
        place(block[0].weight, wide.down[level][0].weight, 0)
    for index, up in enumerate(narrow.up):
        wider = wide.up[index + deeper]
        place_corner(up, wider)
        joined, wider_joined = up.weight.shape[0], wider.weight.shape[0]
        if index == 0:
            # The narrow network turns here; in a deeper one this level is a skip, behind what comes from below.
            spans = [(wider_joined // 2 if deeper else 0, joined)]
        else:
            spans = [(0, joined // 2), (wider_joined // 2, joined // 2)]
        place(up.weight, wider.weight, 1, spans)
    for index, after in enumerate(narrow.after):
        place_corner(after, wide.after[index + deeper])


def widened(path: Path) -> SystemRun:
    """A run at step 0 whose U-Net has the published width and says what that of the checkpoint says."""
    state = torch.load(path, weights_only=True)
    values = state["config"]
    narrow: Any = unet.build(values["network"])
    narrow.load_state_dict(state["average"])
    config = parse_system({**values, "network": unet.plain(published_width(narrow.config))})
    run = SystemRun(config)
    run.network.load_state_dict(
        {name: value for name, value in state["average"].items() if not name.startswith("unet.")}, strict=False
    )
    widen(narrow.unet, run.network.unet)
    run.average.load_state_dict(run.network.state_dict())
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--narrow", type=Path, required=True, help="checkpoint of a U-Net in the efficient condition")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    run = widened(arguments.narrow)
    arguments.out.mkdir(parents=True, exist_ok=True)
    run.save(arguments.out / "checkpoint.pt")


if __name__ == "__main__":
    main()
