"""Settings: read from the environment, frozen, safe by default."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from divisi.settings import Settings, child_environment


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVISI_MAX_ATTEMPTS", "7")
    assert Settings().max_attempts == 7


def test_settings_cannot_be_changed_after_they_are_read() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_an_open_address_is_refused_unless_it_is_asked_for() -> None:
    with pytest.raises(ValidationError, match="DIVISI_ALLOW_OPEN_ACCESS"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", allow_open_access=True).host == "0.0.0.0"


@pytest.mark.parametrize(("name", "value"), [("lease_seconds", 0), ("max_upload_bytes", -1), ("port", 70000)])
def test_a_value_out_of_range_is_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_a_child_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(max_attempts=5, s3_secret_access_key="hush", work_dir=None, lease_seconds=2.5)
    for name, value in child_environment(settings, port="9").items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings.model_copy(update={"port": 9})
