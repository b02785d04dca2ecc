import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from divisi.audio import decode
from divisi.audio.decode import open_decoder
from divisi.audio.recording import AudioLimits
from divisi.contract.errors import InputError

MakeFile = Callable[..., Path]
WriteBytes = Callable[[bytes], Path]

# libsndfile's name of container and codec, and half a step of the latter (None: lossy).
CODECS = [
    ("WAV", "PCM_U8", 2.0**-8),
    ("WAV", "PCM_16", 2.0**-16),
    ("WAV", "PCM_24", 2.0**-24),
    ("WAV", "PCM_32", 2.0**-24),  # float32 is what holds us back
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0),
    ("WAV", "ULAW", None),
    ("WAV", "MS_ADPCM", None),
    ("WAVEX", "PCM_24", 2.0**-24),
    ("RF64", "PCM_24", 2.0**-24),
    ("AIFF", "PCM_24", 2.0**-24),
    ("AIFF", "FLOAT", 0),
    ("CAF", "PCM_16", 2.0**-16),
    ("CAF", "ALAC_16", 2.0**-16),
    ("FLAC", "PCM_S8", 2.0**-8),
    ("FLAC", "PCM_16", 2.0**-16),
    ("FLAC", "PCM_24", 2.0**-24),
    ("OGG", "VORBIS", None),
    ("OGG", "OPUS", None),
    ("MP3", "MPEG_LAYER_III", None),
]
# What libsndfile does to the last bit when it rounds towards an even or a lower word.
LAST_BIT = 1.01
# Peak memory of decoding six times as much, in KiB: the allocator's own wobble.
MEMORY_WOBBLE_KIB = 4_096


# Encodes and decodes so many minutes, then says the peak memory in KiB.
MEMORY_PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from divisi.audio.decode import open_decoder
from divisi.audio.encode import StemFormat, open_encoder

source, stem, minutes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
block = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16_000)).astype("f4")
with open_encoder(source, StemFormat.FLAC, 16_000, 2) as encoder:
    for _ in range(60 * minutes):
        encoder.write(block)
with open_decoder(source) as decoder, open_encoder(stem, StemFormat.WAV24, 16_000, 2) as encoder:
    for block in decoder.blocks(16_000):
        encoder.write(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def decode_all(path: Path, block_length: int = 4_096) -> np.ndarray:
    with open_decoder(path) as decoder:
        return np.concatenate(list(decoder.blocks(block_length)), axis=1)


def error_of(path: Path, limits: AudioLimits | None = None) -> InputError:
    with pytest.raises(InputError) as caught, open_decoder(path, limits) as decoder:
        for _ in decoder.blocks(4_096):
            pass
    return caught.value


@pytest.mark.parametrize(("container", "codec", "half_step"), CODECS)
@pytest.mark.parametrize("num_channels", [1, 2])
def test_every_format_gives_its_samples_back(
    make_file: MakeFile,
    samples_of: Callable[..., np.ndarray],
    container: str,
    codec: str,
    half_step: float | None,
    num_channels: int,
) -> None:
    samples = samples_of(num_channels, 20_000)
    path = make_file(container, codec, samples=samples, sample_rate=48_000)
    with open_decoder(path) as decoder:
        facts = decoder.facts
        decoded = np.concatenate(list(decoder.blocks(3_000)), axis=1)
    assert (facts.sample_rate, facts.num_channels, facts.codec) == (48_000, num_channels, codec.lower())
    assert facts.num_samples == decoder.num_decoded == decoded.shape[1]
    if half_step is None:
        assert abs(decoded.shape[1] - 20_000) < 2_000  # ADPCM fills its last block
    else:
        np.testing.assert_allclose(decoded, samples, atol=2 * half_step * LAST_BIT, rtol=0)


@pytest.mark.parametrize("sample_rate", [1_000, 8_000, 11_025, 22_050, 44_100, 96_000, 192_000, 384_000])
@pytest.mark.parametrize("container", ["WAV", "FLAC", "AIFF", "CAF"])
def test_unusual_rates_are_accepted(make_file: MakeFile, container: str, sample_rate: int) -> None:
    with open_decoder(make_file(container, sample_rate=sample_rate, num_samples=100)) as decoder:
        assert decoder.facts.sample_rate == sample_rate


@pytest.mark.parametrize("num_samples", [1, 4_800])
@pytest.mark.parametrize(
    ("container", "sample_rate", "num_channels"),
    [
        (container, sample_rate, num_channels)
        for container in ("WAV", "FLAC", "OGG", "AIFF", "MP3")
        for sample_rate, num_channels in [(16_000, 1), (44_100, 2), (48_000, 6)]
        if container != "MP3" or num_channels <= 2
    ],
)
def test_the_shortest_recordings_are_whole(
    make_file: MakeFile, container: str, sample_rate: int, num_channels: int, num_samples: int
) -> None:
    path = make_file(container, sample_rate=sample_rate, num_channels=num_channels, num_samples=num_samples)
    assert decode_all(path).shape == (num_channels, num_samples)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@settings(max_examples=8)
@given(block_length=st.integers(1, 5_000))
def test_the_blocks_do_not_change_the_samples(make_file: MakeFile, container: str, block_length: int) -> None:
    path = make_file(container, num_samples=3_000)
    with open_decoder(path) as decoder:
        blocks = list(decoder.blocks(block_length))
    assert all(block.shape == (2, block_length) and block.dtype == np.float32 for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), decode_all(path))


