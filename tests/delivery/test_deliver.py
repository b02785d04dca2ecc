from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import soundfile

from divisi.contract.errors import InputError, ModelError
from divisi.contract.files import StemFormat
from divisi.delivery.deliver import separate_file
from divisi.separation.separator import SeparationOptions, Separator

# Steps of full scale that rounding to 24 bits may cost in the sum of three files: half a step each.
ROUNDING_24_BIT = 1.5 * 2.0**-23
# What float files may cost: a float32 sum of three.
ROUNDING_FLOAT = 1e-6


@pytest.fixture
def separator(make_card, make_low_high) -> Separator:
    card = make_card(length_multiple=512, extra_outputs=({"name": "f0", "hop_length": 512},))
    return Separator(make_low_high(card), card)


@pytest.fixture
def recording(tmp_path, noise):
    """Writes a WAV of floats; gives its path."""

    def write(samples, sample_rate=16_000):
        path = tmp_path / "recording"
        soundfile.write(path, samples.T, sample_rate, format="WAV", subtype="FLOAT")
        return path

    return write


def read(path) -> tuple[np.ndarray, int]:
    samples, sample_rate = soundfile.read(path, dtype="float64", always_2d=True)
    return samples.T, sample_rate


@pytest.mark.parametrize(
    ("num_channels", "sample_rate", "num_samples"),
    [
        (1, 16_000, 1),
        (1, 16_000, 33_333),
        (2, 44_100, 4410),
        (2, 44_100, 88_201),
        (6, 48_000, 48_001),
        (2, 44_100, 1),
        (1, 8000, 7777),
    ],
)
@pytest.mark.parametrize(
    ("stem_format", "tolerance"),
    [
        (StemFormat.WAV24, ROUNDING_24_BIT),
        (StemFormat.FLAC, ROUNDING_24_BIT),
        (StemFormat.WAV32F, ROUNDING_FLOAT),
    ],
)
def test_the_files_add_up_to_the_recording_at_its_rate_length_and_channels(
    num_channels, sample_rate, num_samples, stem_format, tolerance, tmp_path, separator, recording, noise
) -> None:
    samples = noise(num_channels, num_samples)
    delivery = separate_file(recording(samples, sample_rate), tmp_path / "out", separator, stem_format)
    stems = [read(file.path) for file in delivery.files]
    assert [file.name for file in delivery.files] == ["low", "high", "residual"]
    assert {rate for _, rate in stems} == {sample_rate}
    assert {stem.shape for stem, _ in stems} == {(num_channels, num_samples)}
    assert np.abs(sum(stem for stem, _ in stems) - samples).max() <= tolerance
    assert delivery.conservation_dbfs is not None
    assert delivery.conservation_dbfs < -90
    assert (delivery.sample_rate, delivery.num_channels, delivery.num_samples) == samples_facts(samples, sample_rate)


def samples_facts(samples, sample_rate) -> tuple[int, int, int]:
    return sample_rate, samples.shape[0], samples.shape[1]


def test_each_file_is_described_as_it_lies_there(tmp_path, separator, recording, noise) -> None:
    samples = noise(2, 20_000)
    delivery = separate_file(recording(samples), tmp_path / "out", separator, StemFormat.WAV32F)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["high.wav", "low.wav", "residual.wav"]
    for file in delivery.files:
        content = file.path.read_bytes()
        assert file.bytes == len(content)
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert file.peak == pytest.approx(np.abs(read(file.path)[0]).max(), abs=ROUNDING_FLOAT)
        assert file.is_residual == (file.name == "residual")
        assert file.clipped_samples == 0
        assert file.media_type == "audio/wav"
    assert delivery.real_time_factor == pytest.approx(delivery.wall_seconds / (20_000 / 16_000))


