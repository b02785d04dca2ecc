"""Tags in front of a recording and behind it are found, and nothing else is taken for one."""

from __future__ import annotations

import io

import pytest
from tests.audio import byte_edits as b

from divisi.audio.sniff import end_of_front_tags, start_of_tags_behind

SOUND = b"sound" * 1_000
FRONT = {
    "ID3v2": b.ID3V2,
    "footer": b.ID3V2_WITH_FOOTER,
    "unsynchronised": b.ID3V2_UNSYNCHRONISED,
    "APEv2": b.APEV2,
    "zeros": bytes(70_000),
    "padded": b.ID3V2 + bytes(2_000) + b.ID3V2,
}
BEHIND = {
    "ID3v1": b.ID3V1,
    "enhanced": b.ID3V1_ENHANCED,
    "APEv2": b.APEV2,
    "Lyrics3": b.LYRICS3 + b.ID3V1,
    "Lyrics3 v1": b.LYRICS3_V1 + b.ID3V1,
    "ID3v2": b.ID3V2_WITH_FOOTER,
    "several": b.APEV2 + b.LYRICS3 + b.ID3V1,
}


@pytest.mark.parametrize("tag", FRONT.values(), ids=FRONT)
def test_sound_begins_behind_the_tags_in_front(tag: bytes) -> None:
    assert end_of_front_tags(io.BytesIO(tag + SOUND)) == len(tag)


@pytest.mark.parametrize("tag", BEHIND.values(), ids=BEHIND)
def test_sound_ends_in_front_of_the_tags_behind(tag: bytes) -> None:
    assert start_of_tags_behind(io.BytesIO(SOUND + tag), 0) == len(SOUND)


@pytest.mark.parametrize("content", [b"", b"\0", SOUND, b"ID3", b"\0\0\0\x20ftyp" + bytes(50), b"TAG", b"LYRICSEND"])
def test_what_is_no_tag_is_left(content: bytes) -> None:
    assert end_of_front_tags(io.BytesIO(content)) == 0
    assert start_of_tags_behind(io.BytesIO(content), 0) == len(content)


def test_a_tag_that_claims_more_than_there_is_does_not_reach_in_front_of_the_sound() -> None:
    content = SOUND + b"999999LYRICS200"
    assert start_of_tags_behind(io.BytesIO(content), 0) == len(content)


def test_a_tag_in_front_that_claims_more_than_there_is_ends_with_the_file() -> None:
    content = b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + SOUND
    assert end_of_front_tags(io.BytesIO(content)) == len(content)
