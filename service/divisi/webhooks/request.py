"""What a submit may ask of webhooks."""

from __future__ import annotations

import ipaddress

from divisi.access.address import AddressRefusedError, Guard, Lookup
from divisi.access.callers import Caller
from divisi.access.key_ring import check_webhook_secret
from divisi.contract.errors import InputError
from divisi.contract.request import SeparationRequest
from divisi.settings import Settings, listed


def guard_of(settings: Settings, lookup: Lookup | None = None) -> Guard:
    """Which addresses webhooks may go to; `lookup` finds those of a host, None: the system."""
    return Guard([ipaddress.ip_network(text) for text in listed(settings.webhook_allowed_networks)], lookup=lookup)


def check_webhook(options: SeparationRequest, caller: Caller, settings: Settings) -> None:
    """Refuses an address that nothing may be sent to, and a webhook that nothing would sign.

    Raises:
        InputError: `webhook-url-refused`, `invalid-webhook-secret`, `webhook-secret-missing`, `webhook-url-missing`.
    """
    if options.webhook_secret is not None:
        check_webhook_secret(options.webhook_secret)
    if options.webhook_url is None:
        if options.webhook_secret is not None:
            raise InputError("there is a webhook_secret and no webhook_url", code="webhook-url-missing")
        return
    try:
        guard_of(settings).check(options.webhook_url)
    except AddressRefusedError as refusal:
        raise InputError(f"webhook_url is refused: {refusal}", code="webhook-url-refused") from None
    if options.webhook_secret is None and caller.key is None:
        raise InputError(
            "give a webhook_secret (`whsec_…`) with the webhook_url: without an API key there is no other to sign with",
            code="webhook-secret-missing",
        )
