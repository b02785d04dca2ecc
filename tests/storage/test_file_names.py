"""Upload names become labels; labels become names of downloads."""

from __future__ import annotations

import re
from itertools import combinations
from urllib.parse import unquote

import pytest

from divisi.storage.names import UNNAMED, clean_label, content_disposition, download_name, legal_name

JOB_ID = "01m8q9dy0sj4y0hscwdds2s6hc"
MARK = JOB_ID[-6:]
LONGEST_BYTES = 255  # of a name in the file systems of Linux, macOS and Windows


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Ave verum.wav", "Ave verum.wav"),
        ("../../etc/passwd", "passwd"),
        ("C:\\music\\Locus iste.flac", "Locus iste.flac"),
        ("c:take.wav", "c:take.wav"),
        ("\\\\server\\choir\\Locus iste.flac", "Locus iste.flac"),
        ("..\\..\\boot.wav", "boot.wav"),
        ("AC\\DC live.wav", "AC\\DC live.wav"),
        ("a\r\nSet-Cookie: x.wav", "aSet-Cookie: x.wav"),
        ("\u202egnp.wav", "gnp.wav"),
        ("one\u2028line.wav", "oneline.wav"),
        ("Ó Súilleabháin 聖歌.wav", "Ó Súilleabháin 聖歌.wav"),
        ("می‌خوانیم 👩‍🎤.wav", "می‌خوانیم 👩‍🎤.wav"),
        ("caf\udce9.wav", "caf\ufffd.wav"),
        ("...und der Herr.wav", "...und der Herr.wav"),
        ("x" * 300, "x" * 200),
        ("x" * 300 + ".flac", "x" * 195 + ".flac"),
        ("聖" * 300 + ".wav", "聖" * 196 + ".wav"),
        ("..", None),
        ("", None),
        ("\x00", None),
        (None, None),
        ("dir/", None),
    ],
)
def test_a_label_is_one_plain_line(name: str | None, label: str | None) -> None:
    assert clean_label(name) == label


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Ave verum.wav", "Ave verum - alto.flac"),
        ("Sonata No. 5 in D", "Sonata No. 5 in D - alto.flac"),
        ("No.5", "No.5 - alto.flac"),
        ("Kyrie.合唱", "Kyrie.合唱 - alto.flac"),
        ("CON.wav", "CON - alto.flac"),
        ("aux.take.wav", "_aux.take - alto.flac"),
        (".wav", f"_wav ({MARK}) - alto.flac"),
        ("-rf.wav", f"_rf ({MARK}) - alto.flac"),
        ('a/b\\c:d*e?f"g<h>i|j.wav', f"a_b_c_d_e_f_g_h_i_j ({MARK}) - alto.flac"),
    ],
)
def test_a_download_is_named_after_upload_and_stem_and_legal_everywhere(label: str, expected: str) -> None:
    assert download_name(label, "alto.flac", JOB_ID) == expected


@pytest.mark.parametrize("name", ["con", "AUX.wav", "nul .txt", "Com1.wav", "lpt³.flac", "conout$"])
def test_what_windows_keeps_for_devices_is_no_name(name: str) -> None:
    assert legal_name(name) == f"_{name}"


@pytest.mark.parametrize("name", ["contralto.wav", "con - alto.wav", "com.wav", "com12.wav"])
def test_what_only_begins_like_a_device_is_a_name(name: str) -> None:
    assert legal_name(name) == name


def plain_and_full(header: str) -> tuple[str, str]:
    """What a client reads that knows `filename` alone, and one that knows `filename*`."""
    match = re.search(r"filename\*=UTF-8''(\S+)$", header)
    assert match is not None
    plain = re.search(r'filename="([^"]*)"', header)
    assert plain is not None
    return plain[1], unquote(match[1])


@pytest.mark.parametrize(
    ("label", "plain"),
    [
        ("Ave verum, 2. Satz.wav", "Ave verum, 2. Satz - alto.flac"),
        ("Ave verum – é.wav", f"Ave verum _ e ({MARK}) - alto.flac"),
        ('Ave "é".wav', f"Ave _e_ ({MARK}) - alto.flac"),
        ("聖歌.wav", f"__ ({MARK}) - alto.flac"),
        ("합창.wav", f"__ ({MARK}) - alto.flac"),
        ("100%.wav", f"100_ ({MARK}) - alto.flac"),
    ],
)
def test_clients_that_read_only_ascii_get_what_it_holds_and_a_mark_of_the_job(label: str, plain: str) -> None:
    header = content_disposition(label, "alto.flac", JOB_ID)
    assert header.isascii()
    assert plain_and_full(header)[0] == plain


LABELS = [
    *("合唱.wav", "Χορός.wav", "聖歌.wav", "хор.wav", "à.wav", "é.wav", "e.wav", "a?b.wav", "a:b.wav", "a_b.wav"),
    *("x" * 300 + "1.wav", "x" * 300 + "2.wav", "聖" * 300, "👩‍🎤" * 100, "CON", "aux.wav", "nul.1.wav", "-o.wav"),
    *(".bashrc", "...", "a.", " ", "$(reboot).wav", "`x`.wav", "a;b.wav", 'a"b.wav', "a\\b.wav", "recording"),
]


def test_names_of_downloads_are_distinct_short_enough_and_legal() -> None:
    names: list[tuple[str, str]] = []
    for place, label in enumerate(LABELS):
        cleaned = clean_label(label) or UNNAMED
        header = content_disposition(cleaned, f"{'s' * 64}.flac", f"01m8q9dy0sj4y0hscwdds{place:05d}")
        names.append(plain_and_full(header))
    for name in (name for both in names for name in both):
        assert len(name.encode()) <= LONGEST_BYTES
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', name)
        assert name[0] not in ".- "
        assert legal_name(name) == name
    for one, other in combinations(range(len(LABELS)), 2):
        assert names[one][0].lower() != names[other][0].lower()
        assert names[one][1].lower() != names[other][1].lower()
