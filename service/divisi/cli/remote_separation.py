"""Separation by a server, for `divisi separate --server`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from divisi.cli.batches import digest_of
from divisi.cli.out_folder import OutFolder
from divisi.cli.request import CommandRequest
from divisi.cli.separation_run import SeparateOne, report_voices, report_warnings
from divisi.cli.terminal import errors, say, settings_with
from divisi.contract.errors import DivisiError, NotFoundError

if TYPE_CHECKING:
    from divisi.client import Client, Job

_KEY_IS_TAKEN = frozenset({"idempotency-key-in-flight", "idempotency-key-reused"})


def remote_separation(server: str, request: CommandRequest, *, again: bool = False) -> SeparateOne:
    """Separation by a server; its record and audio are erased there once all that was asked for is here.

    Whatever goes wrong before, a job that has succeeded or still runs stays, and the same command takes it up.

    Args:
        again: separate anew what an earlier run has left finished.
    """
    from divisi.client import Client

    key = settings_with().api_key
    client = Client(server, api_key=key.get_secret_value() if key else None)

    def separate_one(paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> None:
        last = _submit(client, paths, request, again=again)

        def watch(job: Job) -> None:
            nonlocal last
            last = job
            on_progress(job["progress"])

        try:
            job = client.wait(last["id"], on_progress=watch)
            _download(client, job, out, request)
        except BaseException as failure:
            if last["state"] in {"failed", "cancelled"} or (
                isinstance(failure, KeyboardInterrupt) and _is_cancelled(client, last)
            ):
                _erase(client, last["id"])
            else:
                _report_left(server, last)
            raise
        _erase(client, job["id"])
        if report := job["report"]:
            report_voices(paths[0], report["voices"], report["are_voices_detected"])
            report_warnings(paths[0], [warning["message"] for warning in report.get("warnings", [])])

    return separate_one


def _submit(client: Client, paths: Sequence[Path], request: CommandRequest, *, again: bool) -> Job:
    """A new job, or the one that an earlier run of the same person left, which has not failed."""
    asked = request.arguments()
    whose = [platform.node(), os.path.expanduser("~")]
    key = digest_of(paths, json.dumps([asked, *whose], sort_keys=True))
    send = partial(client.submit, paths, **asked)
    try:
        job = send(idempotency_key=key)
        if job["state"] in {"failed", "cancelled"}:
            client.delete(job["id"])
            job = send(idempotency_key=key)
    except DivisiError as error:
        if error.code not in _KEY_IS_TAKEN:
            raise
        return send()  # the server's default model has changed, or another command sends the same at this moment
    return send() if again and job["state"] == "succeeded" else job


def _download(client: Client, job: Job, out: OutFolder, request: CommandRequest) -> None:
    with out.unfinished() as folder:
        client.download_stems(job, folder)
        if request.include_pitch:
            client.download_pitch(job, folder)
        if request.include_resynthesis:
            client.download_resynthesis(job, folder)
        if request.include_plot:
            client.download_report(job, folder)
        out.publish_all(folder)


def _is_cancelled(client: Client, job: Job) -> bool:
    """Cancels a job that nobody waits for any more, unless it has ended."""
    try:
        return client.cancel(job["id"])["state"] == "cancelled"
    except DivisiError:
        return False


def _erase(client: Client, job_id: str) -> None:
    """What the caller asked for is done: a server that has left since is no failure."""
    try:
        client.delete(job_id)
    except NotFoundError:
        pass
    except DivisiError as error:
        say(f"job {job_id} was not erased on the server: {error.message}", errors)


def _report_left(server: str, job: Job) -> None:
    standing = "is finished and stays" if job["state"] == "succeeded" else "goes on"
    say(
        f"job {job['id']} {standing} on the server: the same command, without --again, fetches its stems "
        "and separates nothing anew; "
        f"or see {server.rstrip('/')}/#/jobs/{job['id']}, `divisi jobs --server {server}`",
        errors,
    )
