"""Python client of the REST API, blocking (`Client`) and for asyncio (`AsyncClient`): submit, wait, stems, cancel,
compare. Answers are typed dictionaries, see `records`.
"""

from divisi.client.asynchronous import AsyncClient
from divisi.client.blocking import Client
from divisi.client.records import Comparison, Job, Rehearsal

__all__ = ["AsyncClient", "Client", "Comparison", "Job", "Rehearsal"]
