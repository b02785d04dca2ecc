"""The updates of FastMNMF2 and ILRMA, as functions: factors and gains, then one demixing matrix per frequency.

Source s at frequency f has the covariance Q_f^-1 diag(g_s) Q_f^-H between microphones: Q_f makes all sources'
covariances diagonal at once (Sekiguchi, Bando, Nugraha, Yoshii and Kawahara, "Fast multichannel nonnegative matrix
factorization with directivity-aware jointly-diagonalizable spatial covariance matrices", IEEE/ACM TASLP 28, 2020).
Row m of Q_f is q_fm^H.

Given V_fm, the mean over frames of x x^H / y_m, row m minimises q^H V_fm q under the log-determinant of Q_f. Both known
ways take the covariances alone, never the frames again:

- iterative source steering (Scheibler and Ono, "Fast and stable blind source separation with rank-1 updates", ICASSP
  2020): rank-1 updates of all of Q_f, no inverse;
- iterative projection (Ono, "Stable and fast update rules for independent vector analysis based on auxiliary function
  technique", WASPAA 2011): row by row, with a linear system for each.

Neither lowers the likelihood. All functions are compiled by torch.jit.script. Axes: F frequencies, N frames, C
microphones and, as many, channels m of the diagonaliser.
"""

import torch
from torch import Tensor

Fit = dict[str, Tensor]
"""A fit in the making: see `fast_mnmf`."""


def update_factors(fit: Fit, block_bins: int, floor: float, tiny: float = 1e-30) -> None:
    """w, then h: multiplicative updates by majorisation, eqs. (35) and (36).

    w_fk ← w_fk sqrt( sum_n h_kn a_fn / sum_n h_kn b_fn ) with a = sum_m g_m p/y², b = sum_m g_m /y, and h likewise
    over the frequencies, with what the new w makes of y.
    """
    bases, activations, gains, powers = fit["bases"], fit["activations"], fit["gains"], fit["powers"]
    raising, lowering = torch.zeros_like(activations), torch.zeros_like(activations)
    transposed = activations.transpose(1, 2).contiguous()
    for first in range(0, bases.shape[1], block_bins):
        last = min(first + block_bins, bases.shape[1])
        own_bases, own_powers = bases[:, first:last], powers[:, first:last]
        up, down = _pulls(own_bases, activations, gains, own_powers, floor)
        ratio = (torch.bmm(up, transposed) / torch.bmm(down, transposed).clamp(min=tiny)).sqrt()
        own_bases *= 1 + fit["free_bases"] * (ratio - 1)
        up, down = _pulls(own_bases, activations, gains, own_powers, floor)
        raising += torch.bmm(own_bases.transpose(1, 2), up)
        lowering += torch.bmm(own_bases.transpose(1, 2), down)
    fit["activations"] = activations * (raising / lowering.clamp(min=tiny)).sqrt()


def update_gains(fit: Fit, block_bins: int, floor: float, tiny: float = 1e-30) -> None:
    """g_m ← g_m sqrt( sum_fn λ p/y² / sum_fn λ/y ): eq. (37)."""
    bases, gains, powers = fit["bases"], fit["gains"], fit["powers"]
    raising, lowering = torch.zeros_like(gains), torch.zeros_like(gains)
    for first in range(0, bases.shape[1], block_bins):
        last = min(first + block_bins, bases.shape[1])
        sources, model = model_powers(bases[:, first:last], fit["activations"], gains, floor)
        sources = sources.flatten(1)
        inverse = model.reciprocal_()
        lowering += sources @ inverse.flatten(1).t()
        inverse = inverse.square_() * powers[:, first:last]
        raising += sources @ inverse.flatten(1).t()
    fit["gains"] = gains * (raising / lowering.clamp(min=tiny)).sqrt()


def update_diagonaliser(fit: Fit, projects: bool, block_bins: int, floor: float) -> None:
    diagonaliser, real, imag = fit["diagonaliser"].clone(), fit["real"], fit["imag"]
    for first in range(0, real.shape[0], block_bins):
        last = min(first + block_bins, real.shape[0])
        _, model = model_powers(fit["bases"][:, first:last], fit["activations"], fit["gains"], floor)
        own_real, own_imag, dither = real[first:last], imag[first:last], fit["dither"][first:last]
        covariances = weighted_covariances(own_real, own_imag, model.reciprocal_(), dither)
        if projects:
            rows = project(diagonaliser[first:last], covariances)
        else:
            rows = steer(diagonaliser[first:last], covariances)
        diagonaliser[first:last] = rows
        fit["powers"][:, first:last] = powers_behind(rows, own_real, own_imag, dither)
    fit["diagonaliser"] = diagonaliser


