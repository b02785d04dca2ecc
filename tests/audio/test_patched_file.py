import io
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divisi.audio.patched_file import PatchedFile

CONTENT = bytes(range(60))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    place=st.integers(0, 55),
    patch=st.binary(min_size=1, max_size=5),
    start=st.integers(0, 60),
    length=st.integers(0, 70),
)
def test_every_stretch_reads_as_if_the_file_were_changed(
    write_bytes: Callable[[bytes], Path], place: int, patch: bytes, start: int, length: int
) -> None:
    changed = CONTENT[:place] + patch + CONTENT[place + len(patch) :]
    with PatchedFile(write_bytes(CONTENT), {place: patch}) as file:
        file.seek(start)
        assert file.read(length) == changed[start : start + length]
        assert file.seek(0, io.SEEK_END) == len(CONTENT)
