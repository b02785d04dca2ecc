"""The corpus of odd files: one row each, with what must become of it. Written down by hand, not by running the decoder.

`PLAIN`: the samples that ffmpeg makes of the plain file; `FFMPEG`: those that it makes of the odd file itself;
`plain(name)`: those of another plain file; else the code of a refusal and a word of its reason.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from tests.audio import byte_edits as b
from tests.audio.plain_files import BY_FFMPEG, BY_SOX

PLAIN = "plain"
FFMPEG = "ffmpeg"
DAMAGED = "undecodable"
UNSUPPORTED = "unsupported-format"
EMPTY = "empty-audio"
NOT_AUDIO = "not-audio"
REFUSALS = {DAMAGED, UNSUPPORTED, EMPTY, NOT_AUDIO, "invalid-sample-rate", "non-finite-samples", "samples-too-large"}

# Read with FFmpeg's libraries, the extra `av`.
NEEDS_AV = {"wav.yamaha", "wav.wma", "caf.alac", "caf.opus", "caf.ac3", "ogg.speex", "adts", "adts.mono"}
NEEDS_AV |= {name for name in BY_FFMPEG if name.startswith(("m4a", "mp4", "mov", "3gp", "webm", "mkv"))}


@dataclass(frozen=True)
class OddFile:
    """`reason`: a word that a refusal's message holds; `times`: how often the expected samples are repeated;
    `skip`: samples at the beginning that decoders make up, because what they lean on was cut off (MP3's bit reservoir).
    """

    name: str
    plain: str
    edit: b.Edit
    expected: str
    reason: str = ""
    times: int = 1
    skip: int = 0


# ffmpeg 5 reads RIFX as if it were RIFF. Its Speex keeps what encoders put in front; libsndfile adds a block of GSM.
_PLAIN_AS = {
    "sox.rifx": "wav.s16",
    "mp4.second": "m4a.aac",
    "w64": UNSUPPORTED,
    "au": UNSUPPORTED,
    "asf": UNSUPPORTED,
    "latm": UNSUPPORTED,
    "ts": UNSUPPORTED,
    "m2ts": UNSUPPORTED,
    "dts": UNSUPPORTED,
    "sox": UNSUPPORTED,
}
_REFUSED = {UNSUPPORTED: UNSUPPORTED, "mp4.silent": NOT_AUDIO}


def _plain_rows() -> list[OddFile]:
    rows = []
    for name in (*BY_FFMPEG, *BY_SOX):
        if name in ("ogg.speex", "sox.gsm"):
            continue
        expected = _REFUSED.get(name, _PLAIN_AS.get(name, PLAIN))
        rows.append(OddFile(f"{name}: as it is", name, b.same, expected))
    return rows


# What pipes and programs leave in the size of the data, and of the whole.
_MARKS = [0, 0xFFFF_FFFF, 0xFFFF_FFDB, 0xFFFF_FFFE, 0x7FFF_FFFF, 0x7FFF_F000, 0x7F00_0000, 0x8000_0000, 0x7FFF_FFDB]
_OUTER_SIZES = [0, 36, 0x7FFF_F024, 0xFFFF_FFFF]

WAV = [
    *(OddFile(f"size {m:#x}", "wav.s16", b.streamed(m, min(m + 36, 0xFFFF_FFFF)), PLAIN) for m in _MARKS),
    *(OddFile(f"size -1, outer {o:#x}", "wav.s24", b.streamed(0xFFFF_FFFF, o), PLAIN) for o in _OUTER_SIZES),
    OddFile("mark, LIST in front", "wav.s16.info", b.size_at(b"data", 0x7FFF_F000), PLAIN),
    OddFile("mark, tag in front", "wav.s16", b.both(b.streamed(0xFFFF_FFFF, 0), b.front(b.ID3V2)), PLAIN),
    OddFile("wrong outer size", "wav.s16", b.put(4, struct.pack("<I", 1_234)), PLAIN),
    OddFile("outer size 0", "wav.s16", b.put(4, bytes(4)), PLAIN),
    OddFile("outer size of all ones", "wav.s16", b.put(4, b"\xff" * 4), PLAIN),
    OddFile("size of one byte more", "wav.s16", b.size_changed(b"data", 1), PLAIN),
    OddFile("size of three bytes more", "wav.s16", b.size_changed(b"data", 3), PLAIN),
    OddFile("size of a sample more", "wav.s16", b.size_changed(b"data", 4), DAMAGED, "truncated"),
    OddFile("size of three bytes less", "wav.s16", b.size_changed(b"data", -3), FFMPEG),
    OddFile("size of 36 bytes less", "wav.s16", b.size_changed(b"data", -36), FFMPEG),
    OddFile("size of 2 GiB cut", "wav.s16", b.streamed(0x7000_0000, 0x7000_0024), DAMAGED, "truncated"),
    OddFile("size of 3 GiB cut", "wav.s16", b.streamed(0xC000_0000, 0xC000_0024), DAMAGED, "truncated"),
    *(
        OddFile(f"{n.decode()} in front", "wav.s16", b.chunk_in_front(n, body), PLAIN)
        for n, body in {
            b"JUNK": bytes(28),
            b"PAD ": bytes(4_000),
            b"bext": bytes(602),
            b"iXML": b"<BWFXML/>" * 101,
            b"LIST": b"INFOINAM\x05\0\0\0Ave\0\0\0",
            b"cue ": struct.pack("<I", 0),
            b"id3 ": b.ID3V2,
            b"FLLR": bytes(4_040),
            b"fact": struct.pack("<I", 7),
            b"ds64": bytes(28),
            b"\0\0\0\0": bytes(8),
        }.items()
    ),
    OddFile("odd LIST without padding in front", "wav.s16", b.chunk_in_front(b"LIST", b"INFOx", padded=False), PLAIN),
    OddFile("odd bext without padding in front", "wav.s16", b.chunk_in_front(b"bext", bytes(603), padded=False), PLAIN),
    OddFile("LIST behind", "wav.s16", b.behind(b.chunk(b"LIST", b"INFOx")), PLAIN),
    OddFile("id3 behind, cut", "wav.s16", b.behind(b"id3 \xff\0\0\0" + b.ID3V2), PLAIN),
    OddFile("ID3v1 behind", "wav.s16", b.behind(b.ID3V1), PLAIN),
    OddFile("zeros behind", "wav.s16", b.behind(bytes(5_000)), PLAIN),
    OddFile("noise behind", "wav.s16", b.behind(np.random.default_rng(1).bytes(999)), PLAIN),
    OddFile("ID3v2 in front", "wav.s16", b.front(b.ID3V2), PLAIN),
    OddFile("two data chunks", "wav.s16", b.data_in_two, PLAIN),
    OddFile("format of 18 bytes", "wav.s16", b.format_changed(b.behind(bytes(2))), PLAIN),
    OddFile("format of 20 bytes", "wav.s16", b.format_changed(b.behind(bytes(4))), PLAIN),
    OddFile("format of 50 bytes", "wav.s16", b.format_changed(b.behind(bytes(34))), PLAIN),
    OddFile("format of 1016 bytes", "wav.f32", b.format_changed(b.behind(bytes(1_000))), PLAIN),
    OddFile("format of 14 bytes, u8", "wav.u8", b.format_changed(b.without_last(2)), PLAIN),
    OddFile("block length 0", "wav.s16", b.format_changed(b.put(12, bytes(2))), PLAIN),
    OddFile("word length 0", "wav.s16", b.format_changed(b.put(14, bytes(2))), PLAIN),
    OddFile("word length 0", "wav.f32", b.format_changed(b.put(14, bytes(2))), PLAIN),
    OddFile("samples in front of the format", "wav.s24", b.chunks_reversed("<"), PLAIN),
    OddFile("samples in front, cut", "wav.s24", b.both(b.chunks_reversed("<"), b.without_last(60)), DAMAGED, "format"),
    OddFile("byte rate 0", "wav.s16", b.format_changed(b.put(8, bytes(4))), PLAIN),
    OddFile("rate 0", "wav.s16", b.format_changed(b.put(4, bytes(4))), "invalid-sample-rate"),
    OddFile("no channels", "wav.s16", b.format_changed(b.put(2, bytes(2))), DAMAGED),
    OddFile("unknown codec", "wav.s16", b.format_changed(b.put(0, b"\x77\x77")), UNSUPPORTED),
    OddFile("no format", "wav.s16", b.put(12, b"xxxx"), DAMAGED, "no format"),
    OddFile("no data", "wav.s16", b.put(36, b"xxxx"), DAMAGED, "no samples"),
    OddFile("header only", "wav.s16", lambda content: content[:44], DAMAGED, "truncated"),
    OddFile("half a header", "wav.s16", lambda content: content[:20], DAMAGED, "truncated"),
    OddFile("half", "wav.s24", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("a byte less", "wav.s16", b.without_last(1), DAMAGED, "truncated"),
    OddFile("half of ADPCM", "wav.ima", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("mp3 cut", "wav.mp3", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("float with NaN", "wav.f32", b.put(4_000, b"\xff" * 4), "non-finite-samples"),
    OddFile("BW64", "rf64.s24", b.put(0, b"BW64"), PLAIN),
    OddFile("RF64, unfilled ds64", "rf64.s24", b.put(28, bytes(8)), PLAIN),
    OddFile("RF64, ds64 of ones", "rf64.s24", b.put(28, b"\xff" * 8), PLAIN),
    OddFile("RF64 cut", "rf64.s24", b.without_last(100), DAMAGED, "truncated"),
    OddFile("RIFX from a pipe", "sox.rifx", b.size_at(b"data", 0x7FFF_F000, ">I"), "wav.s16"),
    OddFile("sox from a pipe, cut (unknowable)", "sox.pipe.wav", b.without_last(4_000), FFMPEG),
    OddFile("RIFF of a film", "wav.s16", b.put(8, b"AVI "), UNSUPPORTED, "AVI"),
]

AIFF = [
    OddFile("samples in front of the format", "aiff.s16", b.chunks_reversed(">"), PLAIN),
    OddFile("sowt, samples first", "aifc.sowt", b.chunks_reversed(">"), PLAIN),
    *(
        OddFile(f"size {m:#x}", "aiff.s24", b.both(b.size_at(b"SSND", m, ">I"), b.put(4, struct.pack(">I", m))), PLAIN)
        for m in (0, 8, 0x7F00_0008, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
    ),
    OddFile("wrong outer size", "aiff.s16", b.put(4, struct.pack(">I", 99)), PLAIN),
    OddFile("no samples promised in COMM", "aiff.s16", b.put(22, bytes(4)), PLAIN),
    OddFile("too many samples promised in COMM", "aiff.s16", b.put(22, b"\x7f\0\0\0"), PLAIN),
    OddFile("NAME of odd length", "aiff.s16", b.chunk_in_front(b"NAME", b"Ave", ">"), PLAIN),
    OddFile("NAME of odd length, no padding", "aiff.s16", b.chunk_in_front(b"NAME", b"Ave", ">", False), PLAIN),
    OddFile("ID3 chunk in front", "aiff.s16", b.chunk_in_front(b"ID3 ", b.ID3V2, ">"), PLAIN),
    OddFile("ID3 chunk behind", "aiff.s16", b.behind(b.chunk(b"ID3 ", b.ID3V2, ">")), PLAIN),
    OddFile("zeros behind", "aifc.fl32", b.behind(bytes(999)), PLAIN),
    OddFile("ID3v2 in front", "aifc.sowt", b.front(b.ID3V2), PLAIN),
    OddFile("half", "aiff.s16", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("no samples", "aiff.s16", lambda content: content[:46], DAMAGED),
    OddFile("half of fl32", "aifc.fl32", b.first_part(0.5), DAMAGED, "truncated"),
]

CAF = [
    OddFile("size -1", "caf.s16", b.size_at(b"data", (1 << 64) - 1, ">Q"), PLAIN),
    OddFile("size -1, mulaw", "caf.mulaw", b.size_at(b"data", (1 << 64) - 1, ">Q"), PLAIN),
    OddFile("ID3v2 in front", "caf.s24le", b.front(b.ID3V2), PLAIN),
    OddFile("free behind", "caf.f32", b.behind(b"free" + struct.pack(">Q", 7) + bytes(7)), PLAIN),
    OddFile("half", "caf.s16", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("half of ALAC", "caf.alac", b.first_part(0.5), DAMAGED, "truncated"),
]

_TAGS_IN_FRONT = {
    "ID3v2": b.ID3V2,
    "two ID3v2": b.ID3V2 + b.ID3V2_WITH_FOOTER,
    "unsynchronised ID3v2": b.ID3V2_UNSYNCHRONISED,
    "ID3v2 and padding": b.ID3V2 + bytes(5_000),
    "APEv2": b.APEV2,
    "zeros": bytes(80_000),
}
_TAGS_BEHIND = {
    "ID3v1": b.ID3V1,
    "enhanced ID3v1": b.ID3V1_ENHANCED,
    "APEv2": b.APEV2,
    "APEv2 without a header": b.APE_ITEMS + b.APE_FOOTER[:20] + bytes(12),
    "APEv2 and ID3v1": b.APEV2 + b.ID3V1,
    "Lyrics3 and ID3v1": b.LYRICS3 + b.ID3V1,
    "Lyrics3 v1 and ID3v1": b.LYRICS3_V1 + b.ID3V1,
    "ID3v2 with footer": b.ID3V2_WITH_FOOTER,
}
_TAGGED = ("flac.s16", "flac.pipe", "ogg.vorbis", "ogg.opus", "mp3.cbr", "mp3.bare", "mp3.mpeg2", "adts")
TAGS = [
    *(OddFile(f"{n} in front", p, b.front(tag), PLAIN) for p in _TAGGED for n, tag in _TAGS_IN_FRONT.items()),
    *(OddFile(f"{n} behind", p, b.behind(tag), PLAIN) for p in _TAGGED for n, tag in _TAGS_BEHIND.items()),
    OddFile("tag and no sound", "mp3.cbr", lambda content: b.ID3V2, EMPTY),
    OddFile("ID3v2 in front", "m4a.aac", b.front(b.ID3V2), PLAIN),
]

_NOISE = np.random.default_rng(7).bytes(3_000)
FLAC = [
    OddFile(
        "no promise",
        "flac.s24",
        lambda content: content[:21] + bytes([content[21] & 0xF0, 0, 0, 0, 0]) + content[26:],
        PLAIN,
    ),
    OddFile("two joined", "flac.s16", b.repeated(2), PLAIN, times=2),
    OddFile("two joined, in Ogg", "ogg.flac", b.repeated(2), PLAIN, times=2),
    OddFile("noise behind", "flac.s16", b.behind(_NOISE), PLAIN),
    OddFile("zeros behind", "flac.s16", b.behind(bytes(4_000)), PLAIN),
    OddFile("noise behind", "flac.pipe", b.behind(_NOISE), PLAIN),
    OddFile("300 kB of noise behind", "flac.pipe", b.behind(np.random.default_rng(8).bytes(300_000)), PLAIN),
    OddFile("a zero behind", "flac.pipe", b.behind(b"\0"), PLAIN),
    OddFile("2 MB of zeros behind", "flac.pipe", b.behind(bytes(2_000_000)), PLAIN),
    OddFile("zeros and ID3v1 behind", "flac.pipe", b.behind(bytes(4_000) + b.ID3V1), PLAIN),
    OddFile("APEv2 and zeros behind", "flac.pipe", b.behind(b.APEV2 + bytes(300)), PLAIN),
    OddFile("text behind", "flac.pipe", b.behind(b"flac: done\n"), PLAIN),
    OddFile("two joined", "flac.pipe", b.repeated(2), PLAIN, times=2),
    OddFile("two joined, zeros between", "flac.pipe", b.both(b.behind(bytes(99)), b.repeated(2)), PLAIN, times=2),
    OddFile("a byte less", "flac.pipe", b.without_last(1), DAMAGED),
    OddFile("half, then zeros", "flac.pipe", b.both(b.first_part(0.5), b.behind(bytes(4_000))), DAMAGED),
    OddFile("bit changed", "flac.pipe", b.flip(0.6), DAMAGED),
    OddFile("noise within", "flac.pipe", b.insert(0.5, _NOISE), DAMAGED),
    OddFile("header only", "flac.pipe", lambda content: content[:42], EMPTY),
    OddFile("half", "flac.s16", b.first_part(0.5), DAMAGED),
    OddFile("half, no promise", "flac.pipe", b.first_part(0.5), DAMAGED),
    OddFile("bit changed", "flac.s16", b.flip(0.6), DAMAGED),
    OddFile("noise within", "flac.s16", b.insert(0.5, _NOISE), DAMAGED),
    OddFile("half, in Ogg", "ogg.flac", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("header only", "flac.s16", lambda content: content[:42], DAMAGED),
]

OGG = [
    OddFile("two joined", "ogg.vorbis", b.repeated(2), PLAIN, times=2),
    OddFile("three joined", "ogg.opus", b.repeated(3), PLAIN, times=3),
    OddFile("tag between two", "ogg.opus", b.both(b.behind(b.ID3V1), b.repeated(2)), PLAIN, times=2),
    OddFile("no end flag", "ogg.vorbis", b.without_end_flag, PLAIN),
    OddFile("no end flag", "ogg.opus", b.without_end_flag, PLAIN),
    OddFile("station playing for an hour", "ogg.vorbis", b.granules_later(48_000 * 3_600), PLAIN),
    OddFile("station playing for an hour", "ogg.opus", b.granules_later(48_000 * 3_600), PLAIN),
    OddFile("station tuned in to", "ogg.opus", b.both(b.granules_later(9_999_999), b.without_page(2)), FFMPEG),
    OddFile("beginning missing", "ogg.opus", b.without_page(2), FFMPEG),
    OddFile("beginning missing", "ogg.vorbis", b.without_page(2), FFMPEG),
    *(OddFile(f"once at {r} Hz", "ogg.opus", b.opus_head(12, struct.pack("<I", r)), PLAIN) for r in (0, 8_000, 44_100)),
    OddFile("long start of an encoder", "ogg.opus", b.opus_head(10, struct.pack("<H", 3_841)), FFMPEG),
    OddFile("turned down", "ogg.opus", b.opus_head(16, struct.pack("<h", -6 * 256)), FFMPEG),
    OddFile("noise behind", "ogg.vorbis", b.behind(_NOISE), PLAIN),
    OddFile("zeros behind", "ogg.opus", b.behind(bytes(4_000)), PLAIN),
    OddFile("half", "ogg.vorbis", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("bit changed", "ogg.opus", b.flip(0.6), DAMAGED, "checksum"),
    OddFile("page missing", "ogg.vorbis", b.without_page(4), DAMAGED),
    OddFile("noise within", "ogg.vorbis", b.insert(0.7, _NOISE), DAMAGED),
    OddFile("film cut", "ogg.theora", b.first_part(0.6), DAMAGED, "truncated"),
    OddFile("two films joined", "ogg.theora", b.repeated(2), PLAIN, times=2),
]

MPEG = [
    OddFile("free format", "mp3.bare", b.in_free_format, PLAIN),
    OddFile("starts within a frame", "mp3.bare", b.without_first(777), FFMPEG, skip=2_304),
    OddFile("starts within a frame", "mp3.layer2", b.without_first(777), FFMPEG),
    OddFile("noise in front", "mp3.bare", b.front(_NOISE), PLAIN),
    OddFile("text in front", "mp3.bare", b.front(b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n"), PLAIN),
    OddFile("100 kB of zeros in front", "mp3.vbr", b.front(bytes(100_000)), PLAIN),
    OddFile("300 kB of zeros behind", "mp3.vbr", b.behind(bytes(300_000)), PLAIN),
    OddFile("noise behind", "mp3.cbr", b.behind(_NOISE), PLAIN),
    OddFile("text behind", "mp3.mono", b.behind(b"<html>404</html>" * 9), PLAIN),
    OddFile("half, tag promises more", "mp3.cbr", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("half, VBR", "mp3.vbr", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("three frames", "mp3.bare", lambda content: content[: 3 * 384], FFMPEG),
    OddFile("starts within a frame", "adts", b.without_first(777), FFMPEG),
    OddFile("starts within a frame", "adts.mono", b.without_first(50), FFMPEG),
    OddFile("noise behind", "adts", b.behind(_NOISE), PLAIN),
    OddFile("zeros behind", "adts", b.behind(bytes(4_000)), PLAIN),
    OddFile("noise in front", "adts", b.front(_NOISE), PLAIN),
    OddFile("noise within", "adts", b.insert(0.5, _NOISE), DAMAGED),
]

BOXES = [
    OddFile("no ftyp", "m4a.aac", b.without_box(b"ftyp", but_keep_places=True), PLAIN),
    OddFile("wide in front, no ftyp", "mov.aac", b.without_box(b"ftyp", but_keep_places=True), PLAIN),
    OddFile("no ftyp, PCM", "mov.s16", b.without_box(b"ftyp", but_keep_places=True), PLAIN),
    OddFile("free behind", "m4a.aac", b.box_behind(b"free"), PLAIN),
    OddFile("free behind, cut", "mp4.front", b.both(b.box_behind(b"free"), b.without_last(5)), PLAIN),
    OddFile("unknown box behind", "m4a.alac", b.box_behind(b"Xtra"), PLAIN),
    OddFile("ID3v1 behind", "m4a.aac", b.behind(b.ID3V1), PLAIN),
    OddFile("zeros behind", "m4a.aac", b.behind(bytes(4_000)), PLAIN),
    OddFile("noise behind", "m4a.aac", b.behind(_NOISE), PLAIN),
    OddFile("sound to the end of the file", "mp4.front", b.box_of_open_size(b"mdat"), PLAIN),
    OddFile("no index", "m4a.aac", b.without_box(b"moov"), DAMAGED, "unfinished"),
    OddFile("no index", "mov.s16", b.without_box(b"moov"), DAMAGED, "unfinished"),
    OddFile("half, index in front", "mp4.front", b.first_part(0.6), DAMAGED, "truncated"),
    OddFile("half, index behind", "m4a.aac", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("half of PCM", "mov.s16", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("pieces cut", "mp4.pieces", b.without_last(300), DAMAGED, "truncated"),
    OddFile("half", "webm.opus", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("half", "mkv.flac", b.first_part(0.5), DAMAGED, "truncated"),
    OddFile("zeros behind", "webm.opus", b.behind(bytes(999)), PLAIN),
]

FOREIGN = [
    OddFile("empty", "wav.s16", lambda content: b"", EMPTY),
    OddFile("zeros alone", "wav.s16", lambda content: bytes(9_999), EMPTY),
    OddFile("noise alone", "wav.s16", lambda content: np.random.default_rng(9).bytes(400_000), NOT_AUDIO),
    OddFile("ones alone", "wav.s16", lambda content: b"\xff" * 300_000, NOT_AUDIO),
    OddFile("text", "wav.s16", lambda content: b"Ave verum corpus " * 999, NOT_AUDIO),
]

ROWS = [*_plain_rows(), *WAV, *AIFF, *CAF, *TAGS, *FLAC, *OGG, *MPEG, *BOXES, *FOREIGN]
