"""Whether a TorchServe is healthy, as an exit code: for health checks of containers, which cannot send a changing key.

python check.py KEY_FILE [ADDRESS]
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path


def is_healthy(key_file: Path, address: str) -> bool:
    """True when every worker of every model runs."""
    try:
        key = json.loads(key_file.read_text(encoding="utf-8"))["inference"]["key"]
        request = urllib.request.Request(f"{address}/ping", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(json.load(answer)["status"] == "Healthy")
    except (OSError, ValueError, KeyError):
        return False


if __name__ == "__main__":
    sys.exit(not is_healthy(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8080"))
