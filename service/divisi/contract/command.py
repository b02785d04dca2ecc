"""What may be asked with `divisi separate`: what may be asked of a server, and which files are written besides."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from divisi.contract.request import OPTIONS, Offer, SeparationRequest, offer_of

# Of a request that asks for nothing: what the notes of version 0.1 were made with.
_NOTHING_ASKED = (
    "Request(model=None, stem_format=<OutputFormat.WAV: 'wav'>, stems=(), include_residual=False, "
    "include_pitch=False, include_resynthesis=False, voices=(), fit=None, include_plot=False)"
)


class CommandRequest(SeparationRequest):
    """What is asked of each recording; empty `stems` and `voices` mean all."""

    model: Annotated[tuple[str, ...], offer_of(OPTIONS["model"])] = Field((), max_length=1)
    include_residual: Annotated[bool, offer_of(OPTIONS["include_residual"])] = False
    include_pitch: Annotated[
        bool, Offer(("--pitch",), "Also write pitch.json, pitch.csv and notes.mid, if the model has pitch.")
    ] = False
    include_resynthesis: Annotated[
        bool, Offer(("--resynthesis",), "Also write the mixture as the model sings it again, if it can.")
    ] = False
    include_plot: Annotated[
        bool, Offer(("--plot",), "Also write report.png: spectrograms, pitch, levels, confidence.")
    ] = False

    @property
    def model_id(self) -> str | None:
        """The model asked for; None: the default one."""
        return self.model[0] if self.model else None

    def arguments(self) -> dict[str, Any]:
        """What to ask of a server, by name: all that its own defaults do not say."""
        asked = {name: getattr(self, name) for name in OPTIONS}
        return {name: value for name, value in asked.items() if value != OPTIONS[name].default}

    def digested(self) -> str:
        """What is asked, as digests have it: options left out do not change it."""
        asked = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(asked, sort_keys=True) if asked else _NOTHING_ASKED