def model_powers(bases: Tensor, activations: Tensor, gains: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """λ (S, F, N) and y (C, F, N)."""
    sources = torch.bmm(bases, activations)
    channels = (gains.t() @ sources.flatten(1)).reshape(gains.shape[1], sources.shape[1], sources.shape[2])
    return sources, channels.add_(floor)


def _pulls(bases: Tensor, activations: Tensor, gains: Tensor, powers: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """What pulls λ up, sum_m g_m p/y², and down, sum_m g_m / y: (S, F, N) each."""
    sources, model = model_powers(bases, activations, gains, floor)
    inverse = model.reciprocal_()
    down = (gains @ inverse.flatten(1)).reshape(sources.shape)
    inverse = inverse.square_() * powers
    return (gains @ inverse.flatten(1)).reshape(sources.shape), down


def powers_behind(diagonaliser: Tensor, real: Tensor, imag: Tensor, dither: Tensor) -> Tensor:
    """p_mfn = |(Q_f x_fn)_m|², as if noise of power `dither` lay on every microphone.

    Args:
        diagonaliser: complex (F, C, C).
        real, imag: float (F, C, N), the spectra.
        dither: float (F,), keeps microphones that are silent, or depend on others, from an infinite likelihood.

    Returns:
        float (C, F, N).
    """
    behind = torch.bmm(diagonaliser, torch.complex(real, imag))
    row_powers = diagonaliser.real.square().sum(2) + diagonaliser.imag.square().sum(2)
    powers = behind.real.square() + behind.imag.square() + (dither[:, None] * row_powers)[:, :, None]
    return powers.transpose(0, 1).contiguous()


def noise_for_rank(real: Tensor, imag: Tensor, least: float = 1e-5) -> Tensor:
    """The noise that makes the microphones of each frequency as independent as single precision needs.

    Copies of a channel, delayed or not, or sums of others leave directions in which nothing sounds, at all frequencies
    or at some. To these only rounding could be fitted: Q and its inverse would grow without bound. Where the weakest
    direction holds less than `least` of the mean, noise makes up for the rest; elsewhere, as in rooms, there is none.

    Args:
        real, imag: float (F, C, N), the spectra.
        least: -50 dB; single precision rounds at -70.

    Returns:
        float (F,), power at every microphone, 0 where microphones are independent.
    """
    spectra = torch.complex(real, imag)
    covariances = torch.bmm(spectra, spectra.mH).to(torch.complex128) / real.shape[2]
    strengths = torch.linalg.eigvalsh(covariances)
    return (least * strengths.mean(1) - strengths[:, 0]).clamp(min=0.0).to(real.dtype)


def weighted_covariances(real: Tensor, imag: Tensor, weights: Tensor, dither: Tensor) -> Tensor:
    """V_fm = mean over frames of w_mfn (x_fn x_fn^H + dither I), for all m at once.

    The products x_i conj(x_j), as C(C + 1) real rows, times the weights in one real matrix product: a quarter of the
    arithmetic of complex products. They are made for the frequencies at hand and never kept.

    Args:
        real, imag: float (F, C, N), the spectra.
        weights: float (C, F, N), one weight per channel of the diagonaliser.
        dither: as in `powers_behind`.

    Returns:
        complex (F, C, C, C), axes f, m, i, j.
    """
    num_bins, num_channels, num_frames = real.shape
    num_pairs = num_channels * (num_channels + 1) // 2
    products = torch.empty(num_bins, 2 * num_pairs, num_frames, dtype=real.dtype, device=real.device)
    place = 0
    for first in range(num_channels):
        end = place + num_channels - first
        products[:, place:end] = real[:, first : first + 1] * real[:, first:]
        products[:, place:end].addcmul_(imag[:, first : first + 1], imag[:, first:])
        products[:, place] += dither[:, None]
        products[:, num_pairs + place : num_pairs + end] = imag[:, first : first + 1] * real[:, first:]
        products[:, num_pairs + place : num_pairs + end].addcmul_(
            real[:, first : first + 1], imag[:, first:], value=-1.0
        )
        place = end
    sums = torch.bmm(products, weights.permute(1, 2, 0)) / num_frames
    upper = torch.complex(sums[:, :num_pairs], sums[:, num_pairs:]).transpose(1, 2)
    covariances = torch.empty(
        [num_bins, num_channels, num_channels, num_channels], dtype=upper.dtype, device=upper.device
    )
    place = 0
    for first in range(num_channels):
        end = place + num_channels - first
        covariances[:, :, first:, first] = upper[:, :, place:end].conj()
        covariances[:, :, first, first:] = upper[:, :, place:end]
        place = end
    return covariances


def steer(diagonaliser: Tensor, covariances: Tensor) -> Tensor:
    """One sweep of iterative source steering.

    For k = 1 … C: Q ← Q - v q_k^H with v_m = (q_m^H V_m q_k) / (q_k^H V_m q_k) for m ≠ k and
    v_k = 1 - (q_k^H V_k q_k)^-1/2.

    Args:
        diagonaliser: complex (F, C, C).
        covariances: complex (F, C, C, C), see `weighted_covariances`.
    """
    rows = diagonaliser.clone()
    sizes = torch.diagonal(covariances, dim1=2, dim2=3).real
    for k in range(rows.shape[1]):
        pivot = rows[:, k].clone()
        steered = (covariances * pivot.conj()[:, None, None, :]).sum(-1)
        powers = (pivot[:, None] * steered).sum(-1).real
        powers = torch.maximum(powers, _least_power(pivot, sizes))
        scale = (rows * steered).sum(-1) / powers
        scale[:, k] = (1 - powers[:, k].rsqrt()).to(scale.dtype)
        rows -= scale[:, :, None] * pivot[:, None]
    return rows


def project(diagonaliser: Tensor, covariances: Tensor) -> Tensor:
    """One sweep of iterative projection: q_m = (Q V_m)^-1 e_m, then scaled so that q_m^H V_m q_m = 1.

    Args:
        diagonaliser: complex (F, C, C).
        covariances: complex (F, C, C, C), see `weighted_covariances`.
    """
    rows = diagonaliser.clone()
    sizes = torch.diagonal(covariances, dim1=2, dim2=3).real
    unit = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device).expand_as(rows)
    for m in range(rows.shape[1]):
        column = torch.linalg.solve(rows @ covariances[:, m], unit[:, :, m : m + 1])
        power = (column.mH @ covariances[:, m] @ column).real[:, :, 0]
        least = _least_power(column[:, :, 0], sizes[:, m : m + 1])
        rows[:, m] = (column[:, :, 0] * torch.maximum(power, least).rsqrt()).conj()
    return rows


def _least_power(row: Tensor, sizes: Tensor, rounding: float = 1e-7, tiny: float = 1e-30) -> Tensor:
    """What q^H V q may not fall below: (F, C) for q (F, C) and the diagonals (F, m, C) of V.

    It is a sum of terms that may cancel; less than 1e-7 of their size is rounding, in single precision.
    """
    squares = (row.real.square() + row.imag.square())[:, None]
    return rounding * (squares * sizes).sum(-1) + tiny


def image_of(source: int, spectra: Tensor, diagonaliser: Tensor, powers: Tensor, loudest: float = 4.0) -> Tensor:
    """The image of one source at each microphone, never far louder than what was recorded there.

    The multichannel Wiener estimate (section III-D): image c is sum_m [Q^-1]_cm (λ g_m / y_m) (Q x)_m. All images
    together are the recording, but where the matrix is nearly singular or the model fits badly one may be many times as
    loud, and the others its opposite. There each source takes the share of every microphone that the model gives it,
    which again sums up to the recording and can be no louder.

    Args:
        source: its place.
        spectra: complex128 (F, C, N), the recording.
        diagonaliser: complex128 (F, C, C), Q.
        powers: float64 (S, F, C, N), λ g of every source, above 0: in channels, not at microphones.
        loudest: power of an image to that of the recording, over all microphones of a bin. Sources that partly cancel
            each other are louder than their sum, but seldom twice as loud at all microphones at once.

    Returns:
        complex128 (F, C, N).
    """
    behind = torch.bmm(diagonaliser, spectra) / powers.sum(0)
    spread = torch.linalg.inv(diagonaliser)
    spread_powers = _power(spread)
    most = loudest * _power(spectra).sum(1)
    is_too_loud = torch.zeros_like(most, dtype=torch.bool)
    levels = torch.zeros_like(powers[source])
    for place in range(powers.shape[0]):
        image = torch.bmm(spread, behind * powers[place])
        # Of all sources, so that they take their shares in the same bins. What is not finite is too loud.
        is_too_loud |= (_power(image).sum(1) <= most).logical_not()
        levels += torch.bmm(spread_powers, powers[place])
    image = torch.bmm(spread, behind * powers[source])
    shared = spectra * (torch.bmm(spread_powers, powers[source]) / levels)
    return torch.where(is_too_loud[:, None], shared, image)


def _power(values: Tensor) -> Tensor:
    return values.real.square() + values.imag.square()
