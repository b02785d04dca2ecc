"""What is this file? `inspect_audio` decodes all of it to know; `inspect_audio_in_child` does so where a decoder may
crash or hang.

The gateway asks this of every upload before it answers 202, so that a job in the queue can be decoded.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from divisi.audio.decode import open_decoder
from divisi.audio.facts import AudioFacts, AudioLimits
from divisi.contract.errors import InputError

__all__ = ["AudioFacts", "AudioLimits", "inspect_audio", "inspect_audio_in_child"]

# Long enough that Python's share of the time is small, short enough to look at the clock often: 1.5 s at 44.1 kHz.
_BLOCK_LENGTH = 65_536

# Address space of the child: Python, numpy and the libraries take less than 250 MiB (FFmpeg included), decoding a few
# more.
_CHILD_MEMORY_BYTES = 512 * 1024**2
# A child that has not come back this long after the time it was given for decoding is stuck inside a decoder.
_CHILD_GRACE_SECONDS = 5.0


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


def inspect_audio_in_child(
    path: Path,
    limits: AudioLimits,
    *,
    memory_bytes: int = _CHILD_MEMORY_BYTES,
    grace_seconds: float = _CHILD_GRACE_SECONDS,
) -> AudioFacts:
    """`inspect_audio` in a process of its own, limited in memory and time and killed when it overstays. Blocks the
    caller.

    The child gets none of our environment: no credentials lie in the memory of a process that parses strangers' bytes.

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
    # One thread of linear algebra: none is done, and each more reserves memory and takes time to start.
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "divisi.audio.inspect_child", json.dumps(request)]
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=allowed_seconds,
            check=False,
        )
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
