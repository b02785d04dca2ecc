"""A comparison as a folder that opens from disk, without this service or any other: a ZIP file made while it is sent.

index.html  style.css  scores.csv  audio/recording.*  audio/original/*  audio/{model}/*

The page has voices down, systems across, a player in every cell, and the words of the service's own page in one of its
languages. Opened from disk browsers load neither modules nor data: it is plain HTML with the service's style sheet
beside it, waveforms drawn in, and a few lines of script that let only one player sound at a time.
"""

from __future__ import annotations

import base64
import json
import re
from array import array
from collections.abc import AsyncIterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import PurePosixPath
from string import Template, ascii_lowercase
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Header, Query, Response

from divisi.contract.answers import ComparisonBody, SystemBody
from divisi.contract.errors import ConflictError
from divisi.contract.job import Job
from divisi.contract.manifest import ManifestFile
from divisi.gateway.comparisons import GroupJobs, comparison_body, table_of
from divisi.gateway.dependencies import GatewayServices, Services
from divisi.gateway.on_demand import zip_answer, zip_of
from divisi.gateway.open_routes import static_files
from divisi.gateway.openapi import ARCHIVE_RESPONSE, problems
from divisi.storage.names import content_disposition, legal_name
from divisi.storage.object_store import ObjectStore

router = APIRouter(prefix="/v1/groups/{group}", tags=["groups"])

_FOLDER = files("divisi.gateway")
_STYLE = "style.css"
# Each voice has the colour that it has on the service's own page (`page/dom.js`).
_NAMED = ("soprano", "alto", "tenor", "bass")
_NUM_COLOURS = 8
_HEIGHT = 60
_MOST_POINTS = 256
# Louder than any voice: they would make all of them small.
_MIXTURES = ("mixture", "resynthesis")

Language = Literal["en", "de", "es", "fr", "it"]
Wave = Sequence[tuple[int, int]]
"""Least and most of each stretch, -127 to 127."""


@router.get(
    "/folder.zip",
    summary="Download a comparison to open from disk",
    response_class=Response,
    responses={
        200: {**ARCHIVE_RESPONSE[200], "description": "A ZIP file; unpack it, open `index.html`."},
        **problems(404, 409),
    },
)
async def get_group_folder(
    jobs: GroupJobs,
    services: GatewayServices,
    language: Annotated[Language | None, Query(description="Of the page; else `Accept-Language`.")] = None,
    accept_language: Annotated[str, Header(alias="Accept-Language")] = "",
) -> Any:
    """`index.html` with a player for every voice of every model, and all their audio: needs no service any more."""
    body = comparison_body(jobs, services)
    pieces = await folder_of(jobs, body, services, Words(language or first_language(accept_language)))
    return zip_answer(pieces, content_disposition(body.file_name, "comparison.zip", body.group))


def first_language(header: str) -> Language:
    """The first of an Accept-Language header, which browsers send in order, that the page speaks; else English."""
    asked = [tag.strip()[:2].lower() for tag in header.split(",")]
    return next((known for tag in asked for known in get_args(Language) if tag == known), "en")


class Words:
    """What the service's own page says in a language (`page/language.js`)."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._words: dict[str, Any] = json.loads(static_files("page")[f"words.{language}.json"])

    def say(self, name: str, **values: str | int) -> str:
        """The words of this name with these values; their form by `count`, as far as a few things go."""
        words = self._words[name]
        if isinstance(words, dict):
            words = words["one" if values["count"] == 1 else "other"]
        return re.sub(r"\{(\w+)\}", lambda value: str(values[value[1]]), words)

    def of_model(self, model: str, otherwise: str, room: Literal["model", "about"] = "model") -> str:
        """What a model is called, or is about; what its card says where there are no words."""
        return str(self._words.get(f"{room}.{model}", otherwise))

    def part(self, stem: str) -> str:
        """A stem's name as people write it: `alto_2` is "Alto 2"."""
        rest = stem.lstrip(ascii_lowercase)
        first = stem.removesuffix(rest)
        words = self._words.get(f"part.{first}", first) + rest.replace("_", " ").replace("-", " ")
        return str(words[:1].upper() + words[1:])

    def number(self, value: float) -> str:
        """To a tenth, with the language's decimal sign."""
        return f"{value:.1f}".replace(".", "." if self.language == "en" else ",")