def test_float_samples_above_full_scale_are_kept(make_file: MakeFile, samples_of: Callable[..., np.ndarray]) -> None:
    samples = 7 * samples_of(2, 1_000)
    np.testing.assert_array_equal(decode_all(make_file("WAV", "FLOAT", samples=samples)), samples)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "CAF", "FLAC", "OGG", "MP3"])
def test_a_file_name_that_is_no_utf8_is_a_name(make_file: MakeFile, tmp_path: Path, container: str) -> None:
    path = make_file(container)
    named = path.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    assert decode_all(named).shape == (2, 20_000)


def test_a_recording_named_raw_is_read_by_its_content(make_file: MakeFile, tmp_path: Path) -> None:
    assert decode_all(make_file("WAV").rename(tmp_path / "take.raw")).shape == (2, 20_000)


def test_memory_is_flat_from_one_minute_to_six(tmp_path: Path) -> None:
    peaks_kib = [
        int(
            subprocess.check_output(
                [sys.executable, "-c", MEMORY_PROGRAM, tmp_path / "a", tmp_path / "b", str(minutes)]
            )
        )
        for minutes in (1, 6)
    ]
    assert peaks_kib[1] - peaks_kib[0] < MEMORY_WOBBLE_KIB


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "codec"), [(container, codec) for container, codec, _ in CODECS if codec != "PCM_S8"]
)
@pytest.mark.parametrize("part", [0.5, 0.98])
def test_a_truncated_file_is_undecodable(
    make_file: MakeFile, write_bytes: WriteBytes, container: str, codec: str, part: float
) -> None:
    content = make_file(container, codec, sample_rate=48_000, num_samples=60_000).read_bytes()
    assert error_of(write_bytes(content[: int(part * len(content))])).code == "undecodable"


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3"])
def test_a_file_overwritten_in_the_middle_is_undecodable(
    make_file: MakeFile, write_bytes: WriteBytes, container: str
) -> None:
    content = bytearray(make_file(container, num_samples=200_000).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3_000] = np.random.default_rng(0).bytes(3_000)
    assert error_of(write_bytes(bytes(content))).code == "undecodable"


@pytest.mark.parametrize(("container", "kept"), [("WAV", 44), ("FLAC", 42), ("MP3", 417), ("AIFF", 54), ("OGG", 58)])
def test_a_header_alone_is_refused(make_file: MakeFile, write_bytes: WriteBytes, container: str, kept: int) -> None:
    assert error_of(write_bytes(make_file(container).read_bytes()[:kept])).code in ("undecodable", "empty-audio")


@pytest.mark.parametrize("container", ["WAV", "AIFF", "CAF", "OGG"])
def test_a_file_of_no_samples_is_empty(make_file: MakeFile, container: str) -> None:
    assert error_of(make_file(container, num_samples=0)).code == "empty-audio"


# Headers that do not tell the truth --------------------------------------------------------------------------------


def with_flac_length(content: bytes, num_samples: int) -> bytes:
    """The same FLAC with another promised number of samples in its header (36 bits from the middle of byte 21 on)."""
    fields = int.from_bytes(content[18:26], "big") & ~0xF_FFFF_FFFF | num_samples
    return content[:18] + fields.to_bytes(8, "big") + content[26:]


