"""From one grid of frames to another, and from frames to samples: the joints of the source-filter systems.

`R` counts rows, one per voice of each recording.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def resample_track(track: Tensor, frame_count: int) -> Tensor:
    """Linear interpolation that stretches a track over another number of frames. Shape: (R, N) -> (R, frame_count).

    Also across gaps, where the published systems so make pitches that nobody sang. Counts may be traced.
    """
    steps = torch.arange(frame_count, device=track.device, dtype=torch.float64)
    position = (steps + 0.5) * (track.shape[1] / frame_count) - 0.5
    position = position.clamp(min=0.0)
    below = torch.floor(position).long().clamp(max=track.shape[1] - 1)
    above = (below + 1).clamp(max=track.shape[1] - 1)
    share = (position - below).to(track.dtype)
    return track[:, below] * (1 - share) + track[:, above] * share


def regrid_pitch(f0_hz: Tensor, factor: int) -> Tensor:
    """`factor` frames out of each, without glides: the nearest frame decides whether a voice is silent, and pitches
    are interpolated between sounding neighbours alone.

    Frame n of the result is centred where frame n / factor of the track is. Shape: (R, N) -> (R, N · factor).
    """
    if factor == 1:
        return f0_hz
    following = torch.cat([f0_hz[:, 1:], f0_hz[:, -1:]], dim=1)
    share = (torch.arange(factor, device=f0_hz.device, dtype=f0_hz.dtype) / factor)[None, None]
    now, then = f0_hz[:, :, None], following[:, :, None]
    nearest = torch.where(share < 0.5, now, then)
    between = now * (1 - share) + then * share
    return torch.where((now > 0) & (then > 0), between, nearest).flatten(1)


class Upsampler(nn.Module):
    """Frames to samples, `hop_length` samples a frame.

    Shape: (R, N) -> (R, N · hop_length).
    """

    linear: Tensor
    falling: Tensor
    rising: Tensor

    def __init__(self, hop_length: int) -> None:
        super().__init__()
        places = (torch.arange(hop_length, dtype=torch.float64) + 0.5) / hop_length - 0.5
        linear = torch.stack([torch.relu(-places), 1 - places.abs(), torch.relu(places)])
        self.register_buffer("linear", linear, persistent=False)
        window = torch.hann_window(2 * hop_length, dtype=torch.float64)
        self.register_buffer("rising", window[:hop_length].float(), persistent=False)
        self.register_buffer("falling", window[hop_length:].float(), persistent=False)

    def linearly(self, frames: Tensor) -> Tensor:
        """Straight lines between the middles of the frames. float64 in, float64 out."""
        before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)[:, :, None]
        after = torch.cat([frames[:, 1:], frames[:, -1:]], dim=1)[:, :, None]
        return (before * self.linear[0] + frames[:, :, None] * self.linear[1] + after * self.linear[2]).flatten(1)

    def neighbours(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Overlapping Hann windows centred on the first sample of each frame, the last frame held to the end.

        Returns for every sample the fading frame's share and the rising frame's, each (R, N, hop_length); their sum
        is the envelope.
        """
        after = torch.cat([frames[:, 1:], frames[:, -1:]], dim=1)
        return frames[:, :, None] * self.falling, after[:, :, None] * self.rising

    def by_windows_from_start(self, frames: Tensor) -> Tensor:
        """Overlapping Hann windows of which frame n begins with sample n · hop_length; the first does not fade in."""
        before = functional.pad(frames[:, :-1], (1, 0))[:, :, None]
        faded_in = before * self.falling + frames[:, :, None] * self.rising
        return torch.cat([(frames[:, :1, None] + 0 * self.rising), faded_in[:, 1:]], dim=1).flatten(1)


def half_overlapping(signal: Tensor, hop_length: int) -> Tensor:
    """Frames of two hops, one every hop; silence after the end. Shape: (R, N · hop) -> (R, N, 2 · hop)."""
    blocks = functional.pad(signal, (0, hop_length)).reshape(signal.shape[0], -1, hop_length)
    return torch.cat([blocks[:, :-1], blocks[:, 1:]], dim=2)


def overlap_halves(frames: Tensor) -> Tensor:
    """Inverse of `half_overlapping` for windowed frames: sums what overlaps, drops what lies beyond the end."""
    first, second = frames.chunk(2, dim=2)
    return (first + functional.pad(second[:, :-1], (0, 0, 1, 0))).flatten(1)
