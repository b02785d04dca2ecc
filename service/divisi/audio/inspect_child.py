"""The child process of `inspect_audio_in_child`: limits itself, inspects one file, answers one line of JSON.

Run as `python -m divisi.audio.inspect_child REQUEST`. Keep what it imports small: it is started for every upload.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from divisi.audio.facts import AudioLimits
from divisi.audio.inspect import inspect_audio
from divisi.contract.errors import InputError


def main() -> None:
    """Reads the request from the command line, writes the answer to standard output."""
    request = json.loads(sys.argv[1])
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
