"""A fit grows more likely with every step, its images are the recording, and what is given to it stays."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from divisi_workshop.networks.fast_mnmf import FastMnmf
from divisi_workshop.networks.mnmf_steps import Fit

FFT, S, C, K, T = 256, 2, 3, 3, 8000
NUM_BINS = FFT // 2 + 1
# Single precision of a likelihood of some ten thousand terms.
ROUNDING = 0.5
# The bar is -90 dBFS.
SUM_BAR = 10 ** (-90 / 20)


def recording(seed: int = 0) -> Tensor:
    """Two bursting noises of different colour, unlike in each of three microphones: float32 (1, C, T)."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.randn(2, T, generator=generator)
    low, high = low + low.roll(1) + low.roll(2), high - high.roll(1)
    bursts = (torch.arange(T) // 1000 % 2).float()
    mixing = torch.tensor([[1.0, 0.2], [0.3, 0.9], [0.6, -0.5]])
    samples = mixing @ torch.stack([low * (0.2 + bursts), high * (1.2 - bursts)])
    return 0.1 * (samples + 0.01 * torch.randn(C, T, generator=generator))[None]


def started(module: FastMnmf, samples: Tensor, *, is_precise: bool = False, rank_one: bool = False) -> Fit:
    generator = torch.Generator().manual_seed(1)
    num_sources = C if rank_one else S
    fit = module.analyse(samples, samples.square().mean((0, 2)).sqrt().clamp(min=1e-6), FFT, is_precise)
    bases = torch.rand(num_sources, NUM_BINS, K, generator=generator) + 0.01
    activations = torch.rand(num_sources, K, fit["real"].shape[2], generator=generator) + 0.01
    gains = torch.eye(C) if rank_one else torch.rand(S, C, generator=generator) + 0.05
    return module.start(fit, bases, activations, gains)


@pytest.mark.parametrize("is_precise", [True, False], ids=["double", "single"])
@pytest.mark.parametrize("projects", [True, False], ids=["projection", "steering"])
@pytest.mark.parametrize("rank_one", [True, False], ids=["ilrma", "fastmnmf2"])
def test_no_iteration_makes_the_recording_less_likely(is_precise: bool, projects: bool, rank_one: bool) -> None:
    module = FastMnmf()
    fit = started(module, recording(), is_precise=is_precise, rank_one=rank_one)
    course = [module.log_likelihood(fit, 64)]
    for number in range(8):
        fit = module.iterate(fit, not rank_one, True, projects, 64)
        if number % 3 == 0:
            fit = module.normalise(fit)
        course.append(module.log_likelihood(fit, 64))
    assert all(after >= before - ROUNDING for before, after in pairwise(course)), course
    assert course[-1] > course[0] + 1000


def test_the_images_of_all_sources_are_the_recording() -> None:
    module, samples = FastMnmf(), recording()
    fit = started(module, samples)
    for _ in range(5):
        fit = module.normalise(module.iterate(fit, True, True, False, 64))
    total = sum(module.image(fit, source, T) for source in range(S))
    assert float((total - samples).abs().max()) <= SUM_BAR


def test_blocks_of_frequencies_change_nothing() -> None:
    module = FastMnmf()
    likelihoods = []
    for block_bins in (16, NUM_BINS):
        fit = started(module, recording(), is_precise=True)
        for _ in range(3):
            fit = module.iterate(fit, True, True, False, block_bins)
        likelihoods.append(module.log_likelihood(fit, block_bins))
    assert likelihoods[0] == pytest.approx(likelihoods[1], rel=1e-9)


def test_normalising_leaves_the_likelihood_and_the_images() -> None:
    module = FastMnmf()
    fit = module.iterate(started(module, recording(), is_precise=True), True, True, False, 64)
    before, image = module.log_likelihood(fit, 64), module.image(fit, 0, T)
    fit = module.normalise(fit)
    assert module.log_likelihood(fit, 64) == pytest.approx(before, abs=ROUNDING)
    torch.testing.assert_close(module.image(fit, 0, T), image, atol=1e-5, rtol=0)


def test_given_bases_keep_their_shape_until_they_are_released() -> None:
    module = FastMnmf()
    fit = started(module, recording())
    known = torch.zeros(S, NUM_BINS, 2)
    known[0] = torch.rand(NUM_BINS, 2, generator=torch.Generator().manual_seed(3)) + 0.1
    fit = module.give_bases(fit, known)
    for _ in range(3):
        fit = module.normalise(module.iterate(fit, True, True, False, 64))
    kept = fit["bases"][0, :, :2] / fit["bases"][0, :, :2].sum(0)
    torch.testing.assert_close(kept, known[0] / known[0].sum(0), atol=1e-6, rtol=1e-4)
    fit = module.iterate(module.release_bases(fit), True, True, False, 64)
    freed = fit["bases"][0, :, :2] / fit["bases"][0, :, :2].sum(0)
    assert float((freed - kept).abs().max()) > 1e-4


def test_another_stretch_follows_with_the_same_room() -> None:
    module, samples = FastMnmf(), recording()
    leader = started(module, samples[..., :4000])
    for _ in range(5):
        leader = module.iterate(leader, True, True, False, 64)
    fit = module.analyse(samples[..., 4000:], leader["scale"], FFT, False)
    fit = module.follow(fit, leader, torch.rand(S, K, fit["real"].shape[2]) + 0.1)
    fit = module.iterate(fit, False, False, False, 64)
    assert torch.equal(fit["diagonaliser"], leader["diagonaliser"])
    assert torch.equal(fit["gains"], leader["gains"])


def test_several_stretches_come_back_as_they_went_in() -> None:
    module = FastMnmf()
    samples = torch.cat([recording(0), recording(1)])
    fit = started(module, samples)
    total = sum(module.image(fit, source, T) for source in range(S))
    assert float((total - samples).abs().max()) <= SUM_BAR


@pytest.mark.parametrize("fault", ["silence", "a silent microphone", "the same microphone twice"])
def test_a_fit_bears(fault: str) -> None:
    module, samples = FastMnmf(), recording()
    if fault == "silence":
        samples = torch.zeros_like(samples)
    else:
        samples[:, 1] = 0 if fault == "a silent microphone" else samples[:, 0]
    fit = started(module, samples)
    for _ in range(12):
        fit = module.normalise(module.iterate(fit, True, True, False, 64))
    total = sum(module.image(fit, source, T) for source in range(S))
    assert float((total - samples).abs().max()) <= SUM_BAR


def low_passed(samples: Tensor) -> Tensor:
    spectra = torch.fft.rfft(samples)
    spectra[..., spectra.shape[-1] // 4 :] = 0
    return torch.fft.irfft(spectra, samples.shape[-1])


def dependent_channels(relation: str) -> Tensor:
    """Channels that depend on each other, at all frequencies or at some: float32 (1, channels, T)."""
    first, second, _ = recording()[0]
    sides = torch.stack([first, second])
    low = low_passed(sides)
    made = {
        "safety tracks": torch.cat([sides, 0.25 * sides]),
        "rounded safety tracks": torch.cat([sides, (0.25 * sides * 2**23).round() / 2**23]),
        "copies": first.repeat(3, 1),
        "opposite polarity": torch.stack([first, second, -first]),
        "mid and side": torch.stack([first, second, (first + second) / 2, (first - second) / 2]),
        "upmix": torch.tensor([[1, 0], [0, 1], [0.7, 0.7], [0.6, 0], [0, 0.6]]) @ sides,
        "mono above a frequency": low + (sides - low).mean(0),
        "a copy without treble": torch.stack([first, second, low[0]]),
        "a delayed copy": torch.stack([first, second, first.roll(5)]),
        "a faint hiss apart": torch.cat([sides, 0.5 * sides]) + 1e-6 * recording(7)[0, :1].roll(3),
        "a dead channel and a copy": torch.stack([first, second, torch.zeros(T), second]),
        "a click": 0.5 * torch.eye(3, T).flip(1),
        "fewer frames than channels": torch.cat([sides, sides.roll(9), sides.roll(20)])[:, :60],
    }
    return made[relation][None].contiguous()


RELATIONS = [
    *("safety tracks", "rounded safety tracks", "copies", "opposite polarity", "mid and side", "upmix"),
    *("mono above a frequency", "a copy without treble", "a delayed copy", "a faint hiss apart"),
    *("a dead channel and a copy", "a click", "fewer frames than channels"),
]
# No image has a reason to be louder than the recording; sources that meet in a window may add up otherwise by chance.
LOUDEST = 1.5


@pytest.mark.parametrize("projects", [True, False], ids=["projection", "steering"])
@pytest.mark.parametrize("rank_one", [True, False], ids=["ilrma", "fastmnmf2"])
@pytest.mark.parametrize("relation", RELATIONS)
def test_no_image_is_louder_than_channels_that_depend_on_each_other(
    relation: str, rank_one: bool, projects: bool
) -> None:
    module, samples = FastMnmf(), dependent_channels(relation)
    num_channels, num_samples = samples.shape[1:]
    num_sources = num_channels if rank_one else S
    generator = torch.Generator().manual_seed(1)
    scale = samples.square().mean((0, 2)).sqrt()
    fit = module.analyse(samples, torch.where(scale > 1e-7, scale, 1.0), FFT, False)
    bases = torch.rand(num_sources, NUM_BINS, K, generator=generator) + 0.01
    activations = torch.rand(num_sources, K, fit["real"].shape[2], generator=generator) + 0.01
    gains = torch.eye(num_channels) if rank_one else torch.rand(S, num_channels, generator=generator) + 0.05
    fit = module.start(fit, bases, activations, gains)
    for number in range(30):
        fit = module.iterate(fit, not rank_one, True, projects, 64)
        fit = module.normalise(fit) if number % 10 == 0 else fit
    images = torch.stack([module.image(fit, source, num_samples)[0] for source in range(num_sources)])
    assert float(images.abs().max()) <= LOUDEST * float(samples.abs().max())
    assert float((images.sum(0) - samples[0]).abs().max()) <= SUM_BAR


def test_independent_microphones_need_no_noise() -> None:
    module = FastMnmf()
    samples = recording()
    fit = module.analyse(samples, samples.square().mean((0, 2)).sqrt(), FFT, False)
    powers = (fit["real"].square() + fit["imag"].square()).mean((1, 2))
    torch.testing.assert_close(fit["dither"], module.dither * powers.clamp(min=module.silence))


def test_noise_is_taken_to_lie_only_where_channels_depend_on_each_other() -> None:
    module = FastMnmf()
    samples = dependent_channels("mono above a frequency")
    fit = module.analyse(samples, samples.square().mean((0, 2)).sqrt(), FFT, False)
    relative = fit["dither"] / (fit["real"].square() + fit["imag"].square()).mean((1, 2))
    edge = NUM_BINS // 4
    assert float(relative[: edge - 4].max()) < 1e-6
    assert float(relative[edge + 4 :].median()) > 1e-6


def test_levels_tell_where_each_source_is_heard() -> None:
    module = FastMnmf()
    fit = started(module, recording())
    for _ in range(3):
        fit = module.iterate(fit, True, True, False, 64)
    levels = module.levels(fit)
    powers = recording().square().sum((0, 2)).double()
    shares = levels.sum(0) / levels.sum()
    torch.testing.assert_close(shares, powers / powers.sum(), atol=0.1, rtol=0)
