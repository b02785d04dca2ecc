"""Python client of the REST API, blocking (`Client`) and for asyncio (`AsyncClient`): separate in one call, or submit,
wait, stems, cancel, compare. Answers are typed dictionaries, see `records`. `verify_webhook` is for receivers.
"""

from divisi.client.asynchronous import AsyncClient
from divisi.client.blocking import Client
from divisi.client.records import Comparison, Job, Rehearsal
from divisi.client.webhook import verify_webhook

__all__ = ["AsyncClient", "Client", "Comparison", "Job", "Rehearsal", "verify_webhook"]
