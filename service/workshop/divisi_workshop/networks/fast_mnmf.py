"""FastMNMF2: every instrument as if it played alone in the room, fitted to one recording by several microphones.

Sekiguchi, Bando, Nugraha, Yoshii and Kawahara, IEEE/ACM TASLP 28, 2020 (equations below: its sections III and IV).
Source s has a spectrogram of few patterns, λ_sfn = sum_k w_sfk h_skn, and gains g_sm into the channels that the matrix
Q_f of every frequency leads to (`mnmf_steps`). With p_mfn = |(Q_f x_fn)_m|² and y_mfn = sum_s λ_sfn g_sm:

    log-likelihood = - sum_mfn (p / y + log y) + N sum_f log |det Q_f|²

ILRMA (Kitamura, Ono, Sawada, Kameoka and Saruwatari, IEEE/ACM TASLP 24, 2016) is the same with as many sources as
microphones and g the identity, for good.

Exported with `torch.jit.script`: the engine calls the methods step by step, so that progress, cancelling and options
live between iterations. A fit is a dictionary of tensors; a method takes the latest, spends it and gives the next.
Axes: S sources, F frequencies, N frames, K bases, C microphones (and channels), B stretches of the recording.

    real, imag      (F, C, N)   the spectra, each microphone scaled to power one
    scale           (C,)        what they were divided by
    powers          (C, F, N)   p
    bases           (S, F, K)   w        free_bases (S, 1, K): 1 where a basis is fitted, 0 where it is given
    activations     (S, K, N)   h
    gains           (S, C)      g
    diagonaliser    (F, C, C)   Q
    dither          (F,)        noise power taken to lie on every microphone (`noise_for_rank`)
"""

import torch
from torch import Tensor, nn

from divisi_workshop.networks.mnmf_steps import (
    Fit,
    image_of,
    model_powers,
    noise_for_rank,
    powers_behind,
    update_diagonaliser,
    update_factors,
    update_gains,
)

# Noise that the spatial half takes to lie on every microphone, to the mean power at each frequency: -100 dB.
DITHER = 1e-10