@pytest.mark.parametrize("claimed", [0, 1, 5_000, 19_999])
def test_a_flac_that_promises_too_little_gives_all_it_has(
    make_file: MakeFile, write_bytes: WriteBytes, claimed: int
) -> None:
    path = make_file("FLAC", "PCM_16")
    lying = write_bytes(with_flac_length(path.read_bytes(), claimed))
    np.testing.assert_array_equal(decode_all(lying), decode_all(path))


def test_a_flac_that_promises_too_much_is_undecodable(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = make_file("FLAC", "PCM_16").read_bytes()
    assert error_of(write_bytes(with_flac_length(content, 20_001))).code == "undecodable"


def flac_bomb(make_file: MakeFile, claimed: int) -> bytes:
    silence = np.zeros((1, 8_000 * 600), np.float32)
    content = make_file("FLAC", "PCM_16", samples=silence, sample_rate=8_000).read_bytes()
    assert len(content) < 100_000
    return with_flac_length(content, claimed)


def test_a_flac_bomb_whose_header_says_nothing_is_refused_by_its_frames(
    make_file: MakeFile, write_bytes: WriteBytes, limits: AudioLimits
) -> None:
    bomb = write_bytes(flac_bomb(make_file, 0))
    with pytest.raises(InputError, match="lasts 600 s") as caught:
        open_decoder(bomb, limits)
    assert caught.value.code == "audio-too-long"


def test_a_flac_bomb_is_stopped_by_the_limit_while_decoding(
    make_file: MakeFile, write_bytes: WriteBytes, limits: AudioLimits
) -> None:
    bomb = write_bytes(flac_bomb(make_file, 800))
    with pytest.raises(InputError) as caught, open_decoder(bomb, limits) as decoder:
        for _ in decoder.blocks(8_000):
            pass
    assert caught.value.code == "audio-too-long"
    assert decoder.num_decoded <= 61 * 8_000


def test_tags_behind_a_flac_are_no_damage(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    path = make_file("FLAC")
    tagged = write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    np.testing.assert_array_equal(decode_all(tagged), decode_all(path))


@pytest.mark.parametrize("container", ["FLAC", "MP3"])
def test_tags_in_front_change_nothing(make_file: MakeFile, write_bytes: WriteBytes, container: str) -> None:
    path = make_file(container)
    tagged = write_bytes(b"ID3\x04\x00\x00\x00\x00\x10\x00" + bytes(2_048) + path.read_bytes())
    np.testing.assert_array_equal(decode_all(tagged), decode_all(path))


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF])
@pytest.mark.parametrize("riff_size", [0, 8, 36, 0xFFFF_FFFF])
def test_a_wav_from_a_pipe_is_read_to_its_end(
    make_file: MakeFile, write_bytes: WriteBytes, size: int, riff_size: int
) -> None:
    path = make_file("WAV", "PCM_16")
    content = path.read_bytes()
    streamed = content[:4] + struct.pack("<I", riff_size) + content[8:40] + struct.pack("<I", size) + content[44:]
    np.testing.assert_array_equal(decode_all(write_bytes(streamed)), decode_all(path))


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF_FFFF_FFFF])
def test_an_rf64_from_a_pipe_is_read_to_its_end(make_file: MakeFile, write_bytes: WriteBytes, size: int) -> None:
    path = make_file("RF64", "PCM_16")
    content = path.read_bytes()
    streamed = content[:28] + struct.pack("<Q", size) + content[36:]
    np.testing.assert_array_equal(decode_all(write_bytes(streamed)), decode_all(path))


