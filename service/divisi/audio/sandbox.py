"""What the gateway and the worker have done to strangers' bytes in a child process, where a decoder may crash or hang.

`inspect_audio_in_child` counts a recording's samples: the gateway asks for it before it answers 202, so that a job in
the queue can be decoded. `mix_in_child` adds up stems; the gateway itself touches no samples. A child gets none of our
environment: no credentials lie in the memory of a process that decodes.

Run as `python -m divisi.audio.sandbox inspect|mix REQUEST`. Keep what it imports small: it is started for every upload.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from divisi.audio.decode import open_decoder
from divisi.audio.encode import open_encoder
from divisi.audio.recording import AudioFacts, AudioLimits, Samples
from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat

# Long enough that Python's share of the time is small, short enough to look at the clock often: 1.5 s at 44.1 kHz.
_BLOCK_LENGTH = 65_536
# Address space for an inspection: Python, numpy and the libraries take less than 250 MiB (FFmpeg included), decoding a
# few more.
_MEMORY_BYTES = 512 * 1024**2
# A child that has not come back this long after the time it was given for decoding is stuck inside a decoder.
_GRACE_SECONDS = 5.0


def inspect_audio_in_child(
    path: Path, limits: AudioLimits, *, memory_bytes: int = _MEMORY_BYTES, grace_seconds: float = _GRACE_SECONDS
) -> AudioFacts:
    """`inspect_audio` in a child, limited in memory and time and killed when it overstays. Blocks the caller.

    Args:
        path: the file.
        limits: what is accepted.
        memory_bytes: address space of the child.
        grace_seconds: time beyond `limits.inspect_seconds` before the child is killed.

    Raises:
        InputError: as `inspect_audio`; `undecodable` also when the decoder crashes, hangs or wants too much memory.
        RuntimeError: the child failed for a reason that is not the file's.
    """
    allowed_seconds = limits.inspect_seconds + grace_seconds
    request = {
        "path": os.fspath(path),
        "limits": asdict(limits),
        "memory_bytes": memory_bytes,
        "cpu_seconds": math.ceil(allowed_seconds),
    }
    try:
        child = _run_child("inspect", request, allowed_seconds)
    except subprocess.TimeoutExpired:
        raise InputError(
            f"the file cannot be decoded: the decoder did not come to an end within {allowed_seconds:.0f} s",
            code="undecodable",
        ) from None
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise InputError(f"the file cannot be decoded: the decoder crashed on it ({name})", code="undecodable")
    if child.returncode > 0:
        raise RuntimeError(f"the inspection process failed: {child.stderr.decode(errors='replace')[-2000:]}")
    answer = json.loads(child.stdout)
    if "error" in answer:
        error = answer["error"]
        raise InputError(error["message"], code=error["code"], **error["facts"])
    return AudioFacts(**answer["facts"])


def mix_in_child(parts: Sequence[MixPart], out: Path, encoding: StemFormat, seconds: float) -> None:
    """`mix_files` in a child, killed after so many seconds. Raises subprocess.SubprocessError when it fails."""
    request = {"parts": [(os.fspath(part.path), part.gain) for part in parts], "out": os.fspath(out)}
    _run_child("mix", request | {"encoding": encoding}, seconds).check_returncode()


def inspect_audio(path: Path, limits: AudioLimits, clock: Callable[[], float] = time.monotonic) -> AudioFacts:
    """Decodes a recording to count its samples and to find damage, for at most `limits.inspect_seconds`.

    Args:
        path: the file; its name means nothing.
        limits: what is accepted.
        clock: seconds, monotonic.

    Returns:
        The facts; `exact` is False when time ran out, and `num_samples` then the header's word (or the count so far, if
        larger).

    Raises:
        InputError: any code of `open_decoder` and `AudioDecoder.blocks`.
    """
    deadline = clock() + limits.inspect_seconds
    with open_decoder(path, limits) as decoder:
        for _ in decoder.blocks(_BLOCK_LENGTH):
            if clock() >= deadline:
                return replace(decoder.facts, num_samples=max(decoder.facts.num_samples, decoder.num_decoded))
        return replace(decoder.facts, num_samples=decoder.num_decoded, exact=True)


@dataclass(frozen=True)
class MixPart:
    """One recording and the factor that its samples take."""

    path: Path
    gain: float


def mix_files(parts: Sequence[MixPart], out: Path, encoding: StemFormat) -> None:
    """Adds recordings of one rate, block by block, and writes the sum; lossy codecs may pad one: the shortest ends it.

    A sum that would go beyond full scale is turned down as a whole, so that nothing of it is cut.

    Raises:
        InputError: `undecodable`, or `mix-mismatch` for other rates or channels than the first's.
    """
    largest = max((float(np.abs(block).max(initial=0)) for block in _sums(parts)), default=0.0)
    scale = np.float32(1 / max(largest, 1.0))
    with open_decoder(parts[0].path) as decoder:
        facts = decoder.facts
    with open_encoder(out, encoding, facts.sample_rate, facts.num_channels) as encoder:
        for block in _sums(parts):
            encoder.write(block * scale)


def _sums(parts: Sequence[MixPart]) -> Iterator[Samples]:
    """The parts, added up, float32 (C, n) each."""
    with ExitStack() as opened:
        decoders = [opened.enter_context(open_decoder(part.path)) for part in parts]
        facts = decoders[0].facts
        for decoder in decoders:
            if (decoder.facts.sample_rate, decoder.facts.num_channels) != (facts.sample_rate, facts.num_channels):
                raise InputError("the parts differ in rate or channels", code="mix-mismatch")
        streams = [decoder.blocks(_BLOCK_LENGTH) for decoder in decoders]
        for blocks in zip(*streams, strict=False):
            total = np.zeros((facts.num_channels, min(block.shape[-1] for block in blocks)))
            for part, block in zip(parts, blocks, strict=True):
                total += part.gain * block[:, : total.shape[1]]
            yield total.astype(np.float32)


def _run_child(task: str, request: dict[str, Any], seconds: float) -> subprocess.CompletedProcess[bytes]:
    # One thread of linear algebra: none is done, and each more reserves memory and takes time to start.
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "divisi.audio.sandbox", task, json.dumps(request)]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=seconds, check=False
    )


def main() -> None:
    """The child: reads task and request from the command line; an inspection is answered in one line of JSON."""
    task, request = sys.argv[1], json.loads(sys.argv[2])
    if task == "mix":
        os.nice(5)  # answers of the gateway go first
        parts = [MixPart(Path(path), gain) for path, gain in request["parts"]]
        mix_files(parts, Path(request["out"]), StemFormat(request["encoding"]))
        return
    _limit_resources(request["memory_bytes"], request["cpu_seconds"])
    answer_to = _keep_standard_output_to_ourselves()
    answer = _inspect(Path(request["path"]), AudioLimits(**request["limits"]))
    os.write(answer_to, json.dumps(answer).encode())


def _inspect(path: Path, limits: AudioLimits) -> dict[str, Any]:
    try:
        return {"facts": asdict(inspect_audio(path, limits))}
    except InputError as error:
        return {"error": {"message": error.message, "code": error.code, "facts": error.facts}}
    except MemoryError:
        return {"error": {"message": "decoding the file needs too much memory", "code": "undecodable", "facts": {}}}


def _limit_resources(memory_bytes: int, cpu_seconds: int) -> None:
    """No more memory and time than said, no files written, no core dump."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _keep_standard_output_to_ourselves() -> int:
    """Decoders that print shall not print into the answer. Returns the descriptor to answer on."""
    answer_to = os.dup(sys.stdout.fileno())
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return answer_to


if __name__ == "__main__":
    main()
