from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from divisi.contract.errors import InputError
from divisi.contract.job import ENDED_STATES, Job, JobEvent, JobState, Problem, new_job_id
from divisi.contract.manifest import Manifest, ResultWarning
from divisi.contract.request import Lane


def job_with(**changes: Any) -> Job:
    """A job that differs from a plain one by what is given."""
    audio = {"container": "wav", "sample_rate": 48000, "num_channels": 2, "num_samples": 480000, "exact": True}
    plain = {"job_id": new_job_id(), "model_id": "satb-small", "model_version": "1.0.0", "submitted_at": 1.8e9}
    return Job(**(plain | {"stem_format": "flac", "file_name": "Ave verum.wav", "audio": audio} | changes))


def test_a_job_survives_json() -> None:
    job = job_with(stems=("alto", "bass"), lane=Lane.BATCH, group="g", idempotency_key="k", fingerprint="f")
    assert Job.from_json(job.to_json()) == job


def test_how_far_a_job_got_is_not_part_of_what_was_asked() -> None:
    job = job_with()
    standing = {"state": JobState.RUNNING, "attempt": 2, "progress": 0.5, "stage": "a", "problem": Problem("a", "b")}
    ran = job.model_copy(update=standing)
    assert ran.to_json() == job.to_json()


def test_a_record_of_version_0_1_is_read() -> None:
    old = """{"job_id":"01k","model_id":"quartet","model_version":"1.0.0","stem_format":"wav24","submitted_at":1.5,
    "stems":["alto"],"include_residual":false,"voices":"auto","fit":{"num_bases":4,"spots":[{"name":"a","channel":1}]},
    "lane":"batch","recording":{"name":"recording","file_name":"recording.wav","key":"k","bytes":1,"sha256":"s",
    "media_type":"audio/wav"},"audio":{"num_samples":48000,"sample_rate":48000}}"""
    job = Job.from_json(old)
    assert (job.stem_format, job.include_residual, job.lane, job.stems) == ("wav24", False, Lane.BATCH, ("alto",))
    assert (job.voices, job.duration_seconds, job.place) == ("auto", 1.0, 0)
    assert job.fit == {"num_bases": 4, "spots": [{"name": "a", "channel": 1}]}
    assert job.recording is not None
    assert job.recording.key == "k"


def test_a_record_holds_its_options_though_they_are_the_defaults() -> None:
    record = json.loads(job_with(stem_format="wav").to_json())
    assert (record["stem_format"], record["include_residual"], record["lane"]) == ("wav", True, "interactive")
    assert "group" not in record


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [new_job_id(now=1_700_000_000 + second / 1000) for second in range(1000)]
    assert ids == sorted(ids)
    assert len({new_job_id(now=1.0) for _ in range(1000)}) == 1000
    assert {len(job_id) for job_id in ids} == {26}


def test_only_the_three_last_states_are_ends() -> None:
    assert {state for state in JobState if state.is_ended} == ENDED_STATES
    assert not JobState.QUEUED.is_ended
    assert not JobState.RUNNING.is_ended


def test_a_problem_keeps_code_message_and_facts_of_its_error() -> None:
    problem = Problem.from_error(InputError("too long", code="audio-too-long", limit_seconds=3))
    assert Problem.from_json(problem.to_json()) == Problem("audio-too-long", "too long", {"limit_seconds": 3})


def test_an_event_of_progress_has_no_state_and_is_not_the_last() -> None:
    event = JobEvent.from_entry("5-0", {"kind": "progress", "attempt": "1", "progress": "0.25", "stage": "separating"})
    assert (event.kind, event.progress, event.stage, event.is_last) == (None, 0.25, "separating", False)


def test_duration_is_counted_from_samples() -> None:
    assert job_with().duration_seconds == 10.0
    assert job_with(audio={}).duration_seconds == 0.0


# As version 0.1 wrote it.
OLD_MANIFEST = """{"attempt": 1, "model_id": "quartet", "model_version": "1.0.0", "stems": [{"name": "alto",
"file_name": "alto.wav", "key": "k", "bytes": 1, "sha256": "s", "media_type": "audio/wav", "is_residual": false,
"peak": 0.5, "clipped_samples": 0}], "audio": {}, "conservation_dbfs": -120.0, "real_time_factor": 0.1,
"wall_seconds": 1.0, "engine": {}, "resynthesis": null, "pitch": [], "voices": ["alto"],
"are_voices_detected": false, "views": [],
"confidence": [], "scores": []}"""


def test_a_manifest_of_version_0_1_is_read() -> None:
    manifest = Manifest.from_json(OLD_MANIFEST)
    assert (manifest.warnings, manifest.stems[0].crc32) == ((), None)


def test_warnings_survive_json() -> None:
    warning = ResultWarning("cut-at-full-scale", "3 samples of alto were cut", {"stem": "alto", "clipped_samples": 3})
    manifest = replace(Manifest.from_json(OLD_MANIFEST), warnings=(warning,))
    assert Manifest.from_json(manifest.to_json()) == manifest
