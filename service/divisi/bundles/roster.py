"""Which of a model's voices may sing in a recording: what the caller asked for, held against the card.

The gateway asks before it accepts a job, `separation` before it opens a recording; both refuse alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from divisi.contract.card import AUTO, CardDraft
from divisi.contract.errors import InputError

Voices = tuple[str, ...] | Literal["auto"] | None
"""Names of the voices that may sing; `auto`: whoever is heard; None: all of the model's."""


def parse_voices(names: Sequence[str]) -> Voices:
    """What a list of names means; an empty one means all.

    Raises:
        InputError: code `unknown-voice`; `auto` beside names.
    """
    if AUTO not in names:
        return tuple(names) or None
    if len(names) > 1:
        message = f"voices {', '.join(names)}: give names or {AUTO}, not both"
        raise InputError(message, code="unknown-voice", unknown=[AUTO])
    return AUTO


def check_voices(voices: Voices, card: CardDraft) -> Voices:
    """The same voices in the model's order, each once.

    Raises:
        InputError: `unknown-voice`, or `voices-not-supported` when the model cannot be told who sings.
    """
    if voices is None:
        return None
    if not card.takes_roster:
        asked = voices if voices == AUTO else ", ".join(voices)
        message = f"voices {asked[:80]!r}: model {card.id} cannot be told who sings; leave voices out"
        raise InputError(message, code="voices-not-supported", model=card.id)
    if voices == AUTO:
        return voices
    unknown = [name for name in voices if name not in card.stems]
    if unknown or not voices:
        asked = repr(unknown[0][:80]) if unknown else "of no name"
        message = f"{card.id} has no voice {asked}; name some of {', '.join(card.stems)}, or {AUTO}"
        raise InputError(message, code="unknown-voice", model=card.id, unknown=unknown, known=[*card.stems, AUTO])
    return tuple(name for name in card.stems if name in voices)
