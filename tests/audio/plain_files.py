"""Some fifty plain recordings of half a second, made by ffmpeg and sox: what the corpus of odd files is cut from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile

SECONDS = 0.5
HAS_PROGRAMS = shutil.which("ffmpeg") is not None and shutil.which("sox") is not None

_MP3 = "-c:a libmp3lame -map_metadata -1 -id3v2_version 0 -f mp3"
_VIDEO = "-map 1:v -map 0:a"

# Name: what ffmpeg is told about the output. Input 0 is stereo at 48 kHz, input 1 a picture.
BY_FFMPEG = {
    "wav.u8": "-c:a pcm_u8 -f wav -bitexact",
    "wav.s16": "-c:a pcm_s16le -f wav -bitexact",
    "wav.s16.info": "-c:a pcm_s16le -metadata title=Ave -f wav",
    "wav.s24": "-c:a pcm_s24le -f wav -bitexact",
    "wav.s32": "-c:a pcm_s32le -f wav -bitexact",
    "wav.f32": "-c:a pcm_f32le -f wav -bitexact",
    "wav.f64": "-c:a pcm_f64le -f wav -bitexact",
    "wav.alaw": "-c:a pcm_alaw -f wav -bitexact",
    "wav.mulaw": "-c:a pcm_mulaw -f wav -bitexact",
    "wav.ima": "-c:a adpcm_ima_wav -f wav -bitexact",
    "wav.ms": "-c:a adpcm_ms -f wav -bitexact",
    "wav.mp3": "-c:a libmp3lame -f wav",
    "wav.wma": "-c:a wmav2 -f wav",
    "wav.yamaha": "-c:a adpcm_yamaha -f wav",
    "wav.six": "-ac 6 -c:a pcm_s16le -f wav",
    "wav.mono": "-ac 1 -c:a pcm_s16le -f wav -bitexact",
    "rf64.s24": "-c:a pcm_s24le -rf64 always -f wav",
    "aiff.s16": "-c:a pcm_s16be -f aiff",
    "aiff.s24": "-c:a pcm_s24be -f aiff",
    "aiff.s8": "-c:a pcm_s8 -f aiff",
    "aifc.sowt": "-c:a pcm_s16le -f aiff",
    "aifc.fl32": "-c:a pcm_f32be -f aiff",
    "aifc.fl64": "-c:a pcm_f64be -f aiff",
    "aifc.alaw": "-c:a pcm_alaw -f aiff",
    "aifc.ulaw": "-c:a pcm_mulaw -f aiff",
    "caf.s16": "-c:a pcm_s16be -f caf",
    "caf.s24le": "-c:a pcm_s24le -f caf",
    "caf.f32": "-c:a pcm_f32be -f caf",
    "caf.mulaw": "-c:a pcm_mulaw -f caf",
    "caf.alac": "-c:a alac -f caf",
    "caf.opus": "-c:a opus -strict -2 -f caf",
    "caf.ac3": "-c:a ac3 -f caf",
    "flac.s16": "-c:a flac -f flac",
    "flac.s24": "-c:a flac -sample_fmt s32 -f flac",
    "ogg.flac": "-c:a flac -f ogg",
    "ogg.vorbis": "-c:a libvorbis -page_duration 100000 -f ogg",
    "ogg.opus": "-c:a libopus -page_duration 100000 -f ogg",
    "ogg.speex": "-ac 1 -ar 16000 -c:a libspeex -f ogg",
    "ogg.theora": f"{_VIDEO} -c:v libtheora -c:a libvorbis -f ogg",
    "mp3.cbr": f"{_MP3} -b:a 128k",
    "mp3.bare": f"{_MP3} -b:a 128k -write_xing 0",
    "mp3.vbr": f"{_MP3} -q:a 4",
    "mp3.tagged": "-c:a libmp3lame -metadata title=Ave -write_id3v1 1 -f mp3",
    "mp3.mono": f"{_MP3} -ac 1",
    "mp3.mpeg2": f"{_MP3} -ar 22050",
    "mp3.mpeg25": f"{_MP3} -ar 8000 -ac 1",
    "mp3.layer2": "-c:a mp2 -f mp2",
    "adts": "-c:a aac -f adts",
    "adts.mono": "-c:a aac -ac 1 -ar 16000 -f adts",
    "latm": "-c:a aac -f latm",
    "m4a.aac": "-c:a aac -f ipod",
    "m4a.eight": "-ac 8 -c:a aac -f ipod",
    "webm.eight": "-ac 8 -c:a libopus -mapping_family 1 -f webm",
    "m4a.alac": "-c:a alac -f ipod",
    "mp4.front": "-c:a aac -movflags faststart -f mp4",
    "mp4.pieces": "-c:a aac -movflags frag_keyframe+empty_moov -frag_duration 100000 -f mp4",
    "mp4.film": f"{_VIDEO} -c:v mpeg4 -c:a aac -f mp4",
    "mp4.two": "-map 0:a -map 0:a -c:a aac -f mp4",
    "mp4.second": "-map 0:a -map 0:a -ac:a:0 1 -c:a aac -disposition:a:0 0 -disposition:a:1 default -f mp4",
    "mp4.silent": "-map 1:v -c:v mpeg4 -f mp4",
    "mp4.pause": "-itsoffset 0 -c:a aac -output_ts_offset 0.3 -f mp4",
    "mov.s16": "-c:a pcm_s16le -f mov",
    "mov.s24": "-c:a pcm_s24be -f mov",
    "mov.aac": "-c:a aac -f mov",
    "3gp": "-c:a aac -f 3gp",
    "webm.opus": "-c:a libopus -f webm",
    "webm.vorbis": "-c:a libvorbis -f webm",
    "webm.live": "-c:a libopus -live 1 -f webm",
    "mkv.flac": "-c:a flac -f matroska",
    "mkv.s16": "-c:a pcm_s16le -f matroska",
    "mkv.film": f"{_VIDEO} -c:v mpeg4 -c:a aac -f matroska",
    "w64": "-c:a pcm_s16le -f w64",
    "au": "-c:a pcm_s16be -f au",
    "asf": "-c:a wmav2 -f asf",
    "ts": "-c:a aac -f mpegts",
    "m2ts": "-c:a mp2 -mpegts_m2ts_mode 1 -f mpegts",
    "dts": "-c:a dca -strict -2 -f dts",
    "sox": "-c:a pcm_s32le -f sox",
}

# Name: arguments of sox behind `sox INPUT`; `-` is a pipe, into which sox cannot go back to fill in sizes. What it does
# not know in advance it does not know from the input either: that is a pipe, too.
BY_SOX = {
    "sox.pipe.wav": "-t wav -",
    "sox.pipe.aiff": "-t aiff -",
    "sox.rifx": "-t wav -B {}",
    "sox.ima": "-t wav -e ima-adpcm {}",
    "sox.gsm": "-t wav -r 8000 -c 1 -e gsm-full-rate {}",
    "sox.u8.aiff": "-t aiff -b 8 {}",
    "sox.aifc": "-t aifc {}",
    "sox.f64": "-t wav -e floating-point -b 64 {}",
    "sox.24": "-t wavpcm -b 24 {}",
    "sox.flac": "-t flac -r 44100 {}",
}


def make_plain_files(folder: Path) -> dict[str, Path]:
    """Writes all of them into a folder, by few processes. Returns their paths by name."""
    source = folder / "source"
    rng = np.random.default_rng(3)
    time = np.arange(int(48_000 * SECONDS)) / 48_000
    tones = 0.4 * np.sin(2 * np.pi * np.outer(time, [220, 331])) + 0.2 * np.sin(
        2 * np.pi * np.outer(time, [870, 1_303])
    )
    soundfile.write(source, tones + rng.uniform(-0.02, 0.02, tones.shape), 48_000, "PCM_16", format="WAV")
    samples = source.read_bytes()[44:]
    made = {name: folder / name for name in (*BY_FFMPEG, *BY_SOX)}
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i", str(source)]
    command += ["-f", "lavfi", "-i", f"color=black:s=64x64:r=10:d={SECONDS}"]
    for name, options in BY_FFMPEG.items():
        chosen = [] if "-map 0" in options or "-map 1" in options else ["-map", "0:a"]
        command += [*chosen, *options.replace("-itsoffset 0 ", "").split(), str(made[name])]
    subprocess.run(command, check=True)
    for name, options in BY_SOX.items():
        arguments = [*f"sox -D -t raw -r 48000 -c 2 -e signed -b 16 - {options}".format(made[name]).split()]
        streamed = subprocess.run(arguments, input=samples, capture_output=True, check=True).stdout
        if streamed:
            made[name].write_bytes(streamed)
    return made


def decode_with_ffmpeg(files: dict[str, Path], folder: Path) -> dict[str, np.ndarray]:
    """What ffmpeg makes of the first sound track of each file: float32 `(T × C,)`, by name. One process for all."""
    command = ["ffmpeg", "-nostdin", "-loglevel", "fatal", "-y"]
    for path in files.values():
        command += ["-i", str(path)]
    for index, name in enumerate(files):
        command += ["-map", f"{index}:a:0", "-f", "f32le", str(folder / f"{name}.f32")]
    subprocess.run(command, check=True)
    return {name: np.fromfile(folder / f"{name}.f32", "<f4") for name in files}
