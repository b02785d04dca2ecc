"""Whatever files and folders are called and wherever OUT lies: a run changes no file that it did not make, and makes
none outside OUT.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from divisi.cli import separate as command
from divisi.cli.out_folder import NOTE_NAME, OutFolder, SeparateOne
from divisi.cli.recordings import digest_of
from divisi.cli.request import CommandRequest
from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat

NUM_EXAMPLES = 2000
# In memory, where there is such a place: folders of a disk take most of the time.
MEMORY = Path("/dev/shm")
STEMS = ("alto", "bass")

NASTY = (
    *("a", "A", "a.b", "alto", "bass", "residual", "report", "pitch", "out", "in", "song", "caf\udce9", "caf\udce8"),
    *("..", ".", ". ", "...", " ", "", "a.", "a ", ".a", "._a", ".divisi", ".unfinished-a", "__MACOSX", "x" * 251),
    *("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER SHARP S}", "SS"),
    *("[bold]", "[/]", ":smile:", "\x1b[2J", "a\nb", "-", "--again", "~", "$HOME", "*", "\\", "CON", "a:b", "\u202ea"),
)
stems_of_names = st.one_of(st.sampled_from(NASTY), st.text("aA.- \N{COMBINING ACUTE ACCENT}e", max_size=4))
audio_names = st.builds("{}{}".format, stems_of_names, st.sampled_from((".wav", ".wav", ".WAV", ".flac", ".mp3")))
other_names = st.sampled_from(
    ("alto.wav", "bass.flac", "report.png", "pitch.json", "notes.mid", NOTE_NAME, "notes.txt", "alto", "Alto.wav")
)
folder_names = stems_of_names.filter(lambda name: name not in ("", ".", ".."))
folders = st.lists(st.one_of(folder_names, st.sampled_from(("a", "out", "in"))), max_size=2).map("/".join)
contents = st.sampled_from((b"one", b"two", b"three", b"four", b"bad", b"crash"))


@dataclass(frozen=True)
class Step:
    """Something that happens in the tree; `act` takes its root and OUT."""

    name: str
    act: Callable[[Path, Path], None]

    def __repr__(self) -> str:
        return self.name


def put(path: Path, content: bytes) -> None:
    """A file of the user's, where there is room for one."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def recording(folder: str, name: str, content: bytes) -> Step:
    return Step(
        f"recording({folder!r}, {name!r}, {content!r})", lambda root, out: put(root / "in" / folder / name, content)
    )


def users_file(folder: str, name: str) -> Step:
    return Step(f"users_file({folder!r}, {name!r})", lambda root, out: put(out / folder / name, b"mine"))


def users_folder(folder: str) -> Step:
    def act(root: Path, out: Path) -> None:
        with suppress(OSError):
            (out / folder).mkdir(parents=True)

    return Step(f"users_folder({folder!r})", act)


def link(folder: str, name: str, target: str) -> Step:
    def act(root: Path, out: Path) -> None:
        with suppress(OSError):
            (out / folder).mkdir(parents=True, exist_ok=True)
            (out / folder / name).symlink_to(root / target)

    return Step(f"link({folder!r}, {name!r}, {target!r})", act)


def hard_link(folder: str, name: str) -> Step:
    """Of a recording, at a stem's place."""

    def act(root: Path, out: Path) -> None:
        with suppress(OSError, IndexError):
            source = sorted(path for path in (root / "in").rglob("*") if path.is_file())[0]
            (out / folder).mkdir(parents=True, exist_ok=True)
            (out / folder / name).hardlink_to(source)

    return Step(f"hard_link({folder!r}, {name!r})", act)


def change_a_stem(which: int) -> Step:
    def act(root: Path, out: Path) -> None:
        if made := sorted(path for path in out.rglob("alto.wav") if path.is_file()):
            made[which % len(made)].write_bytes(b"edited")

    return Step(f"change_a_stem({which})", act)


def damage_a_note(which: int) -> Step:
    def act(root: Path, out: Path) -> None:
        if notes := sorted(path for path in out.rglob(NOTE_NAME) if path.is_file()):
            notes[which % len(notes)].write_bytes(b"{")

    return Step(f"damage_a_note({which})", act)


def rename(which: int, name: str) -> Step:
    """A recording, or a folder of stems."""

    def act(root: Path, out: Path) -> None:
        if found := sorted(path for base in (root / "in", out) for path in base.glob("*")):
            path = found[which % len(found)]
            with suppress(OSError, ValueError):
                if not os.path.lexists(path.with_name(name)):
                    path.rename(path.with_name(name))

    return Step(f"rename({which}, {name!r})", act)


def killed_run(folder: str) -> Step:
    return Step(f"killed_run({folder!r})", lambda root, out: put(out / folder / ".unfinished-ab/alto.wav", b"half"))


