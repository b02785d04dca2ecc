"""What a submit may ask of webhooks, checked before anything is accepted."""

from __future__ import annotations

import ipaddress

from divisi.access.caller import Caller
from divisi.contract.errors import InputError
from divisi.contract.request import SeparationRequest
from divisi.settings import Settings, listed
from divisi.webhooks.address import check_webhook_url
from divisi.webhooks.signature import check_webhook_secret


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
    networks = [ipaddress.ip_network(text) for text in listed(settings.webhook_allowed_networks)]
    check_webhook_url(options.webhook_url, networks)
    if options.webhook_secret is None and caller.key is None:
        raise InputError(
            "give a webhook_secret (`whsec_…`) with the webhook_url: without an API key there is no other to sign with",
            code="webhook-secret-missing",
        )
