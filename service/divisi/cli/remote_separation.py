"""Separation by a server, for `divisi separate --server`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from divisi.cli.separate import Request, SeparateOne, report_voices
from divisi.cli.terminal import settings_with


def remote_separation(server: str, request: Request) -> SeparateOne:
    """Separation by a server; its record and audio are erased there once the stems are here."""
    from divisi.client import Client
    from divisi.client.wire import target_of
    from divisi.separation.stem_file import check_places

    key = settings_with().api_key
    client = Client(server, api_key=key.get_secret_value() if key else None)

    def separate_one(paths: tuple[Path, ...], folder: Path, on_progress: Callable[[float], None]) -> None:
        submitted = client.submit(
            paths,
            model=request.model,
            stem_format=request.stem_format,
            stems=request.stems,
            voices=request.voices,
            include_residual=request.include_residual,
            fit=request.fit,
        )
        try:
            job = client.wait(submitted["id"], on_progress=lambda job: on_progress(job["progress"]))
            files = [*job["stems"], *([job["resynthesis"]] if job["resynthesis"] else [])]
            for path in paths:
                check_places(path, (target_of(file, folder) for file in files))
            client.download_stems(job, folder)
            if request.include_pitch:
                client.download_pitch(job, folder)
            if request.include_resynthesis:
                client.download_resynthesis(job, folder)
            if request.include_plot:
                client.download_report(job, folder)
            if report := job["report"]:
                report_voices(paths[0], report["voices"], report["are_voices_detected"])
        finally:
            client.delete(submitted["id"])

    return separate_one
