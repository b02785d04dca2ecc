import struct

from divisi.audio.ogg import read_opus_head

HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 312, 16_000, -256, 0)


def test_the_decoder_is_shown_48_khz_and_nothing_to_leave_out() -> None:
    head = read_opus_head(HEAD)
    assert head.skip == 312
    assert head.shown == b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 0, 48_000, -256, 0)


def test_a_short_head_is_left_as_it_is() -> None:
    assert read_opus_head(HEAD[:12]).shown == HEAD[:12]
