"""Pitch classes of all voices -> one F0 and voicing for each: the last step of the tracker, and nothing learned.

A frame alone leaves doubts that its neighbours and the other voices settle. Two voices seldom sing one note, so each
pays for what the others claim (a mean field of repulsion, a few damped rounds); and a voice seldom leaves its note, so
every frame hears from the frames around it (sum-product messages along time, from `REACH_FRAMES` on either side; all
frames at once, without a search from end to end, which a graph could only do step by step).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from divisi_workshop.networks.pitch_tracker import BINS_PER_OCTAVE, LOWEST_PITCH_HZ, PITCH_COUNT, claimed_by_others

REPULSION = 0.8
"""What a pitch loses, in nats, when another voice is certain to be on it."""
REPULSION_ROUNDS = 4

REACH_FRAMES = 16
COARSE_COUNT = PITCH_COUNT // 2
"""Messages are of pairs of pitches: a quarter of the work, and what they say is broad anyway."""
GLIDE_BINS = 2.0
"""Standard deviation of how far a pitch moves from one frame to the next."""
LEAP = 1e-5
"""Probability of any other pitch in the next frame."""


def glides() -> Tensor:
    """Probability of every pair of pitches after every other. Shape: (COARSE_COUNT, COARSE_COUNT), columns sum to 1."""
    place = 2 * torch.arange(COARSE_COUNT, dtype=torch.float32)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / GLIDE_BINS).square()) + LEAP
    return weights / weights.sum(0)


class PitchDecoder(nn.Module):
    """Logits -> F0 and voicing. Shape: (B, 4, P + 1, N) -> two tensors (B, 4, N), Hz and probability.

    F0 is the local centre of mass around the most probable pitch, defined (and positive) even where voicing is low.
    Where two distant pitches are equally probable, voicing fades to nothing: which of them is ahead may then differ
    between runtimes that round differently, but no longer matters.
    """

    glides: Tensor

    near_bins = 4.0
    reach_bins = 1.0
    distant_bins = 3.5
    least_margin = 0.7
    """Lead over the best distant pitch, in nats, from which a pitch counts in full. A smaller one magnifies rounding:
    with 0.3, voicing differs by up to 3e-4 between runtimes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("glides", glides(), persistent=False)

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        pitches = torch.arange(PITCH_COUNT, device=logits.device, dtype=logits.dtype)[:, None]
        voicing = 1 - torch.softmax(logits, dim=2)[:, :, PITCH_COUNT]
        # Among the pitched classes alone: also a voice that hardly sounds has a pitch it would sing.
        log_pitched = self.in_context(self.apart(logits))
        lead, best = log_pitched.max(dim=2, keepdim=True)
        # First a sharp average around the best class, which is the same from whichever of two equal neighbours one
        # sets out; then the centre of mass of what the frame itself says there.
        near = ((pitches - best.to(logits.dtype)).abs() <= self.near_bins).to(logits.dtype)
        position = centre_of_mass(torch.exp(8 * (log_pitched - lead)) * near, pitches)
        window = -0.5 * ((pitches - position) / self.reach_bins).square()
        position = centre_of_mass(torch.softmax(logits[:, :, :PITCH_COUNT] + window, dim=2), pitches)
        distant = (pitches - position).abs() > self.distant_bins
        rival = (log_pitched - 1e3 * (1 - distant.to(logits.dtype))).max(dim=2, keepdim=True).values
        clear = torch.clamp((lead - rival) / self.least_margin, 0.0, 1.0)
        f0_hz = LOWEST_PITCH_HZ * torch.exp(position * (math.log(2) / BINS_PER_OCTAVE))
        return f0_hz.squeeze(2), voicing * clear.squeeze(2)

    def apart(self, logits: Tensor) -> Tensor:
        """Logits after every voice has paid for what the others claim. Shape: (B, 4, P + 1, N), both."""
        price = torch.zeros_like(logits)
        for _ in range(REPULSION_ROUNDS):
            claims = torch.softmax(logits - price, dim=2)[:, :, :PITCH_COUNT]
            others = claimed_by_others(claims)
            # Half of the old price stays, or two voices with equal claims would flee from a note together.
            price = 0.5 * price + 0.5 * REPULSION * functional.pad(others, (0, 0, 0, 1))
        return logits - price

    def in_context(self, logits: Tensor) -> Tensor:
        """Log probability of every pitch, given the frames around. Shape: (B, 4, P + 1, N) -> (B, 4, P, N)."""
        probability = torch.softmax(logits, dim=2)
        # Silence says nothing about the pitch.
        evidence = probability[:, :, :PITCH_COUNT] + probability[:, :, PITCH_COUNT:] / PITCH_COUNT
        coarse = evidence.unflatten(2, (COARSE_COUNT, 2)).sum(3)
        before, after = coarse, coarse
        for step in range(REACH_FRAMES):
            if step:
                before, after = coarse * before, coarse * after
            # What a frame tells the next one, and what it tells the one before; no news at the ends.
            before = functional.pad(self.glide(before)[..., :-1], (1, 0), value=1 / COARSE_COUNT)
            after = functional.pad(self.glide(after)[..., 1:], (0, 1), value=1 / COARSE_COUNT)
        heard = before * after
        spread = torch.stack([heard, heard], dim=3).flatten(2, 3)
        return torch.log(evidence * spread + 1e-20)

    def glide(self, belief: Tensor) -> Tensor:
        """Where a voice may be a frame later, or earlier. Shape: (B, 4, COARSE_COUNT, N), both."""
        return torch.matmul(self.glides, belief / (belief.sum(2, keepdim=True) + 1e-20))


def centre_of_mass(weights: Tensor, pitches: Tensor) -> Tensor:
    """Shape: (B, 4, P, N), (P, 1) -> (B, 4, 1, N)."""
    return (weights * pitches).sum(2, keepdim=True) / (weights.sum(2, keepdim=True) + 1e-9)
