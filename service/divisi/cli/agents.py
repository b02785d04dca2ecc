"""`divisi mcp`: a divisi server as tools for agents, over the Model Context Protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from pydantic import Field

from divisi import DISTRIBUTION
from divisi.cli.server import DEFAULT_SERVER, Server
from divisi.cli.terminal import exit_on_error, say
from divisi.contract.errors import DivisiError, InputError, kind_of

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from divisi.client import AsyncClient, Job

LONGEST_WAIT_SECONDS = 60.0
_INSTRUCTIONS = (
    "divisi separates a recording of a choir or an ensemble into one stem a voice. Begin with `separate`, follow it "
    "with `job` until its state is `succeeded`, then `save_stems`, or give the links away. Pass on a job's `warnings`: "
    "they say when a result is likely useless. `save_learning_tracks` makes what choirs practise with."
)

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

JobId = Annotated[str, Field(description="Id of a job, as `separate` gives it.")]
Folder = Annotated[str, Field(description="Folder on this machine; nothing in it is replaced.")]


def mcp(
    server: Server = DEFAULT_SERVER,
    http: Annotated[
        bool, typer.Option("--http", help="Speak streamable HTTP on 127.0.0.1 in place of standard input and output.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for --http.")] = 8808,
) -> None:
    """Give agents a divisi server as tools (Model Context Protocol).

    An agent's settings name the command: it starts it and speaks with it over standard input and output. Its tools:
    models, separate, job, cancel, save_stems, save_learning_tracks. By --http, recordings are taken by their address
    alone and nothing is saved here: whoever reaches the port shall not read or write this machine's files.

        divisi mcp --server https://divisi.example
        divisi mcp --http --port 8808
    """
    from divisi.client import AsyncClient

    with exit_on_error():
        tools = tools_of(lambda: AsyncClient(server), has_files=not http)
        if http:
            say(f"agents find divisi at http://127.0.0.1:{port}/mcp; Ctrl-C ends it")
            tools.run("streamable-http", host="127.0.0.1", port=port)
        else:
            tools.run("stdio")


def tools_of(connect: Callable[[], AsyncClient], *, has_files: bool) -> MCPServer:
    """The tools of one server.

    Args:
        connect: opens a connection for one call.
        has_files: recordings may be files of this machine, and what is made may be saved on it.
    """
    from mcp.server import MCPServer

    tools = Tools(connect, has_files)
    offered: list[Callable[..., Awaitable[Any]]] = [tools.models, tools.separate, tools.job, tools.cancel]
    if has_files:
        offered += [tools.save_stems, tools.save_learning_tracks]
    server = MCPServer(DISTRIBUTION, title="divisi", instructions=_INSTRUCTIONS, log_level="WARNING")
    for tool in offered:
        server.add_tool(_said(tool))
    return server


class Tools:
    """What agents can do; docstrings and descriptions are theirs to read. For the arguments see `tools_of`."""

    def __init__(self, connect: Callable[[], AsyncClient], has_files: bool) -> None:
        self._connect = connect
        self._has_files = has_files

    async def models(self) -> list[dict[str, Any]]:
        """The models of the server: id, what it is, its stems, and its mean SI-SDR in dB on its first test set."""
        async with self._connect() as client:
            return [_model(card) for card in await client.models()]

    async def separate(
        self,
        recording: Annotated[
            str, Field(description="https:// address of the recording; a file of this machine where it has files.")
        ],
        model: Annotated[str | None, Field(description="Id of a model; default: the server's.")] = None,
        voices: Annotated[
            list[str] | None, Field(description='Who sings, such as ["soprano", "alto"], or ["auto"]; default: all.')
        ] = None,
        stem_format: Annotated[str | None, Field(description="wav, flac, ogg or mp3; default: wav.")] = None,
    ) -> dict[str, Any]:
        """Begin to separate a recording; gives the job, which takes about a tenth of the recording's length."""
        options: dict[str, Any] = {"model": model, "voices": voices or (), "stem_format": stem_format}
        async with self._connect() as client:
            if "://" in recording:
                return _job(await client.submit(None, source_url=recording, **options))
            if not self._has_files:
                raise InputError(f"{recording} is no address; over HTTP, recordings are taken by their address alone")
            path = Path(recording).expanduser()
            if not path.is_file():
                raise InputError(f"{path} is not a file", code="no-such-file")
            return _job(await client.submit(path, **options))

    async def job(
        self,
        job_id: JobId,
        wait_seconds: Annotated[
            float, Field(ge=0, le=LONGEST_WAIT_SECONDS, description="Wait so long at most for it to end.")
        ] = 0,
    ) -> dict[str, Any]:
        """How far a job is; once it succeeded, links to its stems and what to know before relying on them."""
        async with self._connect() as client:
            last = await client.get(job_id)
            with suppress(TimeoutError):
                async for found in client.iter_progress(job_id, timeout_seconds=wait_seconds):
                    last = found
            return _job(last)

    async def cancel(self, job_id: JobId) -> dict[str, Any]:
        """Stop a job."""
        async with self._connect() as client:
            return _job(await client.cancel(job_id))

    async def save_stems(self, job_id: JobId, folder: Folder) -> list[str]:
        """Save the stems of a job that succeeded; gives their paths."""
        async with self._connect() as client:
            found = await client.get(job_id)
            return list(map(str, await client.download_stems(found, Path(folder).expanduser())))

    async def save_learning_tracks(
        self,
        job_id: JobId,
        folder: Folder,
        parts: Annotated[Sequence[str], Field(description="Parts to make tracks for; default: all.")] = (),
        speed: Annotated[int, Field(description="Percent of the speed sung, 50 to 125.")] = 100,
        semitones: Annotated[int, Field(description="Transposed by so many, -12 to 12.")] = 0,
    ) -> list[str]:
        """Make and save tracks to practise with: each part in front, left out, alone left, alone right; and all."""
        async with self._connect() as client:
            found = await client.get(job_id)
            asked: dict[str, Any] = {"parts": parts, "speed": speed, "semitones": semitones}
            return list(map(str, await client.tracks(found, Path(folder).expanduser(), **asked)))


def _said(tool: Callable[Given, Awaitable[Answer]]) -> Callable[Given, Awaitable[Answer]]:
    """The tool, whose errors reach the agent as what happened and what to do about it."""
    from mcp.server.mcpserver.exceptions import ToolError

    @wraps(tool)
    async def run(*args: Given.args, **kwargs: Given.kwargs) -> Answer:
        try:
            return await tool(*args, **kwargs)
        except DivisiError as error:
            raise ToolError(f"{error.message}. {kind_of(error.code).advice}") from error
        except OSError as error:
            raise ToolError(str(error)) from error

    return run


def _model(card: dict[str, Any]) -> dict[str, Any]:
    quality = next((one["mean"] for one in card["quality"]), None)
    return {"id": card["id"], "title": card["title"], "stems": card["stems"], "mean_si_sdr_db": quality}


def _job(job: Job) -> dict[str, Any]:
    """What an agent needs to know of it."""
    problem, report = job.get("problem"), job.get("report")
    return {
        "job_id": job["id"],
        "state": job["state"],
        "stage": job["stage"],
        "progress": job["progress"],
        "problem": problem and {"message": problem.get("detail"), "advice": problem.get("advice")},
        "warnings": [warning["message"] for warning in report.get("warnings", [])] if report else [],
        "stems": {stem["name"]: stem["href"] for stem in job["stems"]},
    }
