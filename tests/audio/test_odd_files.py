"""Each file of the corpus is decoded as ffmpeg does, sample by sample, or refused for a reason of a fixed list."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from tests.audio.odd_files import FFMPEG, NEEDS_AV, PLAIN, REFUSALS, ROWS, OddFile
from tests.audio.plain_files import BY_FFMPEG, BY_SOX, HAS_PROGRAMS, decode_with_ffmpeg, make_plain_files

from divisi.audio.decode import open_decoder
from divisi.audio.recording import AudioLimits
from divisi.audio.sandbox import inspect_audio, inspect_audio_in_child
from divisi.contract.errors import InputError

pytestmark = pytest.mark.skipif(not HAS_PROGRAMS, reason="needs ffmpeg and sox")

LIMITS = AudioLimits(max_duration_seconds=60, max_channels=8, inspect_seconds=20)
# Decoders of lossy codecs round differently; PCM, FLAC, ALAC and companded samples are equal.
TOLERANCES = {
    "vorbis": 1e-6,
    "opus": 1e-6,
    "aac": 1e-6,
    "ac3": 1e-6,
    "wmav2": 1e-6,
    "mpeg_layer_iii": 1e-5,
    "mpeg_layer_ii": 1e-4,  # ffmpeg's works in fixed point
    "ima_adpcm": 2e-3,  # ffmpeg's takes shorter steps; the difference adds up within a block
}
# ffmpeg 5 gives all of the last block of these, we as many samples as the header says.
LONGEST_FILL = {"vorbis": 2_048, "aac": 1_024}
IN_CHILD = ["wav.s16: as it is", "mp3.vbr: as it is", "ogg.theora: as it is", "m4a.aac: as it is", "w64: as it is"]


@pytest.fixture(scope="module")
def plain_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    files = make_plain_files(tmp_path_factory.mktemp("plain"))
    pipe = files["flac.s16"].with_name("flac.pipe")
    content = files["flac.s16"].read_bytes()
    pipe.write_bytes(content[:21] + bytes([content[21] & 0xF0, 0, 0, 0, 0]) + content[26:])
    return {**files, "flac.pipe": pipe}


@pytest.fixture(scope="module")
def odd_files(plain_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[OddFile, Path]:
    folder = tmp_path_factory.mktemp("odd")
    made = {row: folder / f"{number}" for number, row in enumerate(ROWS)}
    for row, path in made.items():
        path.write_bytes(row.edit(plain_files[row.plain].read_bytes()))
    return made


@pytest.fixture(scope="module")
def by_ffmpeg(
    plain_files: dict[str, Path], odd_files: dict[OddFile, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """What ffmpeg makes of each file, by the file's name."""
    wanted = {row.plain for row in ROWS if row.expected == PLAIN} | {row.expected for row in ROWS} & set(plain_files)
    files = {name: plain_files[name] for name in sorted(wanted)}
    files |= {path.name: path for row, path in odd_files.items() if row.expected == FFMPEG}
    return decode_with_ffmpeg(files, tmp_path_factory.mktemp("decoded"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.plain}, {row.name}")
def test_it_is_decoded_as_ffmpeg_does_or_refused_by_its_name(
    row: OddFile, odd_files: dict[OddFile, Path], by_ffmpeg: dict[str, np.ndarray]
) -> None:
    if row.plain in NEEDS_AV and importlib.util.find_spec("av") is None:
        pytest.skip("needs the extra `av`")
    path = odd_files[row]
    if row.expected in REFUSALS:
        with pytest.raises(InputError) as caught:
            inspect_audio(path, LIMITS)
        assert (caught.value.code, row.reason in caught.value.message) == (row.expected, True), caught.value.message
        return
    with open_decoder(path, LIMITS) as decoder:
        decoded = np.concatenate(list(decoder.blocks(5_000)), axis=1)
        codec = decoder.facts.codec
    name = {PLAIN: row.plain, FFMPEG: path.name}.get(row.expected, row.expected)
    expected = by_ffmpeg[name].reshape(-1, len(decoded)).T
    fill = LONGEST_FILL.get(codec, 0)
    part = decoded.shape[1] // row.times
    assert expected.shape[1] - fill <= part <= expected.shape[1]
    for start in range(0, row.times * part, part):
        repetition = decoded[:, start + row.skip : start + part]
        np.testing.assert_allclose(repetition, expected[:, row.skip : part], rtol=0, atol=TOLERANCES.get(codec, 0))
    facts = inspect_audio(path, LIMITS)
    assert (facts.num_samples, facts.num_channels, facts.exact) == (decoded.shape[1], len(decoded), True)


@pytest.mark.parametrize("name", IN_CHILD)
def test_the_child_says_the_same(name: str, odd_files: dict[OddFile, Path]) -> None:
    row = next(row for row in ROWS if row.name == name)
    if row.plain in NEEDS_AV and importlib.util.find_spec("av") is None:
        pytest.skip("needs the extra `av`")
    if row.expected in REFUSALS:
        with pytest.raises(InputError) as caught:
            inspect_audio_in_child(odd_files[row], LIMITS)
        assert caught.value.code == row.expected
    else:
        assert inspect_audio_in_child(odd_files[row], LIMITS) == inspect_audio(odd_files[row], LIMITS)


def test_the_corpus_is_large_and_no_row_stands_twice() -> None:
    assert len({(row.plain, row.name) for row in ROWS}) == len(ROWS) >= 150
    assert {row.plain for row in ROWS} <= {*BY_FFMPEG, *BY_SOX, "flac.pipe"}


FUZZED = ["wav.s24", "wav.ima", "rf64.s24", "aiff.s16", "aifc.sowt", "caf.s16", "flac.s16", "ogg.flac", "ogg.vorbis"]
FUZZED += ["ogg.opus", "mp3.cbr", "mp3.bare", "adts", "m4a.aac", "mp4.front", "mp4.pieces", "webm.opus", "mkv.flac"]
# Files that promise no length; a tag of MP3 may count its own frame or not.
PROMISES_NOTHING = {"mp3.bare", "adts", "mp4.pieces"}
TAG_FRAME = {"mp3.cbr": 1_152}
OTHER_REFUSALS = {"too-many-channels", "audio-too-long", "audio-too-large"}


def num_decoded(path: Path) -> int | None:
    """Samples; None: refused, by a code that is known."""
    refusal = None
    try:
        return inspect_audio(path, LIMITS).num_samples
    except InputError as error:
        refusal = error
    assert refusal.code in REFUSALS | OTHER_REFUSALS, refusal.message
    return None


@pytest.mark.parametrize("name", FUZZED)
def test_damage_anywhere_is_decoded_or_refused_and_never_crashes(
    name: str, plain_files: dict[str, Path], tmp_path: Path
) -> None:
    if name in NEEDS_AV and importlib.util.find_spec("av") is None:
        pytest.skip("needs the extra `av`")
    content = plain_files[name].read_bytes()
    rng = np.random.default_rng(FUZZED.index(name))
    path = tmp_path / "damaged"
    for _ in range(12):
        changed = bytearray(content)
        # Headers are where damage leads furthest: half of it goes there.
        for place in (*rng.integers(0, min(400, len(content)), 2), rng.integers(0, len(content))):
            changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        num_decoded(path)
    for _ in range(6):
        place = rng.integers(0, len(content))
        path.write_bytes(content[:place] + rng.bytes(rng.integers(1, 3_000)) + content[place:])
        num_decoded(path)


@pytest.mark.parametrize("name", FUZZED)
def test_a_cut_anywhere_is_never_silently_short(name: str, plain_files: dict[str, Path], tmp_path: Path) -> None:
    if name in NEEDS_AV and importlib.util.find_spec("av") is None:
        pytest.skip("needs the extra `av`")
    content = plain_files[name].read_bytes()
    whole = num_decoded(plain_files[name])
    assert whole is not None
    rng = np.random.default_rng(FUZZED.index(name))
    path = tmp_path / "cut"
    for place in (0, 1, 4, 11, 12, 13, 40, 44, len(content) - 1, *rng.integers(0, len(content), 9)):
        path.write_bytes(content[:place])
        decoded = num_decoded(path)
        if name not in PROMISES_NOTHING:
            assert decoded is None or decoded >= whole - TAG_FRAME.get(name, 0), place
