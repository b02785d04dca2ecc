"""Upload names become labels; labels become names of downloads."""

from __future__ import annotations

import pytest

from divisi.storage.file_names import clean_label, content_disposition, download_name


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Ave verum.wav", "Ave verum.wav"),
        ("../../etc/passwd", "passwd"),
        ("C:\\music\\Locus iste.flac", "Locus iste.flac"),
        ("a\r\nSet-Cookie: x.wav", "aSet-Cookie: x.wav"),
        ("\u202egnp.wav", "gnp.wav"),
        ("Ó Súilleabháin 聖歌.wav", "Ó Súilleabháin 聖歌.wav"),
        ("x" * 300, "x" * 200),
        ("..", None),
        ("", None),
        (None, None),
        ("dir/", None),
    ],
)
def test_a_label_is_one_plain_line(name: str | None, label: str | None) -> None:
    assert clean_label(name) == label


@pytest.mark.parametrize(
    ("upload", "expected"),
    [
        ("Ave verum.wav", "Ave verum - alto.flac"),
        ("Sonata No. 5 in D", "Sonata No. 5 in D - alto.flac"),
        (".wav", ".wav - alto.flac"),
        (None, "alto.flac"),
    ],
)
def test_a_download_is_named_after_upload_and_stem(upload: str | None, expected: str) -> None:
    assert download_name(upload, "alto.flac") == expected


def test_a_disposition_has_a_plain_and_a_full_name() -> None:
    header = content_disposition('Ave "é".wav')
    assert header == "attachment; filename=\"Ave _e_.wav\"; filename*=UTF-8''Ave%20%22%C3%A9%22.wav"
    assert content_disposition("聖歌.wav").startswith('attachment; filename=".wav"; ')
    assert header.isascii()
