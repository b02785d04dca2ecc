"""Which models can be run now: those that are fitted to the recording need a worker with torch, and not all have it.

Workers say in the roll call what they can do. A job that none of them could run is refused before its recording is
examined; while no worker is heard of, jobs wait for one, as all jobs do.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from divisi.contract.card import ModelCard
from divisi.contract.errors import UnavailableError
from divisi.gateway.services import Services
from divisi.jobs.roll_call import WorkerStatus


class ModelBody(ModelCard):
    """The card of a model, and whether it can be run now."""

    needs: list[str] = Field(description="Extras that a worker must have to run it.", examples=[["torch"]])
    is_offered: bool | None = Field(
        description="False: no worker at work can run it, jobs for it are refused (`no-worker-for-model`); "
        "null: not known yet, or no worker is heard of; jobs wait for one."
    )


async def require_fitters(services: Services, cards: Sequence[ModelCard]) -> None:
    """Refuses models that no worker at work can run.

    Raises:
        UnavailableError: `no-worker-for-model`, or Redis is away.
    """
    fitted = [card.id for card in cards if card.fitting]
    if not fitted:
        return
    workers = await services.roll_call.workers()
    if _can_any_fit(workers) is False:
        message = (
            f"{fitted[0]} is fitted to the recording by a worker with torch, and none of the {len(workers)} at work "
            "has it; install it beside one: pip install 'divisi-choir[torch]'"
        )
        raise UnavailableError(message, code="no-worker-for-model", model=fitted[0], num_workers=len(workers))


async def with_offers(services: Services, cards: Sequence[ModelCard]) -> list[ModelBody]:
    """The cards, each with whether it can be run now."""
    can_fit: bool | None = None
    if any(card.fitting for card in cards):
        try:
            workers = await services.roll_call.workers()
            can_fit = _can_any_fit(workers)
        except UnavailableError:
            pass  # cards are shown whoever is away
    return [
        ModelBody(
            **card.model_dump(),
            needs=["torch"] if card.fitting else [],
            is_offered=can_fit if card.fitting else True,
        )
        for card in cards
    ]


def _can_any_fit(workers: Sequence[WorkerStatus]) -> bool | None:
    """None: not known; no worker is heard of, or one that is starting may turn out to."""
    said = {worker.can_fit for worker in workers}
    if True in said:
        return True
    return None if None in said or not workers else False
