import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from divisi.audio.recording import AudioFacts, AudioLimits
from divisi.audio.sandbox import inspect_audio, inspect_audio_in_child
from divisi.contract.errors import InputError

MakeFile = Callable[..., Path]
WriteBytes = Callable[[bytes], Path]
Inspect = Callable[[Path, AudioLimits], AudioFacts]

both_ways = pytest.mark.parametrize("inspect", [inspect_audio, inspect_audio_in_child])


@both_ways
@pytest.mark.parametrize(
    ("container", "codec"), [("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
)
def test_the_facts_are_those_of_the_file(
    make_file: MakeFile, limits: AudioLimits, inspect: Inspect, container: str, codec: str
) -> None:
    facts = inspect(make_file(container, codec, sample_rate=16_000, num_channels=1, num_samples=24_000), limits)
    assert facts == AudioFacts(container.lower(), codec.lower(), 16_000, 1, 24_000, exact=True)
    assert facts.duration_seconds == 1.5


@both_ways
def test_refusals_carry_code_message_and_facts(make_file: MakeFile, limits: AudioLimits, inspect: Inspect) -> None:
    samples = np.zeros((1, 44_100), np.float32)
    samples[0, 22_050] = np.nan
    with pytest.raises(InputError, match=r"sample at 0\.500 s in channel 1 is nan") as caught:
        inspect(make_file("WAV", "FLOAT", samples=samples), limits)
    assert caught.value.code == "non-finite-samples"
    assert caught.value.facts == {"first_seconds": 0.5, "channel": 1}


@both_ways
def test_a_file_name_that_is_no_utf8_is_a_name(
    make_file: MakeFile, tmp_path: Path, limits: AudioLimits, inspect: Inspect
) -> None:
    named = make_file("WAV").rename(tmp_path / os.fsdecode(b"caf\xe9"))
    assert inspect(named, limits).num_samples == 20_000


@both_ways
def test_what_is_no_recording_is_refused(write_bytes: WriteBytes, limits: AudioLimits, inspect: Inspect) -> None:
    with pytest.raises(InputError) as caught:
        inspect(write_bytes(b"no sound\n" * 100), limits)
    assert caught.value.code == "not-audio"


def test_when_time_runs_out_the_header_is_believed(make_file: MakeFile, limits: AudioLimits) -> None:
    path = make_file("FLAC", num_samples=200_000)
    seconds = count(step=8)  # each look at the clock finds it 8 s on; 20 s are allowed
    facts = inspect_audio(path, limits, clock=lambda: next(seconds))
    assert (facts.num_samples, facts.exact) == (200_000, False)


def test_when_time_runs_out_and_the_header_is_mute_the_count_so_far_is_given(
    make_file: MakeFile, write_bytes: WriteBytes, limits: AudioLimits
) -> None:
    # Of joined files no header says how long all of them are.
    content = 2 * make_file("FLAC", num_samples=200_000).read_bytes()
    seconds = count(step=8)
    facts = inspect_audio(write_bytes(content), limits, clock=lambda: next(seconds))
    assert 0 < facts.num_samples < 400_000
    assert not facts.exact


def test_a_decoder_that_hangs_is_killed(tmp_path: Path, limits: AudioLimits) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it waits for a writer that never comes
    with pytest.raises(InputError, match="did not come to an end") as caught:
        inspect_audio_in_child(tmp_path / "pipe", replace(limits, inspect_seconds=0.5), grace_seconds=0.5)
    assert caught.value.code == "undecodable"


def test_a_decoder_that_wants_too_much_memory_is_refused(make_file: MakeFile, limits: AudioLimits) -> None:
    # Room for one block of 1024 channels takes 256 MiB.
    path = make_file("WAV", "PCM_U8", num_channels=1_024, num_samples=10)
    with pytest.raises(InputError, match="memory") as caught:
        inspect_audio_in_child(path, replace(limits, max_channels=1_024), memory_bytes=300 * 1024**2)
    assert caught.value.code == "undecodable"


def test_a_fault_that_is_not_the_files_is_not_laid_on_it(tmp_path: Path, limits: AudioLimits) -> None:
    with pytest.raises(RuntimeError, match="FileNotFoundError"):
        inspect_audio_in_child(tmp_path / "missing", limits)


def test_the_child_gets_none_of_our_environment(
    make_file: MakeFile, limits: AudioLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[dict[str, str]] = []
    run = subprocess.run

    def spy(*args: Any, **options: Any) -> Any:
        environments.append(options["env"])
        return run(*args, **options)

    monkeypatch.setenv("DIVISI_S3_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(subprocess, "run", spy)
    inspect_audio_in_child(make_file(), limits)
    assert [sorted(environment) for environment in environments] == [["OPENBLAS_NUM_THREADS", "PYTHONPATH"]]


def test_the_child_is_small_and_quick_to_start() -> None:
    program = (
        "import resource, sys, json\nimport divisi.audio.sandbox\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(json.dumps([usage.ru_utime + usage.ru_stime, sorted(sys.modules)]))"
    )
    environment = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    seconds, modules = json.loads(subprocess.check_output([sys.executable, "-c", program], env=environment))
    assert not {"pydantic", "structlog", "asyncio", "av", "soxr", "torch"} & set(modules)
    assert seconds < 1  # processor time; about 0.14 on a quiet machine
