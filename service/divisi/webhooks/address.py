"""What a submit may ask of webhooks, and which addresses they may go to: public ones, and networks the operator allows.

A name is looked up when something is about to be sent, every address it leads to is checked, and the connection goes
to a checked address itself: a name that leads elsewhere a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import SplitResult, urlsplit

from divisi.access.callers import Caller
from divisi.access.key_ring import check_webhook_secret
from divisi.contract.errors import InputError
from divisi.contract.request import SeparationRequest
from divisi.settings import Settings, listed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host name."""

# Not public, though Python does not (or, by version, not always) say so: a cloud's services for its machines (Azure),
# IETF protocol assignments, anycast of 6to4, and NAT64 of a local kind.
_NEVER = tuple(
    ipaddress.ip_network(text) for text in ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48")
)
# IPv6 networks whose addresses lead to the IPv4 address in their last four bytes.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefusedError(Exception):
    """The address is not one that webhooks may go to."""


def check_webhook_url(url: str, networks: Sequence[Network]) -> None:
    """Refuses what can never be sent to; where a name leads is looked at when something is sent.

    Raises:
        InputError: `webhook-url-refused`.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _refused("it cannot be read") from None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _refused("it has other characters than URLs have")
    if parts.scheme != "https" and not (parts.scheme == "http" and networks):
        raise _refused("it must begin with https://")
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise _refused("it must name a host, and neither user nor password")
    try:
        address = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return
    try:
        _check(parts, address, networks)
    except AddressRefusedError as error:
        raise _refused(str(error)) from None


async def addresses_of(url: str, networks: Sequence[Network], lookup: Lookup | None = None) -> list[str]:
    """The addresses that a webhook may be sent to, in the order of preference; all were checked.

    Raises:
        AddressRefusedError: one of them is not allowed.
        OSError: the name leads nowhere.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = await (lookup or look_up)(parts.hostname or "", port)
    for text in found:
        _check(parts, ipaddress.ip_address(text.partition("%")[0]), networks)
    return list(found)


async def look_up(host: str, port: int) -> Sequence[str]:
    """The system's answer."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _check(parts: SplitResult, address: Address, networks: Sequence[Network]) -> None:
    real = _unwrapped(address)
    if any(real in network for network in networks):
        return
    # The address itself is not named: whoever asked must not learn where names inside lead.
    is_special = any(real in network for network in _NEVER)
    if is_special or not real.is_global or real.is_multicast or real.is_reserved:
        raise AddressRefusedError("the host is not at a public address")
    if parts.scheme != "https":
        raise AddressRefusedError("webhooks go to public receivers by https:// only")


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _refused(why: str) -> InputError:
    return InputError(f"webhook_url is refused: {why}", code="webhook-url-refused")


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
