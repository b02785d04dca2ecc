from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from divisi.audio.decode import open_decoder
from divisi.audio.recording import AudioLimits
from divisi.audio.sandbox import inspect_audio_in_child
from divisi.contract.errors import InputError

av = pytest.importorskip("av")

WriteBytes = Callable[[bytes], Path]
Encode = Callable[..., Path]

# Encoders of AAC put up to two frames in front and fill the last one.
AAC_PADDING = 3 * 1_024


@pytest.fixture
def encode(tmp_path: Path, samples_of: Callable[..., np.ndarray]) -> Encode:
    """Two seconds of stereo through FFmpeg's encoders."""
    number = 0

    def encode(
        container: str, codec: str, *, sample_rate: int = 48_000, num_samples: int = 96_000, **options: str
    ) -> Path:
        nonlocal number
        number += 1
        path = tmp_path / f"av_{number}"
        samples = 0.5 * samples_of(2, num_samples)
        with av.open(str(path), "w", format=container, options=options) as output:
            stream = output.add_stream(codec, rate=sample_rate)
            stream.codec_context.layout = "stereo"
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = sample_rate, 0
            pending = av.AudioFifo()
            for plain in av.AudioResampler(format=stream.codec_context.format, layout="stereo").resample(frame):
                pending.write(plain)
            while (part := pending.read(stream.codec_context.frame_size or 960, partial=True)) is not None:
                output.mux(stream.encode(part))
            output.mux(stream.encode(None))
        return path

    return encode


def error_of(path: Path, limits: AudioLimits | None = None) -> InputError:
    with pytest.raises(InputError) as caught, open_decoder(path, limits) as decoder:
        for _ in decoder.blocks(4_096):
            pass
    return caught.value


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [("mp4", "aac", "m4a"), ("adts", "aac", "aac"), ("webm", "libopus", "webm"), ("mov", "pcm_s24le", "m4a")],
)
def test_containers_foreign_to_libsndfile_are_decoded(
    encode: Encode, samples_of: Callable[..., np.ndarray], container: str, codec: str, name: str
) -> None:
    with open_decoder(encode(container, codec)) as decoder:
        decoded = np.concatenate(list(decoder.blocks(10_000)), axis=1)
        facts = decoder.facts
    assert (facts.container, facts.sample_rate, facts.num_channels) == (name, 48_000, 2)
    assert 96_000 <= decoded.shape[1] <= 96_000 + AAC_PADDING
    expected = 0.5 * samples_of(2, 96_000)
    delays = range(AAC_PADDING)
    best = max(float(np.vdot(decoded[:, delay : delay + 60_000], expected[:, :60_000])) for delay in delays)
    assert best > 0.9 * float(np.sum(expected[:, :60_000] ** 2))


def test_alac_is_exact(encode: Encode) -> None:
    with open_decoder(encode("mp4", "alac", num_samples=50_001)) as decoder:
        assert sum(block.shape[1] for block in decoder.blocks(7_000)) == 50_001
        assert decoder.facts.num_samples == 50_001


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["index last", "index first"])
@pytest.mark.parametrize("missing_bytes", [1, 5_000])
def test_a_truncated_m4a_is_undecodable(
    encode: Encode, write_bytes: WriteBytes, options: dict[str, str], missing_bytes: int
) -> None:
    content = encode("mp4", "aac", **options).read_bytes()
    assert error_of(write_bytes(content[:-missing_bytes])).code == "undecodable"


def test_a_truncated_webm_is_undecodable(encode: Encode, write_bytes: WriteBytes) -> None:
    content = encode("webm", "libopus").read_bytes()
    assert error_of(write_bytes(content[:-1])).code == "undecodable"


def test_a_webm_recorded_live_has_no_length_and_is_read_to_its_end(encode: Encode) -> None:
    with open_decoder(encode("webm", "libopus", live="1")) as decoder:
        assert decoder.facts.num_samples == 0
        assert sum(block.shape[1] for block in decoder.blocks(10_000)) == pytest.approx(96_000, abs=AAC_PADDING)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("adts", "aac"), ("webm", "libopus")])
def test_damage_in_the_middle_is_undecodable(
    encode: Encode, write_bytes: WriteBytes, container: str, codec: str
) -> None:
    content = bytearray(encode(container, codec, num_samples=480_000).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5_000] = np.random.default_rng(0).bytes(5_000)
    assert error_of(write_bytes(bytes(content))).code == "undecodable"


@pytest.mark.parametrize(("container", "codec"), [("wav", "adpcm_yamaha")])
def test_a_codec_that_libsndfile_does_not_master_goes_to_ffmpeg(encode: Encode, container: str, codec: str) -> None:
    with open_decoder(encode(container, codec)) as decoder:
        assert decoder.facts.container == container
        assert sum(block.shape[1] for block in decoder.blocks(10_000)) >= 96_000


@pytest.mark.parametrize(("container", "codec"), [("wav", "libmp3lame"), ("ogg", "flac")])
def test_what_libsndfile_can_decode_needs_no_extra(
    encode: Encode, monkeypatch: pytest.MonkeyPatch, container: str, codec: str
) -> None:
    path = encode(container, codec)
    monkeypatch.setattr("divisi.audio.decode.importlib.util.find_spec", lambda name: None)
    with open_decoder(path) as decoder:
        assert sum(block.shape[1] for block in decoder.blocks(10_000)) >= 96_000


def test_limits_hold_for_ffmpeg_too(encode: Encode, limits: AudioLimits) -> None:
    path = encode("adts", "aac", num_samples=61 * 8_000, sample_rate=8_000)
    assert error_of(path, limits).code == "audio-too-long"


def test_a_playlist_in_disguise_is_not_followed(write_bytes: WriteBytes) -> None:
    playlist = b"ffconcat version 1.0\nfile /etc/hostname\n"
    assert error_of(write_bytes(b"\0\0\0\x18ftypM4A \0\0\0\0" + playlist)).code == "undecodable"


def test_a_film_without_sound_is_not_audio(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film"), "w", format="mp4") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert error_of(tmp_path / "film").code == "not-audio"


def test_the_child_has_memory_enough_for_ffmpeg(encode: Encode, limits: AudioLimits) -> None:
    facts = inspect_audio_in_child(encode("mp4", "aac"), limits)
    assert facts.exact
    assert facts.num_samples >= 96_000
