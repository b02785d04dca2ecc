"""`divisi separate --server`: whatever breaks, a job that is done or still runs is there for the next run."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.gateway.keyed import BOTH, keyed_gateway
from tests.gateway.working import worker
from tests.unsteady_proxy import UnsteadyProxy, cut_after, unsteady
from typer.testing import CliRunner

from divisi.cli.app import app
from divisi.cli.out_folder import OutFolder
from divisi.cli.request import CommandRequest
from divisi.cli.server import remote_separation
from divisi.client import Client, Job
from divisi.client.arrivals import Arrival
from divisi.contract.errors import DivisiError, InputError, NotFoundError, UnavailableError
from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve, StemBytes, WorkOff

EVERYTHING = CommandRequest(include_pitch=True, include_resynthesis=True, include_plot=True)


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("divisi.client.wire.FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def proxy(gateway: Gateway) -> Iterator[UnsteadyProxy]:
    with unsteady(gateway.url) as proxy:
        yield proxy


@pytest.fixture
def recording(tmp_path: Path, song: bytes) -> Path:
    path = tmp_path / "Ave verum.wav"
    path.write_bytes(song)
    return path


def ignore(done: float) -> None: ...


def into(folder: Path) -> OutFolder:
    return OutFolder(folder, "digest of the song")


def jobs_of(gateway: Gateway) -> list[Job]:
    with Client(gateway.url) as client:
        return client.jobs()["jobs"]


@pytest.mark.parametrize("end", ["/stems/tenor", "/pitch.csv", "/stems/resynthesis", "/report.png"])
def test_a_download_that_does_not_come_leaves_the_job_for_the_same_command(
    end: str,
    gateway: Gateway,
    proxy: UnsteadyProxy,
    recording: Path,
    work_off: WorkOff,
    stem_bytes: StemBytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy.every[end] = cut_after(0)
    separate = remote_separation(proxy.url, EVERYTHING)
    with worker(gateway, work_off, 1, sings_again=True), pytest.raises(UnavailableError):
        separate((recording,), into(tmp_path / "out"), ignore)
    [left] = jobs_of(gateway)
    assert left["state"] == "succeeded"
    assert f"{left['id']} is finished and stays on the server" in capsys.readouterr().err
    proxy.every.clear()
    separate((recording,), into(tmp_path / "out"), ignore)  # no worker is there any more
    assert (tmp_path / "out/tenor.wav").read_bytes() == stem_bytes("tenor")
    assert (tmp_path / "out/report.png").is_file()
    assert jobs_of(gateway) == []


def test_what_to_know_of_the_result_comes_with_the_recordings_name(
    gateway: Gateway, recording: Path, work_off: WorkOff, tmp_path: Path
) -> None:
    with worker(gateway, work_off, 1):
        remarks = remote_separation(gateway.url, CommandRequest())((recording,), into(tmp_path / "out"), ignore)
    assert "Ave verum.wav: 3 samples of alto were cut" in remarks


def test_a_file_in_the_way_leaves_both_the_file_and_the_job_and_another_folder_does(
    gateway: Gateway, recording: Path, work_off: WorkOff, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    separate = remote_separation(gateway.url, CommandRequest())
    (tmp_path / "out").mkdir()
    (tmp_path / "out/bass.wav").write_bytes(b"the singer's own")
    with worker(gateway, work_off, 1), pytest.raises(InputError, match=r"bass\.wav"):
        separate((recording,), into(tmp_path / "out"), ignore)
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [b"the singer's own"]
    separate((recording,), into(tmp_path / "other"), ignore)
    assert (tmp_path / "other/bass.wav").read_bytes() == stem_bytes("bass")
    assert jobs_of(gateway) == []


def test_stems_that_the_server_has_lost_are_separated_anew_when_asked_for_again(
    gateway: Gateway, recording: Path, work_off: WorkOff, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    def lose(done: float) -> None:
        if done == 1.0:
            next((gateway.folder / "store").rglob("alto.wav")).unlink()

    with worker(gateway, work_off, 1), pytest.raises(NotFoundError):
        remote_separation(gateway.url, CommandRequest())((recording,), into(tmp_path / "out"), lose)
    with pytest.raises(NotFoundError):
        remote_separation(gateway.url, CommandRequest())((recording,), into(tmp_path / "out"), ignore)
    with worker(gateway, work_off, 1):
        remote_separation(gateway.url, CommandRequest(), again=True)((recording,), into(tmp_path / "out"), ignore)
    assert (tmp_path / "out/alto.wav").read_bytes() == stem_bytes("alto")


def test_a_folder_that_cannot_be_made_and_a_full_disk_leave_the_job(
    gateway: Gateway, recording: Path, work_off: WorkOff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    separate = remote_separation(gateway.url, CommandRequest())
    (tmp_path / "file").write_bytes(b"")

    def write(self: Arrival, block: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with worker(gateway, work_off, 1), pytest.raises(InputError, match="file is no folder"):
        separate((recording,), into(tmp_path / "file" / "out"), ignore)
    with monkeypatch.context() as full:
        full.setattr(Arrival, "write", write)
        with pytest.raises(OSError, match="No space"):
            separate((recording,), into(tmp_path / "out"), ignore)
    assert not (tmp_path / "out").exists()
    assert [job["state"] for job in jobs_of(gateway)] == ["succeeded"]
    separate((recording,), into(tmp_path / "out"), ignore)
    assert jobs_of(gateway) == []


def test_who_gives_up_waiting_cancels_the_job_and_nothing_is_left(
    gateway: Gateway, recording: Path, tmp_path: Path
) -> None:
    def give_up(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remote_separation(gateway.url, CommandRequest())((recording,), into(tmp_path / "out"), give_up)
    assert jobs_of(gateway) == []
    assert gateway.objects() == []


def test_who_gives_up_after_the_end_leaves_the_job(
    gateway: Gateway, recording: Path, work_off: WorkOff, tmp_path: Path
) -> None:
    def give_up_at_the_end(done: float) -> None:
        if done == 1.0:
            raise KeyboardInterrupt

    with worker(gateway, work_off, 1), pytest.raises(KeyboardInterrupt):
        remote_separation(gateway.url, CommandRequest())((recording,), into(tmp_path / "out"), give_up_at_the_end)
    assert [job["state"] for job in jobs_of(gateway)] == ["succeeded"]


def test_who_gives_up_on_a_job_that_has_ended_meanwhile_leaves_it(
    gateway: Gateway, recording: Path, work_off: WorkOff, tmp_path: Path
) -> None:
    def end_and_give_up(done: float) -> None:
        with worker(gateway, work_off, 1):
            pass
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remote_separation(gateway.url, CommandRequest())((recording,), into(tmp_path / "out"), end_and_give_up)
    assert [job["state"] for job in jobs_of(gateway)] == ["succeeded"]


def test_a_server_that_is_away_while_the_job_runs_leaves_it_running_for_the_same_command(
    gateway: Gateway,
    proxy: UnsteadyProxy,
    recording: Path,
    work_off: WorkOff,
    stem_bytes: StemBytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    separate = remote_separation(proxy.url, CommandRequest())

    def leave(done: float) -> None:
        [job] = jobs_of(gateway)
        proxy.every[job["id"]] = cut_after(0)

    with pytest.raises(UnavailableError):
        separate((recording,), into(tmp_path / "out"), leave)
    [left] = jobs_of(gateway)
    assert left["state"] == "queued"
    assert f"job {left['id']} goes on" in capsys.readouterr().err
    proxy.every.clear()
    with worker(gateway, work_off, 1):
        separate((recording,), into(tmp_path / "out"), ignore)
    assert (tmp_path / "out/alto.wav").read_bytes() == stem_bytes("alto")
    assert [method for method, _, _ in proxy.asked].count("DELETE") == 1


def test_a_job_that_was_cancelled_is_not_taken_up_again(
    gateway: Gateway, recording: Path, work_off: WorkOff, tmp_path: Path
) -> None:
    separate = remote_separation(gateway.url, CommandRequest())

    def cancel(done: float) -> None:
        with Client(gateway.url) as client:
            client.cancel(jobs_of(gateway)[0]["id"])
        raise UnavailableError("the line broke")

    with pytest.raises(DivisiError):
        separate((recording,), into(tmp_path / "out"), cancel)
    assert [job["state"] for job in jobs_of(gateway)] == ["cancelled"]
    with worker(gateway, work_off, 1):
        separate((recording,), into(tmp_path / "out"), ignore)
    assert (tmp_path / "out/alto.wav").is_file()


def test_a_server_that_leaves_after_all_was_fetched_is_no_failure(
    gateway: Gateway, recording: Path, work_off: WorkOff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(self: Client, job_id: str) -> None:
        raise UnavailableError("away")

    monkeypatch.setattr(Client, "delete", delete)
    with worker(gateway, work_off, 1):
        remote_separation(gateway.url, CommandRequest())((recording,), into(tmp_path / "out"), ignore)
    assert (tmp_path / "out/alto.wav").is_file()


def test_a_name_that_is_no_utf_8_is_sent_with_a_replacement_character(
    gateway: Gateway, song: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "caf\udce9.wav"
    path.write_bytes(song)
    with Client(gateway.url) as client:
        assert client.submit(path)["file_name"] == "caf\ufffd.wav"


@pytest.mark.parametrize("command", ["jobs", "models"])
def test_a_command_shows_the_key_that_the_environment_has(
    command: str, settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIVISI_API_KEY", raising=False)
    with keyed_gateway(settings, serve) as keyed:
        refused = CliRunner().invoke(app, [command, "--server", keyed.url])
        assert refused.exit_code == 1
        assert "API key" in refused.stderr
        monkeypatch.setenv("DIVISI_API_KEY", keyed.make_key(*BOTH).token)
        assert CliRunner().invoke(app, [command, "--server", keyed.url]).exit_code == 0