async def folder_of(
    jobs: Sequence[Job], body: ComparisonBody, services: Services, words: Words
) -> AsyncIterable[bytes]:
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
    folder = _Folder(jobs, body, [await _peaks_of(job, services.store) for job in jobs], words)
    page = folder.page({card.id: card.description for card in services.bundles.list()})
    for file in folder.files.values():
        await services.store.head(file.key)
    texts = {
        "index.html": page.encode(),
        _STYLE: static_files("page")[_STYLE],
        "scores.csv": table_of(body).encode(),
    }
    submitted_at = datetime.fromtimestamp(max(job.submitted_at for job in jobs), UTC)
    return zip_of(texts, folder.files, submitted_at, services.store)


async def _peaks_of(job: Job, store: ObjectStore) -> dict[str, Any]:
    """What the worker left to draw; nothing for jobs without."""
    views = job.manifest.views if job.manifest else ()
    keys = [file.key for file in views if file.name == "peaks.json"]
    peaks: dict[str, Any] = json.loads(await store.get_bytes(keys[0])) if keys else {}
    return peaks


class _Folder:
    """The page, and the files that it plays by their path beside it, gathered while it is laid out.

    All texts come from people and are escaped.
    """

    def __init__(
        self, jobs: Sequence[Job], body: ComparisonBody, peaks: Sequence[dict[str, Any]], words: Words
    ) -> None:
        self.files: dict[str, ManifestFile] = {}
        self._body, self._peaks, self._words = body, peaks, words
        self._systems = list(zip(jobs, body.systems, peaks, strict=True))
        self._references = {source.name: source for job in reversed(jobs) for source in job.references}
        self._recording = next((job.recording for job in jobs if job.recording), None)

    def page(self, descriptions: Mapping[str, str]) -> str:
        """The HTML; fills `files`. `descriptions` are of models, by their ids."""
        body, words = self._body, self._words
        title = words.say("compare.recording")
        recording = self._player(self._recording, "recording", title, self._first_wave("mixture"))
        whole = f'<section class="whole voice-rest"><h2>{escape(title)}</h2>{recording}</section>' if recording else ""
        heads = [escape(words.say("compare.original"))] if self._references else []
        heads += [escape(self._title(system)) + self._mean(system) for system in body.systems]
        rows = [self._voice(voice, place) for place, voice in enumerate(body.voices)]
        if any(job.manifest and job.manifest.resynthesis for job, *_ in self._systems):
            rows.append(self._sung_again())
        seconds = words.say("seconds", number=f"{body.input.duration_seconds or 0:.0f}")
        facts = [words.say("compare.systems", count=len(body.systems)), words.say("job.of-sound", time=seconds)]
        if any(system.mean_si_sdr_db is not None for system in body.systems):
            facts.append(f"dB: {words.say('figures.si-sdr')}")
        facts.append(f"{body.submitted_at:%Y-%m-%d}")
        about = [(self._title(one), self._about(one, descriptions.get(one.model, ""))) for one in body.systems]
        return Template((_FOLDER / "comparison_page.html").read_text(encoding="utf-8")).substitute(
            language=words.language,
            table=escape(words.say("compare.table")),
            voice=escape(words.say("compare.voice")),
            systems=escape(words.say("compare.about")),
            title=escape(body.file_name),
            facts=escape(" · ".join(facts)),
            recording=whole,
            width=7 + 12 * len(heads),
            head="".join(f'<th scope="col">{head}</th>' for head in heads),
            rows="".join(rows),
            about="".join(f"<dt>{escape(title)}</dt><dd>{escape(text)}</dd>" for title, text in about),
            script=(_FOLDER / "comparison_page.js").read_text(encoding="utf-8"),
        )

    def _voice(self, voice: str, place: int) -> str:
        title, original = self._words.part(voice), self._words.say("compare.original")
        scores = [_score(system, voice) for system in self._body.systems]
        best = max((score for score in scores if score is not None), default=None)
        cells = []
        if self._references:
            wave = self._first_wave(f"true {voice}")
            source = self._references.get(voice)
            cells.append(self._player(source, f"original/{voice}", f"{title}, {original}", wave))
        for (job, system, peaks), score in zip(self._systems, scores, strict=True):
            stems = {stem.name: stem for stem in job.manifest.stems} if job.manifest else {}
            is_best = score is not None and score == best and len(scores) > 1
            figure = "" if score is None else self._figure(score, is_best=is_best)
            label, wave = f"{title}, {self._title(system)}", _wave(peaks, voice)
            cells.append(self._player(stems.get(voice), f"{job.model_id}/{voice}", label, wave, figure))
        return _row(title, colour_of(voice, place), cells)

    def _sung_again(self) -> str:
        cells, sung_again = [], self._words.say("compare.sung")
        if self._references:
            label = f"{sung_again}, {self._words.say('compare.original')}"
            cells.append(self._player(self._recording, "recording", label, self._first_wave("mixture")))
        for job, system, peaks in self._systems:
            again, wave = job.manifest.resynthesis if job.manifest else None, _wave(peaks, "resynthesis")
            label = f"{sung_again}, {self._title(system)}"
            cells.append(self._player(again, f"{job.model_id}/resynthesis", label, wave))
        return _row(sung_again, "rest", cells)

    def _title(self, system: SystemBody) -> str:
        return self._words.of_model(system.model, system.title)

    def _mean(self, system: SystemBody) -> str:
        if system.mean_si_sdr_db is None:
            return ""
        mean = self._words.say("compare.mean", number=self._words.number(system.mean_si_sdr_db))
        return f"<small>{escape(mean)}</small>"

    def _figure(self, score: float, *, is_best: bool) -> str:
        return f'<span class="figure{" best" * is_best}">{self._words.number(score)} dB</span>'

    def _about(self, system: SystemBody, description: str) -> str:
        parts = [f"{system.model} {system.job.model_version}."]
        if system.job.problem is not None:
            parts.append(f"{system.job.state.value}: {system.job.problem.detail}")
        if system.job.report is not None:
            parts += [warning.message for warning in system.job.report.warnings]
        return " ".join([*parts, self._words.of_model(system.model, description, "about")]).strip()

    def _player(self, file: ManifestFile | None, name: str, label: str, wave: Wave, figure: str = "") -> str:
        """Plays a file, which gets its place in the folder; nothing where there is none."""
        if file is None:
            return ""
        parts = f"audio/{name}{PurePosixPath(file.file_name).suffix}".split("/")
        path = "/".join(map(legal_name, parts))
        self.files[path] = file
        player = f'<audio controls preload="metadata" src="{escape(path)}" aria-label="{escape(label)}"></audio>'
        return f'<div class="cell">{figure}{_drawing(wave)}{player}</div>'

    def _first_wave(self, track: str) -> Wave:
        return next((wave for peaks in self._peaks if (wave := _wave(peaks, track))), ())


def colour_of(name: str, place: int) -> str:
    """End of the style sheet's class of a voice."""
    first = name.replace("_", "-").split("-")[0].rstrip("0123456789")
    return str(_NAMED.index(first) if first in _NAMED else place % _NUM_COLOURS)


def _row(title: str, colour: str, cells: Sequence[str]) -> str:
    played = "".join(f"<td>{cell or '–'}</td>" for cell in cells)
    return f'<tr class="voice-{colour}"><th scope="row">{escape(title)}</th>{played}</tr>'


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
