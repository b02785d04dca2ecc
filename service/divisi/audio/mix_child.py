"""The child process that mixes for the gateway, which touches no samples itself.

Run as `python -m divisi.audio.mix_child REQUEST`, an object
in JSON: `parts` (pairs of path and gain), `out`, `encoding`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from divisi.audio.encode import StemFormat
from divisi.audio.mix import MixPart, mix_files


def main() -> None:
    """Writes the mix; exits with 1 and a line on standard error when it cannot."""
    os.nice(5)  # answers of the gateway go first
    request = json.loads(sys.argv[1])
    parts = [MixPart(Path(path), gain) for path, gain in request["parts"]]
    mix_files(parts, Path(request["out"]), StemFormat(request["encoding"]))


if __name__ == "__main__":
    main()
