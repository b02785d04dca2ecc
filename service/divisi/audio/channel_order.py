"""Order of channels: Vorbis and Opus number theirs differently from everyone else; we keep the WAV order inside.

WAV order: front left, front right, centre, LFE, back, side. Vorbis order (Vorbis I specification, section 4.3.9; RFC
7845, section 5.1.1.2).
"""

from __future__ import annotations

# C -> for each channel in Vorbis order, its place in WAV order. Counts not named here are equal in both, or undefined.
_WAV_PLACE_OF_VORBIS_CHANNEL = {
    3: [0, 2, 1],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 4, 5, 3],
    7: [0, 2, 1, 5, 6, 4, 3],
    8: [0, 2, 1, 6, 7, 4, 5, 3],
}


def vorbis_from_wav_order(num_channels: int) -> list[int] | None:
    """Indices that pick a Vorbis-ordered signal out of a WAV-ordered one; None: the orders are equal."""
    return _WAV_PLACE_OF_VORBIS_CHANNEL.get(num_channels)


def wav_from_vorbis_order(num_channels: int) -> list[int] | None:
    """Indices that pick a WAV-ordered signal out of a Vorbis-ordered one; None: the orders are equal."""
    places = _WAV_PLACE_OF_VORBIS_CHANNEL.get(num_channels)
    return None if places is None else sorted(range(num_channels), key=places.__getitem__)
