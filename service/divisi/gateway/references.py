"""True sources that come with a recording: checked, and handed to the jobs whose models have such stems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from divisi.audio.facts import AudioFacts, AudioLimits
from divisi.audio.inspect import inspect_audio_in_child
from divisi.audio.true_source import check_true_source, mismatch
from divisi.contract.card import ModelCard
from divisi.contract.errors import InputError
from divisi.contract.job import Job
from divisi.contract.manifest import ManifestFile
from divisi.gateway.uploads import Upload
from divisi.storage.object_keys import mixture_key, reference_key


def check_references(
    upload: Upload, facts: AudioFacts, cards: Sequence[ModelCard], limits: AudioLimits
) -> dict[str, AudioFacts]:
    """Examines each true source in a process of its own; facts by stem.

    Raises:
        InputError: `unknown-reference`, no model asked for has the stem; `reference-mismatch`, another rate, length or
            number of channels than the recording's; or what an upload is refused for.
    """
    known = list(dict.fromkeys(stem for card in cards for stem in card.stems))
    for name in upload.references:
        if name not in known:
            message = f"no model asked for has the stem {name!r}; there are {', '.join(known)}"
            raise InputError(message, code="unknown-reference", known=known)
    found = {}
    for name, reference in upload.references.items():
        found[name] = own = inspect_audio_in_child(reference.path, limits)
        check_true_source(name, own.sample_rate, own.num_channels, facts.sample_rate, facts.num_channels)
        # What was not counted here the worker will notice.
        if own.exact and facts.exact and own.num_samples != facts.num_samples:
            raise mismatch(name, f"has {own.num_samples} samples; the recording has {facts.num_samples}")
    return found


def for_model(
    job: Job, card: ModelCard, upload: Upload, facts: AudioFacts, references: Mapping[str, AudioFacts]
) -> Job:
    """The job with its recording and the true sources of the stems that its model has, as files to serve."""
    recording = None
    if not upload.path.is_dir():
        recording = ManifestFile(
            "recording",
            f"recording.{facts.container}",
            mixture_key(job.job_id, job.upload),
            upload.num_bytes,
            upload.sha256,
            facts.media_type,
            upload.crc32,
        )
    sources = tuple(
        ManifestFile(
            stem,
            f"true {stem}.{references[stem].container}",
            reference_key(job.job_id, stem, job.upload),
            upload.references[stem].num_bytes,
            upload.references[stem].sha256,
            references[stem].media_type,
            upload.references[stem].crc32,
        )
        for stem in card.stems
        if stem in references
    )
    return job.model_copy(update={"recording": recording, "references": sources})
