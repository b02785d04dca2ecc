"""Pitch tracks and notes over HTTP, of models that have them: `pitch.json`, `pitch.csv`, `notes.mid`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from divisi.errors import NotFoundError
from divisi.gateway.downloads import AskedConditions, answer_file
from divisi.gateway.job_routes import JobId
from divisi.gateway.openapi import FILE_HEAD_RESPONSES, file_responses, problems
from divisi.gateway.services import GatewayServices
from divisi.gateway.stem_routes import finished_job

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["pitch"])

_SUMMARIES = {
    "pitch.json": ("Download pitch tracks and notes", "application/json"),
    "pitch.csv": ("Download pitch tracks as a table", "text/csv"),
    "notes.mid": ("Download notes as a Standard MIDI File", "audio/midi"),
}


def _add_routes(name: str, summary: str, media_type: str) -> None:
    async def get_file(request: Request, job_id: JobId, services: GatewayServices, conditions: AskedConditions) -> Any:
        """Of every delivered voice. 404 (`no-pitch`) when the model gives none; else answered as a stem is."""
        job, manifest = await finished_job(services, job_id)
        for file in manifest.pitch:
            if file.name == name:
                return await answer_file(request, services, job, file, conditions)
        message = f"model {manifest.model_id} {manifest.model_version} gives no pitch tracks"
        raise NotFoundError(message, code="no-pitch", model=manifest.model_id)

    operation = name.replace(".", "_")
    router.add_api_route(
        f"/{name}",
        get_file,
        methods=["HEAD"],
        name=f"look_at_{operation}",
        summary=f"Look at {name}",
        response_class=Response,
        responses={**FILE_HEAD_RESPONSES, **problems(404, 409, 422, 503)},
    )
    schema = {"$ref": "#/components/schemas/PitchBody"} if name == "pitch.json" else None
    router.add_api_route(
        f"/{name}",
        get_file,
        methods=["GET"],
        name=f"get_{operation}",
        summary=summary,
        response_class=Response,
        responses={**file_responses(media_type, schema), **problems(404, 409, 416, 422, 503)},
    )


for _name, (_summary, _media_type) in _SUMMARIES.items():
    _add_routes(_name, _summary, _media_type)
