"""A comparison as a folder that opens from disk, without this service or any other: a ZIP file made while it is sent.

index.html  style.css  scores.csv  audio/recording.*  audio/original/*  audio/{model}/*

The page has voices down, systems across, a player in every cell. Opened from disk browsers load neither modules nor
data: it is plain HTML with the service's style sheet beside it, waveforms drawn in, and a few lines of script that let
only one player sound at a time.
"""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from divisi.contract.card import ModelCard
from divisi.contract.errors import ConflictError
from divisi.contract.job import Job
from divisi.contract.manifest import ManifestFile
from divisi.gateway.comparisons import ComparisonBody, GroupJobs, SystemBody, comparison_body, table_of
from divisi.gateway.dependencies import GatewayServices, Services
from divisi.gateway.on_demand import zip_of
from divisi.gateway.open_routes import static_files
from divisi.gateway.openapi import ARCHIVE_RESPONSE, problems
from divisi.storage.names import content_disposition, legal_name
from divisi.storage.object_store import ObjectStore

router = APIRouter(prefix="/v1/groups/{group}", tags=["groups"])

PAGE_NAME, SCORES_NAME, AUDIO_FOLDER = "index.html", "scores.csv", "audio"
ORIGINAL = "Original"
_SUNG_AGAIN = "Mixture, sung again"
_MOST_POINTS = 256
# Louder than any voice: they would make all of them small.
_MIXTURES = ("mixture", "resynthesis")


@router.get(
    "/folder.zip",
    summary="Download a comparison to open from disk",
    response_class=Response,
    responses={
        200: {**ARCHIVE_RESPONSE[200], "description": "A ZIP file; unpack it, open `index.html`."},
        **problems(404, 409),
    },
)
async def get_group_folder(jobs: GroupJobs, services: GatewayServices) -> Any:
    """`index.html` with a player for every voice of every model, and all their audio: needs no service any more."""
    body = comparison_body(jobs, services)
    pieces = await folder_of(jobs, body, services)
    disposition = content_disposition(body.file_name, "comparison.zip", body.group)
    headers = {"Content-Disposition": disposition, "Cache-Control": "private, no-cache"}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


async def folder_of(jobs: Sequence[Job], body: ComparisonBody, services: Services) -> AsyncIterable[bytes]:
    """The ZIP file, piece by piece.

    Args:
        jobs: of the group.
        body: the same as the API shows it, with the systems in the order of the jobs.

    Raises:
        ConflictError: `job-not-finished`.
        NotFoundError, UnavailableError: the store lacks a file, or is away.
    """
    if body.state != "ended":
        raise ConflictError(f"the comparison {body.group} is not finished", code="job-not-finished")
    folder = _Folder(jobs, body, {card.id: card for card in services.bundles.list()})
    await folder.read_peaks(services.store)
    page = folder.page()
    for file in folder.files.values():
        await services.store.head(file.key)
    texts = {
        PAGE_NAME: page.encode(),
        STYLE_NAME: static_files("page")[STYLE_NAME],
        SCORES_NAME: table_of(body).encode(),
    }
    return zip_of(
        texts, folder.files, datetime.fromtimestamp(max(job.submitted_at for job in jobs), UTC), services.store
    )


