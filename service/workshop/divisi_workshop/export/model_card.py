"""`MODEL_CARD.md`, rendered from `card.yaml` so that the two agree, and the figures in it, from an evaluation."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from divisi.contract.card import CardDraft, ModelCard, Quality
from divisi.contract.errors import InputError

MODEL_CARD_FILE = "MODEL_CARD.md"
MIXTURE = "mixture"
_STRETCHES = {"frames": "1 s frames", "excerpts": "4 s excerpts"}


def render_model_card(card: ModelCard, notes: str = "") -> str:
    """Markdown for one card; `notes`, Markdown too, follow under a heading of their own."""
    sections = [
        f"# {card.title}\n\n`{card.id}` {card.version}\n\n{card.description}",
        "## What goes in and comes out\n\n" + _table(("", ""), _shape_rows(card)),
        *(_render_quality(entry, card.stems) for entry in card.quality),
    ]
    if card.speed:
        rows = [
            (f"{speed.real_time_factor:.3g} × real time", speed.engine, f"{speed.num_threads}", speed.machine)
            for speed in card.speed
        ]
        sections.append("## Speed\n\n" + _table(("time", "engine", "threads", "machine"), rows))
    if card.training:
        sections.append(f"## Training\n\n{card.training.summary}")
        if card.training.data:
            data = [(data.name, data.licence, data.credit) for data in card.training.data]
            sections.append(_table(("data", "licence", "credit"), data))
    if card.artifacts:
        sections.append("## Files\n\n" + "\n\n".join(_render_files(card)))
    if notes.strip():
        sections.append(f"## Notes\n\n{notes.strip()}")
    sections.append(f"## Licence\n\n{card.licence}")
    return "\n\n".join(sections) + "\n"


def _shape_rows(card: ModelCard) -> Iterator[tuple[str, str]]:
    yield "stems", ", ".join(card.stems)
    yield "sample rate", f"{card.sample_rate} Hz"
    yield "channels", str(card.num_channels)
    if card.segment_length == "whole":
        yield "segment", "the whole recording"
    else:
        seconds = card.segment_length / card.sample_rate
        context = card.context_length / card.sample_rate
        yield "segment", f"{seconds:.3g} s, of which {context:.3g} s at each end are context"
    if card.weight_precision == "half":
        yield "weights", "rounded to half precision; computing is in single precision"
    if card.takes_roster:
        yield "takes a roster", "which voices may sing; absent ones come out silent"
    if card.fitting:
        fitting = card.fitting
        sources = fitting.num_sources or "as many sources as microphones"
        yield "fitted", f"to each recording, at its own rate, by two microphones or more ({fitting.algorithm})"
        yield "sources", f"{sources}, of {fitting.num_bases} spectral patterns each"
        yield "iterations", f"{fitting.num_iterations}, window {fitting.fft_length} samples"
        yield "these are defaults", "a request may ask for others, and say whose microphone is which"
    for output in card.extra_outputs:
        unit = ", in Hz" if output.name == "f0" else ""
        detail = f"one value per stem every {output.hop_length} samples{unit}" if output.hop_length else "(C, T)"
        yield f"also gives `{output.name}`", detail


def _render_quality(quality: Quality, stems: Sequence[str]) -> str:
    measured = [stem for stem in stems if stem in quality.per_stem]
    header = ("", *measured, "mean")
    rows = [(quality.metric, *(f"{quality.per_stem[stem]:.2f}" for stem in measured), f"{quality.mean:.2f}")]
    if quality.mixture_mean is not None:
        rows.append(("the mixture itself", *("" for _ in measured), f"{quality.mixture_mean:.2f}"))
    return f"## Quality: {quality.test_set}\n\n{quality.protocol}\n\n{_table(header, rows)}"


def _render_files(card: ModelCard) -> Iterator[str]:
    parity = card.parity
    errors = parity.max_abs_error if parity else {}
    rows = [
        (f"`{artifact.file}`", artifact.kind, f"{artifact.bytes / 1e6:.1f} MB", f"{errors.get(artifact.kind, 0):.1e}")
        for artifact in card.artifacts
    ]
    yield _table(("file", "kind", "size", "error against the network"), rows)
    if parity:
        yield (
            f"The error is the largest absolute difference on {_join(parity.signals)} (f0: relative difference), in "
            f"batches of {_join(parity.batch_sizes)}, over {_join(parity.lengths)} samples; {parity.tolerance:.0e} is "
            "allowed."
        )
    if card.git_commit:
        yield f"Exported from commit `{card.git_commit}`."


def _join(parts: Iterable[object]) -> str:
    return " and ".join(map(str, parts))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = ([" ".join(text.split()).replace("|", "\\|") for text in row] for row in rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *cells))


def read_quality(path: Path, card: CardDraft) -> tuple[Quality, ...]:
    """The figures of one model in an `evaluation.json`, a Quality for each kind of stretch.

    The chain is: export → `divisi evaluate --out DIR`, which runs the bundle through the serving path → export once
    more with DIR/evaluation.json. The weights are the same; only the card gains its figures.

    Raises:
        InputError: code `damaged-evaluation`; the file is no evaluation, or not one of this model and version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        systems = {system["system"]: system for system in content["systems"]}
        measured, mixture = systems[f"{card.id} {card.version}"], systems[MIXTURE]
        return tuple(_quality(content, stretch, measured[stretch], mixture[stretch]) for stretch in _STRETCHES)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path.name} holds no evaluation of {card.id} {card.version}: {error!r}"
        raise InputError(message, code="damaged-evaluation") from error


def _quality(content: dict[str, Any], stretch: str, model: dict[str, Any], mixture: dict[str, Any]) -> Quality:
    way = "the recording separated in one go" if content["separated"] == "whole" else "each excerpt by itself"
    return Quality(
        test_set=content["dataset"],
        protocol=f"{_STRETCHES[stretch]}, {way}; mean of {model['count']}, median {model['median']:.2f}",
        metric=content["metric"],
        per_stem={name: round(value, 2) for name, value in model["per_voice"].items()},
        mean=round(model["mean"], 2),
        mixture_mean=round(mixture["mean"], 2),
    )
