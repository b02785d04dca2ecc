"""Models over HTTP: their cards."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from divisi.gateway.offers import ModelBody, with_offers
from divisi.gateway.openapi import problems
from divisi.gateway.services import GatewayServices

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelListBody(BaseModel):
    """The newest version of every model that this service runs."""

    models: list[ModelBody]
    default_model: str = Field(description="Used when a request names no model.")


@router.get("", response_model=ModelListBody, summary="List models")
async def list_models(services: GatewayServices) -> ModelListBody:
    """The cards of all models: stems, rate, measured quality with its test set, speed, licence; what can run now."""
    cards = await asyncio.to_thread(services.bundles.list)
    bodies = await with_offers(services, cards)
    return ModelListBody(models=bodies, default_model=services.settings.default_model)


@router.get("/{model_id}", response_model=ModelBody, summary="Look at a model", responses=problems(404, 422))
async def get_model(
    model_id: Annotated[str, Path(max_length=64, description="Id of a model.")], services: GatewayServices
) -> ModelBody:
    """The card of the model's newest version."""
    bundle = await asyncio.to_thread(services.bundles.get, model_id)
    (body,) = await with_offers(services, [bundle.card])
    return body