class _Folder:
    """Files by their path in the folder, gathered while the page is laid out."""

    def __init__(self, jobs: Sequence[Job], body: ComparisonBody, cards: dict[str, ModelCard]) -> None:
        self.files: dict[str, ManifestFile] = {}
        self._jobs, self._body, self._cards = jobs, body, cards
        self._peaks: list[dict[str, Any]] = []
        self._references = {source.name: source for job in reversed(jobs) for source in job.references}

    async def read_peaks(self, store: ObjectStore) -> None:
        """What the workers left to draw; nothing for jobs without."""
        for job in self._jobs:
            views = job.manifest.views if job.manifest else ()
            keys = [file.key for file in views if file.name == "peaks.json"]
            self._peaks.append(json.loads(await store.get_bytes(keys[0])) if keys else {})

    def page(self) -> str:
        """The HTML; fills `files`."""
        body = self._body
        systems = list(zip(self._jobs, body.systems, self._peaks, strict=True))
        columns = [Column(ORIGINAL)] if self._references else []
        columns += [Column(system.title, system.mean_si_sdr_db, self._about(system)) for system in body.systems]
        rows = []
        for place, voice in enumerate(body.voices):
            best = max(
                (score for score in (_score(system, voice) for system in body.systems) if score is not None),
                default=None,
            )
            cells = [self._original(voice)] if self._references else []
            for job, system, peaks in systems:
                score = _score(system, voice)
                stems = {stem.name: stem for stem in job.manifest.stems} if job.manifest else {}
                is_best = score is not None and score == best and len(systems) > 1
                cells.append(
                    self._cell(stems.get(voice), f"{job.model_id}/{voice}", _wave(peaks, voice), score, is_best)
                )
            rows.append(Row(title_of(voice), colour_of(voice, place), cells))
        recording = next((job.recording for job in self._jobs if job.recording), None)
        mixture = self._cell(recording, "recording", self._first_wave("mixture"))
        if any(job.manifest and job.manifest.resynthesis for job in self._jobs):
            cells = [mixture] if self._references else []
            for job, _, peaks in systems:
                again = job.manifest.resynthesis if job.manifest else None
                cells.append(self._cell(again, f"{job.model_id}/resynthesis", _wave(peaks, "resynthesis")))
            rows.append(Row(_SUNG_AGAIN, "rest", cells))
        facts = [f"{len(systems)} systems", f"{body.input.duration_seconds or 0:.0f} s of sound"]
        if any(system.mean_si_sdr_db is not None for system in body.systems):
            facts.append("figures: SI-SDR against the true sources")
        facts.append(f"{body.submitted_at:%Y-%m-%d}")
        return comparison_page(body.file_name, " · ".join(facts), mixture, columns, rows)

    def _original(self, voice: str) -> Cell | None:
        return self._cell(self._references.get(voice), f"original/{voice}", self._first_wave(f"true {voice}"))

    def _cell(
        self, file: ManifestFile | None, name: str, wave: Wave, score: float | None = None, is_best: bool = False
    ) -> Cell | None:
        if file is None:
            return None
        parts = f"{AUDIO_FOLDER}/{name}{PurePosixPath(file.file_name).suffix}".split("/")
        path = "/".join(map(legal_name, parts))
        self.files[path] = file
        return Cell(path, score, is_best, wave)

    def _first_wave(self, track: str) -> Wave:
        return next((wave for peaks in self._peaks if (wave := _wave(peaks, track))), ())

    def _about(self, system: SystemBody) -> str:
        parts = [f"{system.model} {system.job.model_version}."]
        if system.job.problem is not None:
            parts.append(f"{system.job.state.value}: {system.job.problem.detail}")
        if system.job.report is not None:
            parts += [warning.message for warning in system.job.report.warnings]
        if card := self._cards.get(system.model):
            parts.append(card.description)
        return " ".join(parts)


def _score(system: SystemBody, voice: str) -> float | None:
    return next((cell.si_sdr_db for cell in system.cells if cell.voice == voice), None)


