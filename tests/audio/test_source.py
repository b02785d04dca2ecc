import io
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from divisi.audio.source import Piece, SplicedFile, joined, part_of

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