class FastMnmf(nn.Module):
    """The steps of a fit.

    Attributes:
        overlap: windows that hear each sample.
        floor: of y, where nothing sounds.
        silence: least power of a frequency that its noise is measured by.
        tiny: keeps a division by zero from being one.

    Args:
        dither: noise taken to lie on every microphone at least; 0 is the model of the paper, and needs recordings that
            are nowhere silent.
    """

    def __init__(self, dither: float = DITHER) -> None:
        super().__init__()
        self.overlap = 4
        self.floor = 1e-10
        self.silence = 1e-4
        self.tiny = 1e-30
        self.dither = dither

    @torch.jit.export
    def analyse(self, stretches: Tensor, scale: Tensor, fft_length: int, is_precise: bool) -> Fit:
        """Begins a fit with the spectra of some stretches of one recording.

        Args:
            stretches: float32 (B, C, T).
            scale: float32 (C,), the level of each microphone.
            fft_length: of the windows, in samples.
            is_precise: compute in double precision.
        """
        num_stretches, num_channels, num_samples = stretches.shape
        samples = (stretches / scale[:, None]).reshape(num_stretches * num_channels, num_samples)
        if is_precise:
            samples = samples.double()
        window = torch.hann_window(fft_length, dtype=samples.dtype, device=samples.device)
        spectra = torch.stft(
            samples,
            fft_length,
            hop_length=fft_length // self.overlap,
            window=window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        # A window of a signal of power one holds this power: the model sees mean powers near one.
        spectra = spectra / window.square().sum().sqrt()
        num_bins, num_frames = spectra.shape[1], spectra.shape[2]
        spectra = spectra.reshape(num_stretches, num_channels, num_bins, num_frames).permute(2, 1, 0, 3)
        spectra = spectra.reshape(num_bins, num_channels, num_stretches * num_frames)
        real, imag = spectra.real.contiguous(), spectra.imag.contiguous()
        powers = (real.square() + imag.square()).mean(2).mean(1)
        dither = torch.maximum(self.dither * powers.clamp(min=self.silence), noise_for_rank(real, imag))
        fit: Fit = {"real": real, "imag": imag, "scale": scale, "dither": dither}
        return fit

    @torch.jit.export
    def start(self, fit: Fit, bases: Tensor, activations: Tensor, gains: Tensor) -> Fit:
        """Sets factors and gains, and lets each microphone be a channel of its own: Q_f = I.

        Args:
            bases: (S, F, K), above 0.
            activations: (S, K, N), above 0.
            gains: (S, C), not below 0.
        """
        real = fit["real"]
        num_bins, num_channels, _ = real.shape
        identity = torch.complex(torch.eye(num_channels), torch.zeros(num_channels, num_channels)).to(real.device)
        if real.dtype == torch.float64:
            identity = identity.to(torch.complex128)
        fit["diagonaliser"] = identity.repeat(num_bins, 1, 1)
        fit["gains"] = gains.to(real.dtype)
        return self.restart_factors(fit, bases, activations)

    @torch.jit.export
    def restart_factors(self, fit: Fit, bases: Tensor, activations: Tensor) -> Fit:
        """Sets factors anew and keeps the spatial half, as after the first of two steps."""
        fit["bases"] = bases.to(fit["real"].dtype)
        fit["free_bases"] = torch.ones_like(fit["bases"][:, :1])
        fit["activations"] = activations.to(fit["real"].dtype)
        fit["powers"] = powers_behind(fit["diagonaliser"], fit["real"], fit["imag"], fit["dither"])
        return fit

    @torch.jit.export
    def follow(self, fit: Fit, leader: Fit, activations: Tensor) -> Fit:
        """Takes over what another stretch of the same recording taught: rooms and instruments, not when they play.

        Args:
            fit: as `analyse` left it, made with the leader's scale.
            leader: a finished fit.
            activations: (S, K, N), above 0.
        """
        fit["diagonaliser"] = leader["diagonaliser"]
        fit["gains"] = leader["gains"]
        return self.restart_factors(fit, leader["bases"].clone(), activations)

    @torch.jit.export
    def listen_to_spots(self, fit: Fit, spots: Tensor, bases: Tensor, activations: Tensor) -> Fit:
        """A fit of factors alone to what each spot microphone hears of its own instrument.

        That is its power times the share that it has of all spots' powers, both squared: a bin that is louder at
        another spot is leakage. Iterated without gains and diagonaliser, it gives factors to `restart_factors` with.

        Args:
            fit: as `analyse` left it.
            spots: int64 (S,), the microphone of each instrument.
            bases, activations: (S, F, K) and (S, K, N), above 0.
        """
        heard = fit["real"][:, spots].square() + fit["imag"][:, spots].square()
        heard = heard.transpose(0, 1)
        shares = heard.square()
        shares = shares / (shares.sum(0) + self.tiny)
        own: Fit = {
            "powers": (heard * shares + self.floor).contiguous(),
            "bases": bases.to(heard.dtype),
            "free_bases": torch.ones_like(bases[:, :1]).to(heard.dtype),
            "activations": activations.to(heard.dtype),
            "gains": torch.eye(len(spots), dtype=heard.dtype, device=heard.device),
        }
        return own

    @torch.jit.export
    def give_bases(self, fit: Fit, bases: Tensor) -> Fit:
        """Puts known spectra, such as those of isolated notes, in the place of the first bases; they stay as given.

        Args:
            bases: (S, F, L), L at most K; a source without known spectra has zeros, and keeps its own bases.
        """
        count = bases.shape[2]
        is_given = (bases.amax(1, keepdim=True) > 0).to(fit["bases"].dtype)
        own = fit["bases"][:, :, :count]
        fit["bases"][:, :, :count] = own + is_given * (bases.to(own.dtype) - own)
        fit["free_bases"][:, :, :count] = 1 - is_given
        return fit

    @torch.jit.export
    def release_bases(self, fit: Fit) -> Fit:
        """Lets all bases be fitted from now on."""
        fit["free_bases"].fill_(1.0)
        return fit

    @torch.jit.export
    def iterate(self, fit: Fit, learns_gains: bool, learns_diagonaliser: bool, projects: bool, block_bins: int) -> Fit:
        """One iteration, none of whose steps lowers the likelihood: w, h, then g, then Q.

        Args:
            learns_gains: update g; off for ILRMA, and where the spatial half is known.
            learns_diagonaliser: update Q.
            projects: by iterative projection, else by source steering.
            block_bins: frequencies at a time: as many as the fast memory holds.
        """
        update_factors(fit, block_bins, self.floor)
        if learns_gains:
            update_gains(fit, block_bins, self.floor)
        if learns_diagonaliser:
            update_diagonaliser(fit, projects, block_bins, self.floor)
        return fit

    @torch.jit.export
    def normalise(self, fit: Fit) -> Fit:
        """Moves scale from Q to w, from g to w, from w to h, where it can grow no number out of its range.

        Given bases stay as they are.
        """
        diagonaliser = fit["diagonaliser"]
        num_channels = diagonaliser.shape[1]
        phi = (diagonaliser.real.square() + diagonaliser.imag.square()).sum(2).sum(1) / num_channels
        if bool(fit["free_bases"].amin() == 0):
            phi = phi.log().mean().exp().expand_as(phi)  # one factor for all frequencies leaves spectra their shape
        fit["diagonaliser"] = diagonaliser / phi.sqrt()[:, None, None]
        fit["powers"] /= phi[:, None]
        gain_sums = fit["gains"].sum(1).clamp(min=self.tiny)
        fit["gains"] = fit["gains"] / gain_sums[:, None]
        bases = fit["bases"] / phi[:, None] * gain_sums[:, None, None]
        basis_sums = bases.sum(1).clamp(min=self.tiny)
        fit["bases"] = bases / basis_sums[:, None]
        fit["activations"] = fit["activations"] * basis_sums[:, :, None]
        return fit

    @torch.jit.export
    def log_likelihood(self, fit: Fit, block_bins: int) -> float:
        """Of the spectra as they are scaled, without the model's constant."""
        total = torch.zeros((), dtype=torch.float64, device=fit["real"].device)
        num_bins, _, num_frames = fit["real"].shape
        for first in range(0, num_bins, block_bins):
            last = min(first + block_bins, num_bins)
            _, model = model_powers(fit["bases"][:, first:last], fit["activations"], fit["gains"], self.floor)
            total -= (fit["powers"][:, first:last] / model).sum(dtype=torch.float64)
            total -= model.log_().sum(dtype=torch.float64)
        determinants = torch.linalg.slogdet(fit["diagonaliser"].to(torch.complex128))[1]
        return float(total + 2 * num_frames * determinants.sum())

    @torch.jit.export
    def levels(self, fit: Fit) -> Tensor:
        """Power that the model gives each source at each microphone: float (S, C)."""
        spread = torch.linalg.inv(fit["diagonaliser"].to(torch.complex128))
        spread = spread.real.square() + spread.imag.square()
        loudness = torch.bmm(fit["bases"], fit["activations"].sum(2)[:, :, None])[:, :, 0].double()
        at_microphones = torch.einsum("fcm,sm,sf->sc", spread, fit["gains"].double(), loudness)
        return at_microphones * fit["scale"].double().square()

    @torch.jit.export
    def image(self, fit: Fit, source: int, num_samples: int) -> Tensor:
        """What one source brings to each microphone (`image_of`); all images together are the recording.

        The floor is shared out alike, and all is computed in double precision, so that this holds within rounding.

        Returns:
            float32 (B, C, num_samples).
        """
        diagonaliser = fit["diagonaliser"].to(torch.complex128)
        num_bins, num_channels, num_frames = fit["real"].shape
        num_sources = fit["gains"].shape[0]
        gains = fit["gains"].double()[:, None, :, None]
        image = torch.empty(num_channels, num_bins, num_frames, dtype=torch.complex64, device=diagonaliser.device)
        block_bins = 64
        for first in range(0, num_bins, block_bins):
            last = min(first + block_bins, num_bins)
            sources = torch.bmm(fit["bases"][:, first:last], fit["activations"])
            powers = sources[:, :, None].double() * gains + self.floor / num_sources
            spectra = torch.complex(fit["real"][first:last].double(), fit["imag"][first:last].double())
            image[:, first:last] = image_of(source, spectra, diagonaliser[first:last], powers).transpose(0, 1)
        fft_length = 2 * (num_bins - 1)
        hop_length = fft_length // self.overlap
        stretch_frames = num_samples // hop_length + 1
        num_stretches = num_frames // stretch_frames
        window = torch.hann_window(fft_length, device=image.device)
        stretches = image.reshape(num_channels, num_bins, num_stretches, stretch_frames).permute(2, 0, 1, 3)
        samples = torch.istft(
            stretches.reshape(num_stretches * num_channels, num_bins, stretch_frames) * window.square().sum().sqrt(),
            fft_length,
            hop_length=hop_length,
            window=window,
            center=True,
            length=num_samples,
        )
        return samples.reshape(num_stretches, num_channels, num_samples) * fit["scale"][:, None]
