"""Who calls, and what a key or a signed link opens for them; asked before each route by `gateway/access.py`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from divisi.access.key_ring import ApiKey, Scope
from divisi.contract.files import LINKABLE_PATHS

READING_METHODS = frozenset({"GET", "HEAD"})
# What a signed link may open, by the part of the path after the job's id.
LINKABLE = LINKABLE_PATHS | {"shared"}
# One household has one IPv6 network of this length, and as many addresses in it as it likes.
_IPV6_PREFIX = 64


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Args:
        owner: name that jobs and limits carry, `key:<id>` or `address:<ip>`; None: callers are not distinguished.
        key: the key that was shown.
        sees_all: False: only jobs of the same owner.
    """

    owner: str | None
    key: ApiKey | None = None
    sees_all: bool = True


def scope_of(method: str, template: str) -> Scope | None:
    """What a key needs for a route, given by its template; None: any key will do."""
    if template == "/metrics":
        return Scope.METRICS
    if not template.startswith(("/v1/jobs", "/v1/groups")):
        return None
    # A link to share opens no more than its maker may read.
    is_reading = method in READING_METHODS or template.endswith("/links")
    return Scope.JOBS_READ if is_reading else Scope.JOBS_WRITE


def is_linkable(template: str) -> bool:
    """True when signed links to this route, given by its template or a path of it, are honoured."""
    parts = template.split("/")
    return len(parts) > 4 and parts[4] in LINKABLE


def owner_at(host: str) -> str:
    """`address:<ip>` for the client at that address; one name for all of an IPv6 network."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "address:unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return f"address:{address.ipv4_mapped}"
        return f"address:{ipaddress.ip_network((address, _IPV6_PREFIX), strict=False).network_address}"
    return f"address:{address}"
