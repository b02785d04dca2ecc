"""What a musician should know of a finished separation before relying on it: where the files do not hold what they
seem to, or the model had little to say. One sentence each, the same in the job, at the terminal and on the page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from divisi.contract.files import StemFormat
from divisi.contract.manifest import ResultWarning
from divisi.delivery.files import Energies, StemFile
from divisi.separation.independent_fit import independent_channels
from divisi.separation.survey import Survey

# More than half of the energy: the stems are not what the recording mostly is.
_MOST = 0.5
# Where it is loud (-60 dBFS): the quietest choir recording worth separating is louder.
_NEARLY_SILENT = 1e-6
# -140 dBFS, less than the last bit of 24; what rounding leaves of a constant is below.
_SILENT = 1e-14
# -30 dBFS: plosives and wind stay below; no converter's offset is as large unless something is wrong.
_LARGE_OFFSET = 0.0316
# Of the loud time: breaths and consonants of a choir are far less.
_ONLY_NOISE = 0.9


@dataclass(frozen=True)
class Outcome:
    """What was found while stems were written.

    Attributes:
        energies: of the recording and what is no stem's.
        detected_nobody: `auto` found no voices.
        has_all_stems: every stem of the model was asked for, so that the residual is what none explains.
        is_fitted: the model was fitted to the recording's channels.
        accompaniment: name of the stem of what accompanies the voices, the last, where it is one.
    """

    energies: Energies
    detected_nobody: bool
    has_all_stems: bool
    is_fitted: bool
    accompaniment: str | None = None


def warnings_of(
    survey: Survey, asked: StemFormat, files: Sequence[StemFile], outcome: Outcome
) -> tuple[ResultWarning, ...]:
    """Everything to know of one delivery, the most important first.

    Args:
        survey: of the recording.
        asked: the format that was asked for.
        files: stems, residual and resynthesis.
        outcome: see there.
    """
    encoding = asked.for_peak(survey.peak)
    found = [*_of_the_music(survey, outcome)]
    if outcome.is_fitted and survey.loud_power:
        found.extend(_of_the_channels(survey, files))
    if encoding is not asked and encoding is StemFormat.WAV32F:
        found.append(_as_float(survey.peak))
    for file in files:
        if file.clipped_samples:
            found.append(_cut(file))
        elif file.peak > 1 and not encoding.is_lossless:
            found.append(_beyond_full_scale(file))
    return tuple(found)


def _of_the_music(survey: Survey, outcome: Outcome) -> Sequence[ResultWarning]:
    energies, found = outcome.energies, []
    if survey.loud_power < _SILENT:
        found.append(ResultWarning("silent", "The recording is silent: there was nothing to separate."))
    elif survey.loud_power < _NEARLY_SILENT:
        level = _rounded(10 * math.log10(survey.loud_power))
        message = (
            f"The recording is nearly silent: {level:g} dBFS where it is loudest. What is in the stems may be "
            "noise; check that the right channel was recorded, or record it louder."
        )
        found.append(ResultWarning("nearly-silent", message, {"loud_dbfs": level}))
    if survey.noise_share > _ONLY_NOISE:
        message = (
            "No voices were found in the recording: nothing in it has a pitch. What is in the stems is noise; "
            "check that the right file and channel were sent."
        )
        found.append(ResultWarning("no-voices-found", message, {"noise_share": round(survey.noise_share, 4)}))
    elif outcome.detected_nobody:
        message = "No voices were found in the recording, so all that the model knows were separated."
        found.append(ResultWarning("no-voices-found", message))
    if outcome.accompaniment and energies.last_stem:
        found.append(_accompanied(outcome.accompaniment, energies))
    share = energies.residual / energies.music if energies.music else 0.0
    if outcome.has_all_stems and share > _MOST and survey.loud_power >= _SILENT:
        percent = min(round(100 * share), 100)
        message = (
            f"{percent} % of the energy is in the residual: most of what was recorded is none of the stems. "
            "Is it what this model separates? Another model may know it."
        )
        found.append(ResultWarning("mostly-residual", message, {"residual_share": round(min(share, 1.0), 4)}))
    if energies.largest_offset > _LARGE_OFFSET:
        offset = _dbfs(energies.largest_offset)
        message = (
            f"The recording has an offset or rumble below all music ({offset:g} dBFS). It is in the residual alone; "
            "the stems are without it."
        )
        found.append(ResultWarning("offset-in-residual", message, {"offset_dbfs": offset}))
    return found


def _accompanied(stem: str, energies: Energies) -> ResultWarning:
    level = _rounded(10 * math.log10(energies.last_stem / energies.music))
    message = (
        f"Something plays beside the voices, {-level:g} dB below the recording as a whole: it is in the stem {stem}. "
        "Voices may keep a little of it; without it they come out better."
    )
    return ResultWarning("accompanied", message, {"stem": stem, "level_db": level})


def _of_the_channels(survey: Survey, files: Sequence[StemFile]) -> Sequence[ResultWarning]:
    """Channels as the user counts them, from 1."""
    independent = independent_channels(survey.covariance)
    dependent = [channel for channel in range(survey.num_channels) if channel not in independent.channels]
    if not dependent:
        return []
    count = len(independent.channels)
    sources = "1 source" if count == 1 else f"{count} sources"
    relations = []
    for channel in dependent:
        parts = [str(part + 1) for part in independent.parts_of(channel, survey.covariance)]
        noun = "channel" if len(parts) == 1 else "channels"
        relations.append(f"channel {channel + 1} is " + (f"made of {noun} {_listed(parts)}" if parts else "silent"))
    message = f"Not every channel is a microphone of its own: {_listed(relations)}. At most {sources} can be separated"
    silent = [file.name for file in files if not file.is_residual and file.peak == 0]
    if silent:
        message += f", so {_listed(silent)} {'is' if len(silent) == 1 else 'are'} silent"
    message += "; record more microphones to separate more." if count > 1 else "; a trained model can separate more."
    facts = {
        "independent_channels": [channel + 1 for channel in independent.channels],
        "dependent_channels": [channel + 1 for channel in dependent],
    }
    return [ResultWarning("channels-depend", message, facts)]


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _as_float(peak: float) -> ResultWarning:
    level = _dbfs(peak)
    message = (
        f"The recording goes {level:g} dB beyond full scale, so the files are 32-bit float WAV, which hold all of it. "
        f"Turn them down by {level:g} dB before you convert them to another format."
    )
    return ResultWarning("delivered-as-float", message, {"peak_dbfs": level})


def _cut(file: StemFile) -> ResultWarning:
    level = _dbfs(file.peak)
    noun = "sample" if file.clipped_samples == 1 else "samples"
    message = (
        f"{file.clipped_samples} {noun} of {file.name} were cut at full scale, by up to {level:g} dB; "
        "the format wav32f (--format wav32f) keeps them."
    )
    if file.is_residual:
        message += " Until then stems and residual do not sum to the recording."
    facts = {"stem": file.name, "clipped_samples": file.clipped_samples, "peak_dbfs": level}
    return ResultWarning("cut-at-full-scale", message, facts)


def _beyond_full_scale(file: StemFile) -> ResultWarning:
    level = _dbfs(file.peak)
    message = (
        f"{file.name} goes {level:g} dB beyond full scale, where most players cut it off; "
        "the format wav32f (--format wav32f) keeps it."
    )
    return ResultWarning("beyond-full-scale", message, {"stem": file.name, "peak_dbfs": level})


def _dbfs(amplitude: float) -> float:
    return _rounded(20 * math.log10(amplitude))


def _rounded(decibels: float) -> float:
    """To a tenth; what is more than nothing does not become nothing."""
    return round(decibels, 1) or round(decibels, 5)
