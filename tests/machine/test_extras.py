"""A worker is installed without the gateway's extra: neither its own code nor the command line needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What only the extra `gateway` brings.
LIBRARIES = (
    "cryptography",
    "fastapi",
    "python_multipart",
    "sse_starlette",
    "standardwebhooks",
    "stream_zip",
    "uvicorn",
)
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({LIBRARIES!r}))\n"
MAKE_A_KEY = "sys.argv[1:] = ['keys', 'create', 'app']; from divisi.cli.app import main; main()"


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT + program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "program",
    [
        "import divisi.worker.supervisor",
        "sys.argv[1:] = ['worker', '--help']; from divisi.cli.app import main; main()",
        "sys.argv[1:] = ['doctor', '--help']; from divisi.cli.app import main; main()",
    ],
)
def test_a_worker_needs_nothing_of_the_gateways(program: str) -> None:
    ran = run(program)
    assert ran.returncode == 0, ran.stderr


def test_what_needs_it_says_so(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVISI_REDIS_URL", redis_url)
    ran = run(MAKE_A_KEY)
    assert ran.returncode == 1
    assert "this command needs the package cryptography" in ran.stderr.replace("\n", " ")
