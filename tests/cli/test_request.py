"""The options of `divisi separate` are those that the contract offers."""

from __future__ import annotations

import hashlib
import inspect

import pytest
from typer.testing import CliRunner

from divisi.cli.app import app
from divisi.cli.recordings import digest_of
from divisi.cli.request import CommandRequest, check_offered, request_from
from divisi.cli.separate import RunOptions, separate
from divisi.contract.errors import InputError, UnavailableError
from divisi.contract.request import offer_of


def test_every_option_of_the_contract_that_has_flags_is_one_of_the_command() -> None:
    offered = {name for name, field in CommandRequest.model_fields.items() if offer_of(field).flags}
    of_the_run = {"files", "out", "server", *RunOptions.model_fields}
    assert offered | of_the_run == set(inspect.signature(separate).parameters)
    shown = CliRunner().invoke(app, ["separate", "--help"], env={"COLUMNS": "200"}).output
    for name in offered:
        assert offer_of(CommandRequest.model_fields[name]).flags[0] in shown


def test_what_is_typed_becomes_what_is_asked() -> None:
    typed = {"model": "chorus", "stems": "alto, bass,", "voices": None, "include_residual": True, "num_bases": 4}
    request = request_from(typed, CommandRequest)
    assert (request.model_id, request.stems, request.voices) == ("chorus", ("alto", "bass"), ())
    assert request.arguments() == {"model": ("chorus",), "stems": ("alto", "bass"), "num_bases": 4}


def test_what_differs_from_a_servers_defaults_is_asked_of_it() -> None:
    assert CommandRequest(include_plot=True).arguments() == {"include_residual": False}


@pytest.mark.parametrize(
    ("typed", "says"),
    [({"model": "a,b"}, "--model a,b: at most 1 can be given"), ({"stems": "x" * 65}, "--stems xxx")],
)
def test_what_cannot_be_had_is_named_with_its_flag(typed: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        request_from(typed, CommandRequest)


def test_a_number_beyond_its_limits_is_refused_with_them() -> None:
    done = CliRunner().invoke(app, ["separate", "a.wav", "--iterations", "1001"], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "--iterations" in done.output
    assert "less than or equal to 1000" in " ".join(done.output.split())


def test_recordings_done_before_are_known_by_the_same_digests() -> None:
    # As the notes of version 0.1 have it.
    nothing_asked = "558d75420d9efbcb52d63fdf743d3dba805c2d67b673ad0e222b04adac077810"
    assert digest_of([], CommandRequest().digested()) == nothing_asked
    assert digest_of([]) == hashlib.sha256(b"None").hexdigest()
    assert digest_of([], CommandRequest(include_plot=True).digested()) != nothing_asked


@pytest.mark.parametrize("is_offered", [True, None])
def test_a_model_that_can_be_run_or_waited_for_is_asked_for(is_offered: bool | None) -> None:
    check_offered("fastmnmf2", [{"id": "fastmnmf2", "needs": ["torch"], "is_offered": is_offered}])
    check_offered("unknown", [])


def test_a_model_that_no_worker_can_run_is_refused_with_what_it_needs() -> None:
    with pytest.raises(UnavailableError, match=r"divisi-choir\[torch\]") as refused:
        check_offered("fastmnmf2", [{"id": "fastmnmf2", "needs": ["torch"], "is_offered": False}])
    assert refused.value.code == "no-worker-for-model"
