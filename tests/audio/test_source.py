import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from divisi.audio.source import Piece, SplicedFile, bytes_at, find_all, joined, part_of

CONTENT = bytes(range(60))


pieces_of_content = st.lists(
    st.one_of(st.binary(max_size=5), st.builds(range, st.integers(0, 60), st.integers(0, 60))), max_size=6
)


def shown(pieces: list[Piece]) -> bytes:
    return b"".join(CONTENT[piece.start : piece.stop] if isinstance(piece, range) else piece for piece in pieces)


@settings(max_examples=50, derandomize=True)
@given(pieces=pieces_of_content, start=st.integers(0, 80), length=st.integers(0, 90))
def test_every_stretch_reads_as_the_pieces_joined(
    write_bytes: Callable[[bytes], Path], pieces: list[Piece], start: int, length: int
) -> None:
    with SplicedFile(write_bytes(CONTENT), pieces) as file:
        assert file.seek(start) == file.tell() == start
        assert file.read(length) == shown(pieces)[start : start + length]
        assert file.seek(0, io.SEEK_END) == len(shown(pieces))


@settings(max_examples=50, derandomize=True)
@given(pieces=pieces_of_content, start=st.integers(0, 80), length=st.integers(0, 90))
def test_a_part_of_pieces_is_that_part(pieces: list[Piece], start: int, length: int) -> None:
    assert shown(list(part_of(pieces, start, start + length))) == shown(pieces)[start : start + length]


def test_neighbours_are_joined() -> None:
    assert joined([range(3), range(3, 5), range(7, 9), range(9, 10)]) == [range(5), range(7, 10)]


def test_a_seek_in_front_of_the_file_goes_to_its_beginning(write_bytes: Callable[[bytes], Path]) -> None:
    with SplicedFile(write_bytes(CONTENT), [b"ab"]) as file:
        assert file.seek(-9, io.SEEK_CUR) == 0


@pytest.mark.parametrize("place", [0, 1, (1 << 14) - 2, (1 << 14) - 1, 1 << 14, 3 * (1 << 14) - 1, 69_998])
def test_a_pattern_is_found_wherever_it_stands(place: int) -> None:
    content = bytes(place) + b"abc" + bytes(70_000)
    found = list(find_all(io.BytesIO(content), re.compile(rb"ab"), 3, 0, len(content)))
    assert found == [(place, b"abc")]
    assert not list(find_all(io.BytesIO(content), re.compile(rb"ab"), 3, place + 1, len(content)))
    assert not list(find_all(io.BytesIO(content), re.compile(rb"ab"), 3, 0, place))


def test_matches_may_overlap_and_the_last_bytes_are_fewer() -> None:
    found = list(find_all(io.BytesIO(b"xaaa"), re.compile(rb"aa"), 3, 0, 4))
    assert found == [(1, b"aaa"), (2, b"aa")]


def test_a_place_that_no_file_can_have_holds_nothing(write_bytes: Callable[[bytes], Path]) -> None:
    with write_bytes(CONTENT).open("rb") as file:
        assert bytes_at(file, 1 << 62, 4) == b""
        assert bytes_at(file, 58, 4) == CONTENT[58:]
