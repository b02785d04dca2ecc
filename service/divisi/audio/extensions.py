"""How recordings are called, by the container that `sniff` finds in them. What a file holds decides whether it is read;
this says what to take out of a folder.
"""

from __future__ import annotations

EXTENSIONS: dict[str, tuple[str, ...]] = {
    "wav": (".wav", ".wave", ".bwf"),
    "rf64": (".rf64", ".bw64"),
    "aiff": (".aif", ".aiff", ".aifc"),
    "caf": (".caf",),
    "flac": (".flac",),
    "ogg": (".ogg", ".oga", ".ogv", ".opus", ".spx"),
    "mp3": (".mp3", ".mp2", ".mpa", ".mpga"),
    "aac": (".aac", ".adts"),
    "m4a": (".m4a", ".m4b", ".m4r", ".m4v", ".mp4", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".f4a", ".f4v"),
    "webm": (".webm", ".mkv", ".mka"),
}