many = st.integers(0, 9)
recordings = st.builds(recording, folders, audio_names, contents)
steps = st.one_of(
    recordings,
    st.builds(users_file, st.one_of(folders, stems_of_names), other_names),
    st.builds(users_folder, folders.map("{}/alto.wav".format)),
    st.builds(
        link,
        folders,
        st.one_of(folder_names, other_names),
        st.sampled_from(("outside", "empty", "in", "nowhere", "out")),
    ),
    st.builds(hard_link, folders, other_names),
    st.builds(change_a_stem, many),
    st.builds(damage_a_note, many),
    st.builds(rename, many, st.one_of(folder_names, audio_names)),
    st.builds(killed_run, folders),
)


@dataclass(frozen=True)
class Run:
    """One call of the command: `files` below the root, or one file of the input by its number."""

    files: tuple[str, ...]
    number: int
    stem_format: StemFormat
    again: bool
    together: bool
    plot: bool


runs = st.builds(
    Run,
    st.sampled_from((("in",), ("in",), (), ("in", "out"), (".",), ("in", "in/a.wav"), ("in/gone.wav", "in"), ())),
    st.integers(0, 3),
    st.sampled_from((StemFormat.WAV, StemFormat.WAV, StemFormat.FLAC)),
    st.booleans(),
    st.sampled_from((False, False, False, True)),
    st.booleans(),
)
outs = st.sampled_from(("out", "in", ".", "in/out", "in/a", "out/deep/er", "link", "in/a.wav", "outside"))


def fake_separation(request: CommandRequest) -> SeparateOne:
    """What the real one does with files, without the music: stems hold the digest of their recording."""

    def separate_one(paths: Sequence[Path], out: OutFolder, on_progress: Callable[[float], None]) -> list[str]:
        content = paths[0].read_bytes()
        if content.startswith(b"bad"):
            raise InputError("the file cannot be decoded", code="undecodable")
        ending = request.stem_format
        names = [f"{stem}.{ending}" for stem in STEMS] + ["report.png"] * request.include_plot
        out.check(names)
        with out.unfinished() as scratch:
            for name in names:
                (scratch / name).write_text(f"made of {digest_of(paths)}: {name} {request.include_plot}")
            if content.startswith(b"crash"):
                raise RuntimeError("the decoder went astray")
            out.publish_all(scratch)
        return []

    return separate_one


Tree = dict[str, bytes | str | None]


def tree_of(root: Path) -> Tree:
    """Every file, folder and link below the root: content, target, or None for a folder."""

    def look(folder: str) -> Iterator[tuple[str, bytes | str | None]]:
        for entry in os.scandir(folder):
            if entry.is_symlink():
                yield entry.path, os.readlink(entry.path)
            elif entry.is_dir():
                yield entry.path, None
                yield from look(entry.path)
            else:
                with open(entry.path, "rb") as file:
                    yield entry.path, file.read()

    return dict(look(str(root)))


def call(run: Run, root: Path, out: Path) -> None:
    files = [root / name for name in run.files]
    if not files:
        found = sorted(path for path in (root / "in").rglob("*") if path.is_file())
        files = [found[run.number % len(found)]] if found else [root / "in"]
    with suppress(typer.Exit, RuntimeError):
        asked = {"stem_format": run.stem_format, "include_plot": run.plot}
        command.separate(files, out, again=run.again, together=run.together, **asked)


@pytest.fixture(scope="module", autouse=True)
def quick_separation() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("divisi.machine.separation.local_separation", fake_separation)
        patched.setattr("divisi.cli.recordings._stem_names", lambda: frozenset(STEMS))
        yield


@given(
    outs,
    st.lists(recordings, min_size=1, max_size=3),
    st.lists(steps, max_size=4),
    st.lists(st.tuples(runs, st.lists(steps, max_size=2)), min_size=1, max_size=2),
)
@settings(max_examples=NUM_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_run_changes_no_file_that_it_did_not_make_and_makes_none_outside_of_out(
    out_name: str, songs: list[Step], layout: list[Step], sessions: list[tuple[Run, list[Step]]]
) -> None:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        root = Path(folder)
        for name in ("in", "outside", "empty"):
            (root / name).mkdir()
        (root / "link").symlink_to("outside")
        put(root / "outside" / "alto.wav", b"mine")
        out = root / out_name
        for step in songs + layout:
            step.act(root, out)
        for run, between in sessions:
            before = tree_of(root)
            call(run, root, out)
            after = tree_of(root)
            inside = os.path.realpath(out) + os.sep
            for path, content in before.items():
                found = after.get(path, b"gone")
                assert found == content or is_replaced(content, found, run), f"{path!r} was changed by {run}"
            for path in set(after) - set(before):
                assert path.startswith(inside) or inside.startswith(path + os.sep), f"{path!r} was made by {run}"
                assert ".unfinished-" not in path
            for step in between:
                step.act(root, out)


def is_replaced(content: bytes | str | None, found: bytes | str | None, run: Run) -> bool:
    """True when a run has made its own file anew: a note, or a stem of the same recording."""
    if not isinstance(content, bytes) or not isinstance(found, bytes):
        return False
    if content.startswith(b'{"recording":') and found.startswith(b'{"recording":'):
        return True
    of, made_of = content.partition(b":")[0], found.partition(b":")[0]
    return made_of.startswith(b"made of ") and (of == made_of or (run.again and of.startswith(b"made of ")))
