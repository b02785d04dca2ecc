"""Which addresses this service may call when a caller names them: public ones, and networks the operator allows.

A name is looked up when something is about to be asked of it, every address it leads to is checked, and the connection
goes to a checked address itself: a name that leads elsewhere a moment later (DNS rebinding) gains nothing. Webhooks and
recordings at an address go through here.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import httpx

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
_MOST_ADDRESSES = 3


class AddressRefusedError(Exception):
    """The address is not one that may be called; the message says why, and nothing of what lies inside."""


@dataclass(frozen=True)
class Guard:
    """What may be called.

    Attributes:
        networks: that may be reached though they are not public, by http as well.
        public_schemes: by which public addresses may be called.
        lookup: finds the addresses of a host; None: the system.
    """

    networks: Sequence[Network] = ()
    public_schemes: frozenset[str] = frozenset({"https"})
    lookup: Lookup | None = None

    def check(self, url: str) -> None:
        """Refuses what can never be called; where a name leads is looked at when something is sent.

        Raises:
            AddressRefusedError: with the reason.
        """
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise AddressRefusedError("it cannot be read") from None
        if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise AddressRefusedError("it has other characters than URLs have")
        schemes = self.public_schemes | ({"http"} if self.networks else frozenset())
        if parts.scheme not in schemes:
            raise AddressRefusedError(f"it must begin with {' or '.join(f'{one}://' for one in sorted(schemes)[::-1])}")
        if not parts.hostname or parts.username is not None or parts.password is not None:
            raise AddressRefusedError("it must name a host, and neither user nor password")
        try:
            address = ipaddress.ip_address(parts.hostname)
        except ValueError:
            return
        self._check_address(parts, address)

    async def addresses_of(self, url: str) -> list[str]:
        """The addresses that may be called for a URL, in the order of preference; all were checked.

        Raises:
            AddressRefusedError: one of them is not allowed.
            OSError: the name leads nowhere.
        """
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = await (self.lookup or look_up)(parts.hostname or "", port)
        for text in found:
            self._check_address(parts, ipaddress.ip_address(text.partition("%")[0]))
        return list(found)

    async def send(
        self, client: httpx.AsyncClient, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> httpx.Response:
        """What a checked address of a URL answers, its body not read yet; redirects are the caller's.

        Args:
            client: of `client_for`.

        Raises:
            AddressRefusedError, OSError: as `addresses_of`.
            httpx.HTTPError, httpx.InvalidURL: there was no answer.
        """
        target = httpx.URL(url)
        addresses = (await self.addresses_of(url))[:_MOST_ADDRESSES]
        if not addresses:
            raise OSError("the name leads nowhere")
        for place, address in enumerate(addresses):
            request = client.build_request(
                method,
                target.copy_with(host=address, fragment=None),
                headers={"Host": target.netloc.decode(), **headers},
                content=content,
                # The name goes into the handshake, and the certificate must be the name's.
                extensions={"sni_hostname": target.host},
            )
            try:
                return await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if place == len(addresses) - 1:
                    raise
        raise AssertionError("unreachable: the last address answers or raises")

    def _check_address(self, parts: SplitResult, address: Address) -> None:
        real = _unwrapped(address)
        if any(real in network for network in self.networks):
            return
        # The address itself is not named: whoever asked must not learn where names inside lead.
        is_special = any(real in network for network in _NEVER)
        if is_special or not real.is_global or real.is_multicast or real.is_reserved:
            raise AddressRefusedError("the host is not at a public address")
        if parts.scheme not in self.public_schemes:
            raise AddressRefusedError(f"public hosts are called by {' or '.join(sorted(self.public_schemes))}:// only")


def client_for(timeout_seconds: float, trust: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """An HTTP client for `Guard.send`: no proxies, and no connection twice, as each was checked for itself.

    Args:
        timeout_seconds: patience for each step of an answer.
        trust: whose certificates count; None: the public authorities, or SSL_CERT_FILE's.
    """
    limits = httpx.Limits(max_keepalive_connections=0)
    verify = trust or httpx.create_ssl_context()
    return httpx.AsyncClient(verify=verify, trust_env=False, limits=limits, timeout=timeout_seconds)


async def look_up(host: str, port: int) -> Sequence[str]:
    """The system's answer."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