def test_lossy_files_are_delivered_at_the_recordings_length(tmp_path, separator, recording, noise) -> None:
    delivery = separate_file(recording(noise(2, 30_000), 48_000), tmp_path / "out", separator, StemFormat.OGG)
    assert [file.path.suffix for file in delivery.files] == [".ogg"] * 3
    assert {soundfile.info(file.path).frames for file in delivery.files} == {30_000}


def test_what_a_format_cuts_off_is_in_the_residual(tmp_path, separator, recording, noise) -> None:
    """A stem may be louder than the recording: two sources that nearly cancel."""
    loud = np.tile(np.array([0.9, -0.9], np.float32), 8000)[None] + 0.3 * noise(1, 16_000)
    loud[:, 8000:] *= -1
    path = recording(np.clip(loud, -1, 1))
    gained = Separator(_Louder(separator.engine), separator.card)
    delivery = separate_file(path, tmp_path / "out", gained, StemFormat.WAV24)
    assert delivery.files[1].peak > 1.5
    assert delivery.files[1].clipped_samples > 1000
    assert delivery.files[2].clipped_samples == 0
    total = sum(read(file.path)[0] for file in delivery.files)
    # The highest word of 24 bits is a step below full scale.
    assert np.abs(total - read(path)[0]).max() <= ROUNDING_24_BIT + 2.0**-23
    unclipped = separate_file(path, tmp_path / "float", gained, StemFormat.WAV32F)
    assert {file.clipped_samples for file in unclipped.files} == {0}


class _Louder:
    """Estimates twice as loud as they should be."""

    name, device = "louder", "cpu"

    def __init__(self, engine) -> None:
        self._engine = engine

    def run(self, mixture, roster=None):
        outputs = self._engine.run(mixture, roster)
        return outputs | {"estimates": 2 * outputs["estimates"]}

    def close(self) -> None:
        self._engine.close()


