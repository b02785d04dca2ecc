from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from divisi.contract.job import Job, Problem
from divisi.contract.manifest import Manifest, ManifestStem
from divisi.worker.attempt import ASSIGNMENTS, REPLIES, Assignment, Done, Failed, Fault, Progress, Ready, Reply

STEM = ManifestStem("alto", "alto.flac", "jobs/a/attempts/1/alto.flac", 5, "ab" * 32, "audio/flac")
MANIFEST = Manifest(1, "satb-small", "1.0.0", (STEM,), {"num_samples": 5}, -400.0, 0.1, 2.0, {"name": "passthrough"})


@pytest.mark.parametrize(
    "reply",
    [
        Ready({"name": "onnx_runtime", "device": "cpu"}),
        Progress(0.5, "separating"),
        Done(MANIFEST),
        Failed(Fault.INPUT, Problem("undecodable", "line\nbreak", {"limit_seconds": 3})),
    ],
    ids=lambda reply: reply.kind,
)
def test_a_reply_is_one_line_and_comes_back_the_same(reply: Reply) -> None:
    line = REPLIES.dump_json(reply)
    assert b"\n" not in line
    assert REPLIES.validate_json(line) == reply


def test_an_assignment_carries_the_number_of_the_attempt() -> None:
    job = Job(
        job_id="a" * 26,
        model_id="satb-small",
        model_version="1.0.0",
        stem_format="flac",
        submitted_at=1.0,
        stems=("alto",),
        attempt=3,
    )
    assignment = ASSIGNMENTS.validate_json(ASSIGNMENTS.dump_json(Assignment(job, Path("/tmp/x"))))
    assert assignment.job == job
    assert assignment.job.attempt == 3


@pytest.mark.parametrize("line", [b"", b"\n", b"hello\n", b'{"kind": "other"}\n', b'{"kind": "progress"}\n'])
def test_nonsense_is_refused(line: bytes) -> None:
    with pytest.raises(ValidationError):
        REPLIES.validate_json(line)
