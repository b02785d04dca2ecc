"""Rounds a network to half precision before it is exported, so that its artifacts need two bytes a weight.

Only what is stored is rounded: every runtime widens the weights and computes in float32. Parity is measured against the
rounded network, quality on its bundle.
"""

from __future__ import annotations

import torch
from torch import nn

from divisi.contract.errors import ModelError


def round_to_half(network: nn.Module) -> None:
    """Rounds every parameter and persistent buffer to the nearest number that float16 has, in place; types stay.

    Raises:
        ModelError: code `export-failed`; a weight is beyond what float16 reaches, or no number.
    """
    for name, values in network.state_dict().items():
        if not values.is_floating_point():
            continue
        rounded = values.half().to(values.dtype)
        if not bool(torch.isfinite(rounded).all()):
            limit = torch.finfo(torch.float16).max
            found = float(values.abs().max())
            message = f"{name} reaches {found:.3g}, half precision {limit:.0f}; export it with weight_precision: full"
            raise ModelError(message, code="export-failed")
        values.copy_(rounded)
