"""Comparisons over HTTP: the jobs of one upload with several models as a table of voices by systems."""

from __future__ import annotations

import csv
import io
from typing import Annotated

from fastapi import APIRouter, Path, Response

from divisi.contract.answers import CellBody, ComparisonBody, JobBody, SystemBody
from divisi.contract.errors import NotFoundError
from divisi.contract.job import Job
from divisi.gateway.access import GatewayCaller
from divisi.gateway.bodies import group_url, job_body, reference_bodies
from divisi.gateway.job_routes import jobs_of_group
from divisi.gateway.openapi import ARCHIVE_RESPONSE, problems
from divisi.gateway.services import GatewayServices, Services
from divisi.storage.file_names import content_disposition

router = APIRouter(prefix="/v1/groups/{group}", tags=["groups"])

GroupId = Annotated[str, Path(pattern=r"^[0-9a-z]{26}$", description="Id of a group.")]


@router.get("", response_model=ComparisonBody, summary="Look at a comparison", responses=problems(404, 422, 503))
async def get_group(
    group: GroupId, services: GatewayServices, caller: GatewayCaller, response: Response
) -> ComparisonBody:
    """Every voice of every model; a model that failed has its problem in its job and empty cells."""
    response.headers["Cache-Control"] = "no-store"
    jobs = await known_group(services, group, None if caller.sees_all else caller.owner)
    return comparison_body(group, jobs, services)


@router.get(
    "/table.csv",
    summary="Download the scores of a comparison",
    response_class=Response,
    responses={
        200: {
            "description": "The table.",
            "headers": ARCHIVE_RESPONSE[200]["headers"],
            "content": {"text/csv": {"schema": {"type": "string"}}},
        },
        **problems(404, 422, 503),
    },
)
async def get_group_table(group: GroupId, services: GatewayServices, caller: GatewayCaller) -> Response:
    """A row a model, a column a voice: SI-SDR in dB, empty where there is no true source."""
    jobs = await known_group(services, group, None if caller.sees_all else caller.owner)
    text = table_of(comparison_body(group, jobs, services))
    disposition = content_disposition(jobs[0].file_name, "scores.csv", group)
    headers = {"Content-Disposition": disposition, "Cache-Control": "no-store"}
    return Response(text, media_type="text/csv", headers=headers)


async def known_group(services: Services, group: str, owner: str | None) -> list[Job]:
    """The group's jobs in the order in which their models were asked for; NotFoundError (`unknown-group`)."""
    jobs = await jobs_of_group(services, group, owner)
    if not jobs:
        raise NotFoundError(f"There is no group {group}", code="unknown-group")
    return sorted(jobs, key=lambda job: (job.place, job.job_id))


def comparison_body(group: str, jobs: list[Job], services: Services) -> ComparisonBody:
    """The table of these jobs, one or more."""
    root = services.settings.root_path
    bodies = [job_body(job, root) for job in jobs]
    titles = {card.id: card for card in services.bundles.list()}
    voices = dict.fromkeys(
        name
        for job, body in zip(jobs, bodies, strict=True)
        for name in (
            [stem.name for stem in body.stems if not stem.is_residual]
            or (titles[job.model_id].stems if job.model_id in titles else ())
        )
    )
    references = {reference.name: reference for job in reversed(jobs) for reference in reference_bodies(job, root)}
    return ComparisonBody(
        group=group,
        file_name=jobs[0].file_name,
        submitted_at=bodies[0].submitted_at,
        state="ended" if all(job.state.is_ended for job in jobs) else "running",
        input=bodies[0].input,
        voices=list(voices),
        references=[references[voice] for voice in voices if voice in references],
        systems=[
            _system(body, titles[body.model].title if body.model in titles else body.model, voices) for body in bodies
        ],
        table=f"{root}{group_url(group)}/table.csv",
        folder=f"{root}{group_url(group)}/folder.zip",
    )


def table_of(body: ComparisonBody) -> str:
    """The scores as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["model", *body.voices, "mean"])
    for system in body.systems:
        rows.writerow([system.model, *(cell.si_sdr_db for cell in system.cells), system.mean_si_sdr_db])
    return text.getvalue()


def _system(body: JobBody, title: str, voices: dict[str, None]) -> SystemBody:
    stems = {stem.name: stem for stem in body.stems}
    scores = {score.stem: score.si_sdr_db for score in body.scores}
    known = [value for value in scores.values() if value is not None]
    return SystemBody(
        model=body.model,
        title=title,
        job=body,
        cells=[CellBody(voice=voice, stem=stems.get(voice), si_sdr_db=scores.get(voice)) for voice in voices],
        resynthesis=body.resynthesis,
        mean_si_sdr_db=round(sum(known) / len(known), 3) if known else None,
    )