def test_a_caf_from_a_pipe_is_read_to_its_end(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    path = make_file("CAF", "PCM_16")
    content = path.read_bytes()
    place = content.index(b"data") + 4
    streamed = content[:place] + b"\xff" * 8 + content[place + 8 :]
    np.testing.assert_array_equal(decode_all(write_bytes(streamed)), decode_all(path))


def test_bw64_is_read_as_the_rf64_it_is(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    path = make_file("RF64", "PCM_16")
    np.testing.assert_array_equal(decode_all(write_bytes(b"BW64" + path.read_bytes()[4:])), decode_all(path))


def test_a_wav_with_odd_and_large_chunks_is_read(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    path = make_file("WAV", "PCM_16")
    content = path.read_bytes()
    odd = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    large = b"bext" + struct.pack("<I", 1_000_001) + bytes(1_000_002)
    extended = content[:12] + odd + large + content[12:] + odd
    np.testing.assert_array_equal(decode_all(write_bytes(extended)), decode_all(path))


def test_an_mp3_without_a_tag_gives_all_frames(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = make_file("MP3", num_samples=300_000).read_bytes()
    second_frame = content.index(content[:2], 4)
    decoded = decode_all(write_bytes(content[second_frame:]))
    assert 300_000 < decoded.shape[1] < 300_000 + 4 * 1_152


def test_a_torn_last_frame_of_an_mp3_without_a_tag_is_left_out(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = make_file("MP3", num_samples=300_000).read_bytes()
    whole = decode_all(write_bytes(content[content.index(content[:2], 4) :]))
    torn = decode_all(write_bytes(content[content.index(content[:2], 4) : -50]))
    np.testing.assert_array_equal(torn, whole[:, :-1_152])


def test_mp3_files_put_one_after_the_other_are_decoded_to_the_end(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = make_file("MP3", num_samples=100_000).read_bytes()
    assert decode_all(write_bytes(content * 2)).shape[1] >= 200_000


@pytest.mark.parametrize("container", ["OGG", "FLAC"])
def test_files_put_one_after_the_other_are_decoded_one_after_the_other(
    make_file: MakeFile, write_bytes: WriteBytes, container: str
) -> None:
    files = [make_file(container, num_samples=num_samples) for num_samples in (20_000, 300, 9_000)]
    chained = write_bytes(b"".join(path.read_bytes() for path in files))
    np.testing.assert_array_equal(decode_all(chained), np.concatenate([decode_all(path) for path in files], axis=1))


@pytest.mark.parametrize("container", ["OGG", "FLAC"])
@pytest.mark.parametrize("second", [{"sample_rate": 48_000}, {"num_channels": 1}])
def test_rate_and_channels_may_not_change_between_files(
    make_file: MakeFile, write_bytes: WriteBytes, container: str, second: dict[str, int]
) -> None:
    files = [make_file(container, num_samples=22_050), make_file(container, **second)]
    error = error_of(write_bytes(b"".join(path.read_bytes() for path in files)))
    assert error.code == "unsupported-format"
    assert "change at 0.5 s" in error.message


@pytest.mark.parametrize("container", ["OGG", "FLAC"])
def test_a_cut_in_the_second_of_several_files_is_found(
    make_file: MakeFile, write_bytes: WriteBytes, container: str
) -> None:
    content = make_file(container).read_bytes()
    assert error_of(write_bytes(content + content[:-100])).code == "undecodable"


# Samples and rates that are none ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 12_345, 19_999])
def test_a_sample_that_is_no_number_is_refused_by_place(make_file: MakeFile, value: float, place: int) -> None:
    samples = np.zeros((2, 20_000), np.float32)
    samples[1, place] = value
    error = error_of(make_file("WAV", "FLOAT", samples=samples, sample_rate=10_000))
    assert error.code == "non-finite-samples"
    assert error.facts == {"first_seconds": place / 10_000, "channel": 2}
    assert f"{place / 10_000:.3f} s" in error.message


def test_doubles_too_large_for_float_are_refused(make_file: MakeFile) -> None:
    samples = np.full((1, 100), 1e300)
    assert error_of(make_file("WAV", "DOUBLE", samples=samples)).code == "non-finite-samples"


def test_samples_whose_powers_would_overflow_are_refused_by_place(make_file: MakeFile) -> None:
    samples = np.zeros((2, 1_000), np.float32)
    samples[1, 500] = -3e38
    error = error_of(make_file("WAV", "FLOAT", samples=samples, sample_rate=10_000))
    assert error.code == "samples-too-large"
    assert error.facts == {"first_seconds": 0.05, "channel": 2}
    assert "larger than 1e+10" in error.message


def test_integers_in_a_float_file_are_audio(make_file: MakeFile) -> None:
    samples = np.full((1, 1_000), -(2.0**31), np.float32)
    np.testing.assert_array_equal(decode_all(make_file("WAV", "FLOAT", samples=samples)), samples)


@pytest.mark.parametrize("sample_rate", [0, 1, 999, 384_001, 0xFFFF_FFFF])
def test_a_wav_with_an_impossible_rate_is_refused(
    make_file: MakeFile, write_bytes: WriteBytes, sample_rate: int
) -> None:
    content = make_file("WAV", "PCM_16").read_bytes()
    error = error_of(write_bytes(content[:24] + struct.pack("<I", sample_rate) + content[28:]))
    assert error.code == "invalid-sample-rate"
    assert error.facts["sample_rate"] == sample_rate


def test_other_containers_with_an_impossible_rate_are_refused(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    flac = bytearray(make_file("FLAC").read_bytes())
    flac[18:20] = b"\0\0"
    flac[20] &= 0x0F
    caf = make_file("CAF", "PCM_16").read_bytes()
    aiff = make_file("AIFF", "PCM_16").read_bytes()
    place = aiff.index(b"COMM") + 16
    for content in (
        bytes(flac),
        caf.replace(struct.pack(">d", 44_100), struct.pack(">d", 0)),
        caf.replace(struct.pack(">d", 44_100), struct.pack(">d", np.nan)),
        aiff[:place] + bytes(10) + aiff[place + 10 :],
        aiff[:place] + b"\x7f\xff" + b"\xff" * 8 + aiff[place + 10 :],
    ):
        assert error_of(write_bytes(content)).code == "invalid-sample-rate"


# Limits -------------------------------------------------------------------------------------------------------------


def test_ten_hours_are_refused_by_the_header(tmp_path: Path, limits: AudioLimits) -> None:
    with soundfile.SoundFile(tmp_path / "long", "w", 8_000, 1, format="WAV", subtype="PCM_U8") as file:
        file.write(np.zeros(10))
    content = bytearray((tmp_path / "long").read_bytes()[:44])
    num_bytes = 10 * 3_600 * 8_000
    content[4:8], content[40:44] = struct.pack("<I", num_bytes + 36), struct.pack("<I", num_bytes)
    (tmp_path / "long").write_bytes(content)
    os.truncate(tmp_path / "long", 44 + num_bytes)  # sparse: takes no room
    with pytest.raises(InputError, match="lasts 36000 s; this service accepts 60 s") as caught:
        open_decoder(tmp_path / "long", limits)
    assert caught.value.code == "audio-too-long"


def test_the_limit_itself_is_accepted(make_file: MakeFile, limits: AudioLimits) -> None:
    with open_decoder(make_file("WAV", sample_rate=1_000, num_samples=60_000), limits) as decoder:
        assert sum(block.shape[1] for block in decoder.blocks(1_000)) == 60_000
    with pytest.raises(InputError):
        open_decoder(make_file("WAV", sample_rate=1_000, num_samples=60_001), limits)


def test_too_many_channels_are_refused(make_file: MakeFile, limits: AudioLimits) -> None:
    error = error_of(make_file("WAV", num_channels=9, num_samples=10), limits)
    assert (error.code, error.facts) == ("too-many-channels", {"num_channels": 9, "limit_channels": 8})


def test_a_missing_extra_is_named(write_bytes: WriteBytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode.importlib.util, "find_spec", lambda name: None)
    error = error_of(write_bytes(b"\0\0\0\x1cftypM4A " + bytes(100)))
    assert error.code == "unsupported-format"
    assert "m4a needs the `av` extra" in error.message


# Anything at all ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "RF64"])
@settings(max_examples=40, derandomize=True)
@given(changes=st.dictionaries(st.integers(0, 1_500), st.integers(0, 255), max_size=8), cut=st.integers(0, 1_500))
def test_a_mutilated_file_is_decoded_or_refused_and_nothing_else(
    make_file: MakeFile, tmp_path: Path, container: str, changes: dict[int, int], cut: int
) -> None:
    limits = AudioLimits(max_duration_seconds=10, max_channels=8, inspect_seconds=20)
    content = bytearray(make_file(container, num_samples=1_500).read_bytes())
    for place, value in changes.items():
        content[place % len(content)] = value
    mutilated = tmp_path / "mutilated"
    mutilated.write_bytes(content[: len(content) - (cut if cut % 2 else 0)])
    refusal = None
    try:
        with open_decoder(mutilated, limits) as decoder:
            assert all(np.isfinite(block).all() for block in decoder.blocks(4_096))
    except InputError as error:
        refusal = error
    assert refusal is None or refusal.code != InputError.default_code  # every refusal has a name of its own
