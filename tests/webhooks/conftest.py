"""The queue on an empty Redis, as the tests of the queue have it."""

from __future__ import annotations

from tests.queue.conftest import let_lease_run_out, make_job, manifest_of, queue, raw

__all__ = ["let_lease_run_out", "make_job", "manifest_of", "queue", "raw"]
