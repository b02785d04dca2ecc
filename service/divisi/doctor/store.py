"""Does the object store keep what it is given, and give it back?"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import httpx

from divisi.contract.errors import DivisiError, UnavailableError
from divisi.doctor.finding import Finding, bad, doubtful, good
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore

PROBE_BYTES = 256 * 1024
LINK_SECONDS = 60.0
# S3 refuses signatures that are 15 minutes off; half of that is time to act.
CLOCK_SECONDS = 450.0


async def examine_store(open_store: Callable[[], ObjectStore], settings: Settings) -> list[Finding]:
    """Writes a small object, reads it, has a link to it, erases it.

    Args:
        open_store: opens the store of the settings.
    """
    where = settings.store_url
    try:
        store = open_store()
    except DivisiError as error:
        return [bad("object store", error.message, "see DIVISI_STORE_URL")]
    folder, data = f"doctor-{secrets.token_hex(8)}", secrets.token_bytes(PROBE_BYTES)
    key = f"{folder}/probe"
    doing = "write"
    try:
        await store.put_bytes(key, data)
        doing = "read"
        if await store.get_bytes(key) != data:
            return [bad("object store", f"{where} gave back other bytes than it was given", "do not use this store")]
        modified = (await store.head(key)).modified
        findings = [*await _link(store, key, settings), _clock(modified)]
        doing = "make a conditional put to"
        if not await store.keeps_first(key):
            findings.append(
                doubtful("conditional put", "the store overwrites all the same", "nothing: divisi does not lean on it")
            )
        doing = "delete from"
        await store.delete_prefix(folder)
    except UnavailableError as error:
        cause = str(error.__cause__ or error.message).strip().splitlines()[0][:200]
        return [bad("object store", f"cannot {doing} {where}: {cause}", _remedy(settings))]
    return [good("object store", f"{where}: written, read and erased"), *findings]


async def _link(store: ObjectStore, key: str, settings: Settings) -> list[Finding]:
    """Clients fetch stems by signed links straight from an S3-speaking store."""
    link = await store.signed_url(key, LINK_SECONDS)
    if link is None:
        return []
    try:
        async with httpx.AsyncClient(timeout=10) as http:
            status = (await http.get(link)).status_code
    except httpx.HTTPError as error:
        answer = type(error).__name__
    else:
        if status == httpx.codes.OK:
            return [good("download links", "signed links are answered")]
        answer = str(status)
    address = settings.s3_public_endpoint or settings.s3_endpoint or "the store"
    return [
        bad(
            "download links",
            f"a signed link to {address} gave {answer}",
            "set DIVISI_S3_PUBLIC_ENDPOINT to the store's address as clients reach it, and check the secret key",
        )
    ]


def _clock(modified: datetime) -> Finding:
    apart = abs((datetime.now(UTC) - modified).total_seconds())
    if apart < CLOCK_SECONDS:
        return good("store's clock", "near enough for signed links")
    return bad("store's clock", f"{apart:.0f} s apart from this machine's", "set the clocks; signatures are refused")


def _remedy(settings: Settings) -> str:
    if settings.store_url.startswith("s3://"):
        return "check DIVISI_S3_ENDPOINT, the keys, the bucket's name, and that they may put, get, list and delete"
    return "check DIVISI_STORE_URL, that its folder may be written by this user, and that its disk is not full"