def test_wanted_stems_without_the_residual(tmp_path, separator, recording, noise) -> None:
    options = SeparationOptions(stems=("high",), include_residual=False)
    delivery = separate_file(recording(noise(1, 5000)), tmp_path / "out", separator, StemFormat.WAV16, options)
    assert [file.name for file in delivery.files] == ["high"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["high.wav"]
    assert (delivery.pitch, delivery.resynthesis) == ((), None)
    assert delivery.conservation_dbfs is None


def test_pitch_is_delivered_in_three_forms(tmp_path, separator, recording, noise) -> None:
    options = SeparationOptions(stems=("high",), include_pitch=True)
    delivery = separate_file(recording(noise(1, 5000)), tmp_path / "out", separator, StemFormat.WAV16, options)
    assert [file.name for file in delivery.pitch] == [
        *("pitch.csv", "pitch.json", "notes.mid", "bars.json", "intonation.csv", "intonation.json"),
        *("score.musicxml", "high.musicxml"),
    ]
    for file in delivery.pitch:
        content = file.path.read_bytes()
        assert file.path == tmp_path / "out" / file.name
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    tracks = json.loads((tmp_path / "out" / "pitch.json").read_text())
    assert (list(tracks["voices"]), tracks["num_frames"], tracks["hop_seconds"]) == (["high"], 10, 0.032)


def test_the_picture_names_the_tuning_of_the_pitch_files(
    tmp_path, make_card, make_low_high, recording, noise, monkeypatch
) -> None:
    extra = ({"name": "f0", "hop_length": 512}, {"name": "voicing", "hop_length": 512})
    card = make_card(length_multiple=512, extra_outputs=extra)
    engine = make_low_high(card)
    split, titles = engine.run, []

    def sing(mixture, roster=None):
        outputs = split(mixture, roster)
        outputs["f0"][:] = np.array([[440.0], [450.0]])
        outputs["voicing"][:] = np.array([[1.0], [0.2]])  # the second voice is hardly sure, and counts less
        return outputs

    def draw(path, title, *_) -> None:
        titles.append(title)
        path.touch()

    monkeypatch.setattr(engine, "run", sing)
    monkeypatch.setattr("divisi.delivery.views.write_report", draw)
    options = SeparationOptions(include_pitch=True, include_views=True)
    separate_file(recording(noise(1, 33_333)), tmp_path, Separator(engine, card), StemFormat.WAV16, options)
    tuning = json.loads((tmp_path / "pitch.json").read_text())["tuning"]
    assert 440.5 < tuning["a4_hz"] < 444.5
    assert titles[0].endswith(f"A4 = {tuning['a4_hz']:.1f} Hz")


def test_a_model_without_pitch_or_resynthesis_delivers_none(
    tmp_path, make_card, make_low_high, recording, noise
) -> None:
    card = make_card()
    plain = Separator(make_low_high(card), card)
    options = SeparationOptions(include_pitch=True, include_resynthesis=True)
    delivery = separate_file(recording(noise(1, 5000)), tmp_path / "out", plain, StemFormat.WAV16, options)
    assert (delivery.pitch, delivery.resynthesis) == ((), None)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["high.wav", "low.wav", "residual.wav"]


@pytest.mark.parametrize(
    ("num_channels", "sample_rate", "num_samples"),
    [(1, 16_000, 33_333), (2, 44_100, 88_201), (6, 48_000, 24_001), (2, 44_100, 1), (1, 8000, 7777), (3, 11_025, 9999)],
)
def test_the_resynthesis_is_as_long_as_the_recording_at_its_rate_on_the_models_channels(
    num_channels, sample_rate, num_samples, tmp_path, make_card, make_low_high, recording, noise
) -> None:
    card = make_card(extra_outputs=({"name": "resynthesis"},))
    singer = Separator(make_low_high(card), card)
    seconds = np.arange(num_samples) / sample_rate
    tone = np.tile(0.2 * np.sin(2 * np.pi * 440 * seconds), (num_channels, 1)).astype(np.float32)
    options = SeparationOptions(include_resynthesis=True)
    path = recording(tone, sample_rate)
    delivery = separate_file(path, tmp_path / "out", singer, StemFormat.WAV32F, options)
    assert delivery.resynthesis is not None
    assert delivery.resynthesis.path == tmp_path / "out" / "resynthesis.wav"
    assert [file.name for file in delivery.files] == ["low", "high", "residual"]
    samples, rate = read(delivery.resynthesis.path)
    assert (rate, samples.shape) == (sample_rate, (1, num_samples))
    assert delivery.conservation_dbfs < -90
    # The engine sings twice as loud. Filters of two changes of rate ring at the very ends.
    inner = slice(num_samples // 10, -num_samples // 10)
    np.testing.assert_allclose(samples[0, inner], 2 * tone[0, inner], atol=1e-4)


def test_who_was_taken_to_sing_is_told(tmp_path, make_card, make_passthrough, recording, noise) -> None:
    card = make_card(stems=("soprano", "alto", "tenor", "bass"), takes_roster=True)
    quartet = Separator(make_passthrough(card), card)
    path = recording(noise(1, 5000))

    def told(options):
        delivery = separate_file(path, tmp_path / "out", quartet, StemFormat.WAV16, options)
        return delivery.voices, delivery.are_voices_detected

    assert told(None) == (card.stems, False)
    assert told(SeparationOptions(voices=("bass", "alto"))) == (("alto", "bass"), False)
    assert told(SeparationOptions(voices="auto")) == (card.stems, True)


@pytest.mark.parametrize("voices", [None, ("high",), "auto"])
def test_equal_requests_deliver_equal_bytes(voices, tmp_path, make_card, make_low_high, recording, noise) -> None:
    extra = ({"name": "f0", "hop_length": 512}, {"name": "voicing", "hop_length": 512}, {"name": "resynthesis"})
    card = make_card(length_multiple=512, extra_outputs=extra, takes_roster=True)
    separator = Separator(make_low_high(card), card)
    path = recording(noise(2, 40_000), 44_100)
    options = SeparationOptions(voices=voices, include_pitch=True, include_resynthesis=True)
    for name in ("1", "2"):
        separate_file(path, tmp_path / name, separator, StemFormat.FLAC, options)
    first, second = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("1", "2"))
    assert len(first) == 13
    assert first == second


def test_progress_rises_while_voices_are_heard_first(tmp_path, make_card, make_low_high, recording, noise) -> None:
    card = make_card(takes_roster=True)
    separator = Separator(make_low_high(card), card)
    progress: list[float] = []
    options = SeparationOptions(voices="auto")
    path = recording(noise(1, 30_000))
    separate_file(path, tmp_path / "out", separator, StemFormat.WAV16, options, progress.append)
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert len(progress) > 5


def test_progress_is_reported(tmp_path, separator, recording, noise) -> None:
    progress: list[float] = []
    separate_file(
        recording(noise(1, 30_000)), tmp_path / "out", separator, StemFormat.WAV16, on_progress=progress.append
    )
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert len(progress) > 5


@pytest.mark.parametrize("is_one_of_several", [False, True])
def test_a_recording_called_like_a_stem_is_not_replaced(
    is_one_of_several, tmp_path, separator, recording, noise
) -> None:
    path = recording(noise(1, 8000)).rename(tmp_path / "low.wav")
    content = path.read_bytes()
    mixture = path
    if is_one_of_several:
        mixture = tmp_path / "files"
        mixture.mkdir()
        (mixture / "000").symlink_to(path)
    with pytest.raises(InputError, match=r"low\.wav is the recording itself") as refused:
        separate_file(mixture, tmp_path, separator, StemFormat.WAV24)
    assert refused.value.code == "would-replace-recording"
    assert path.read_bytes() == content
    separate_file(path, tmp_path, separator, StemFormat.FLAC)
    assert path.read_bytes() == content


def test_a_recording_that_goes_bad_late_leaves_no_file(tmp_path, separator, recording, noise) -> None:
    samples = noise(1, 200_000)
    samples[0, -1] = np.nan
    with pytest.raises(InputError) as raised:
        separate_file(recording(samples), tmp_path / "out", separator, StemFormat.WAV24)
    assert raised.value.code == "non-finite-samples"
    assert not (tmp_path / "out").exists()


def test_a_failing_engine_leaves_no_file_and_what_was_there_before_stays(
    tmp_path, separator, recording, noise, monkeypatch
) -> None:
    out_dir = tmp_path / "out"
    separate_file(recording(noise(1, 5000)), out_dir, separator, StemFormat.WAV24)
    before = {path.name: path.read_bytes() for path in out_dir.iterdir()}

    def fail(mixture, roster=None):
        raise ModelError("out of memory", code="engine-failed")

    monkeypatch.setattr(separator.engine, "run", fail)
    with pytest.raises(ModelError, match="out of memory"):
        separate_file(recording(noise(1, 9000, seed=1)), out_dir, separator, StemFormat.WAV24)
    assert {path.name: path.read_bytes() for path in out_dir.iterdir()} == before


@pytest.mark.parametrize(
    ("stem_format", "num_channels", "options", "code"),
    [
        (StemFormat.MP3, 6, None, "unsupported-stem-format"),
        (StemFormat.WAV24, 1, SeparationOptions(stems=("tuba",)), "unknown-stem"),
        (StemFormat.WAV24, 1, SeparationOptions(voices=("low",)), "voices-not-supported"),
        (StemFormat.WAV24, 1, SeparationOptions(voices="auto"), "voices-not-supported"),
    ],
)
def test_what_cannot_be_delivered_is_refused_before_a_folder_is_made(
    stem_format, num_channels, options, code, tmp_path, separator, recording, noise
) -> None:
    with pytest.raises(InputError) as raised:
        separate_file(recording(noise(num_channels, 5000)), tmp_path / "out", separator, stem_format, options)
    assert raised.value.code == code
    assert not (tmp_path / "out").exists()