def _wave(peaks: dict[str, Any], track: str) -> Wave:
    """At most _MOST_POINTS points of a track of `peaks.json`, all stems on one scale."""
    tracks = peaks.get("tracks", {})
    if track not in tracks:
        return ()
    points = array("b", base64.b64decode(tracks[track]["levels"][-1]))
    own = tracks[track]["peak"]
    loudest = max([own, *(one["peak"] for name, one in tracks.items() if name not in _MIXTURES)]) or 1.0
    step = -(-len(points) // 2 // _MOST_POINTS) or 1
    stretches = (points[at : at + 2 * step] for at in range(0, len(points), 2 * step))
    return [(round(min(part[::2]) * own / loudest), round(max(part[1::2]) * own / loudest)) for part in stretches]


STYLE_NAME = "style.css"
# Each voice has the colour that it has on the service's own page (`page/dom.js`).
_NAMED = ("soprano", "alto", "tenor", "bass")
_NUM_COLOURS = 8
_HEIGHT = 60

Wave = Sequence[tuple[int, int]]
"""Least and most of each stretch, -127 to 127."""


@dataclass(frozen=True)
class Cell:
    """One player: where its file is beside the page, what it reaches, what it looks like."""

    path: str
    decibels: float | None = None
    is_best: bool = False
    wave: Wave = ()


@dataclass(frozen=True)
class Column:
    """One system, or the true sources: its title, and what is to be said of it below."""

    title: str
    mean_decibels: float | None = None
    about: str = ""


@dataclass(frozen=True)
class Row:
    """One voice, or the mixture sung again; None where a system has nothing."""

    name: str
    colour: str
    cells: Sequence[Cell | None]


def title_of(name: str) -> str:
    """A stem's name as people write it."""
    words = name.replace("_", " ").replace("-", " ")
    return words[:1].upper() + words[1:]


def colour_of(name: str, place: int) -> str:
    """End of the style sheet's class of a voice."""
    first = name.replace("_", "-").split("-")[0].rstrip("0123456789")
    return str(_NAMED.index(first) if first in _NAMED else place % _NUM_COLOURS)


def comparison_page(
    title: str, facts: str, recording: Cell | None, columns: Sequence[Column], rows: Sequence[Row]
) -> str:
    """The HTML. All texts come from people and are escaped."""
    head = "".join(f'<th scope="col">{escape(column.title)}{_mean(column)}</th>' for column in columns)
    body = "".join(_row(row, columns) for row in rows)
    about = "".join(
        f"<dt>{escape(column.title)}</dt><dd>{escape(column.about)}</dd>" for column in columns if column.about
    )
    whole = ""
    if recording is not None:
        whole = (
            f'<section class="whole voice-rest"><h2>The recording</h2>{_player(recording, "The recording")}</section>'
        )
    script = files("divisi.gateway").joinpath("comparison_page.js").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="stylesheet" href="{STYLE_NAME}">
</head>
<body>
<main class="compare">
<h1>{escape(title)}</h1>
<p class="facts">{escape(facts)}</p>
{whole}
<div class="scroller" tabindex="0" role="region" aria-label="Voices and systems">
<table class="comparison" style="min-width: {7 + 12 * len(columns)}rem">
<thead><tr><th scope="col">Voice</th>{head}</tr></thead>
<tbody>{body}</tbody>
</table>
</div>
<section><h2>Systems</h2><dl>{about}</dl></section>
</main>
<script>{script}</script>
</body>
</html>
"""


def _mean(column: Column) -> str:
    return "" if column.mean_decibels is None else f"<small>mean {column.mean_decibels:.1f} dB</small>"


def _row(row: Row, columns: Sequence[Column]) -> str:
    cells = "".join(
        "<td>–</td>" if cell is None else f"<td>{_player(cell, f'{row.name}, {column.title}')}</td>"
        for cell, column in zip(row.cells, columns, strict=True)
    )
    return f'<tr class="voice-{row.colour}"><th scope="row">{escape(row.name)}</th>{cells}</tr>'


def _player(cell: Cell, label: str) -> str:
    figure = ""
    if cell.decibels is not None:
        best = " best" if cell.is_best else ""
        figure = f'<span class="figure{best}">{cell.decibels:.1f} dB</span>'
    player = f'<audio controls preload="metadata" src="{escape(cell.path)}" aria-label="{escape(label)}"></audio>'
    return f'<div class="cell">{figure}{_drawing(cell.wave)}{player}</div>'


def _drawing(wave: Wave) -> str:
    if not wave:
        return ""
    scale = _HEIGHT / 2 / 127
    lines = (
        f"M{x} {_HEIGHT / 2 - high * scale:.0f}v{max(1, (high - low) * scale):.0f}"
        for x, (low, high) in enumerate(wave)
    )
    box = f"0 0 {len(wave)} {_HEIGHT}"
    return f'<svg viewBox="{box}" preserveAspectRatio="none" aria-hidden="true"><path d="{"".join(lines)}"/></svg>'
