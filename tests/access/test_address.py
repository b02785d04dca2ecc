"""Which addresses count as public: everything that leads inside is refused, however it is written."""

from __future__ import annotations

import ipaddress

import pytest

from divisi.access.address import AddressRefusedError, Guard

pytestmark = pytest.mark.anyio

INSIDE = [
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "192.0.0.8"),
    *("169.254.169.254", "168.63.129.16", "100.100.100.200", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1"),
    *("198.18.0.1", "192.0.2.1", "203.0.113.1", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "64:ff9b::a9fe:a9fe"),
    *("2002:7f00:1::", "2002:a00:1::", "2001:0:a00:1::1", "2001:db8::1", "fe80::1%eth0", "64:ff9b:1::1"),
]
OUTSIDE = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]


def leading_to(*addresses: str):
    async def lookup(host: str, port: int):
        return list(addresses)

    return lookup


@pytest.mark.parametrize("address", INSIDE)
async def test_an_address_inside_is_refused(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        await Guard(lookup=leading_to("93.184.215.14", address)).addresses_of("https://receiver.test/")


@pytest.mark.parametrize("address", OUTSIDE)
async def test_a_public_address_is_fine_by_https_only(address: str) -> None:
    assert await Guard(lookup=leading_to(address)).addresses_of("https://receiver.test/") == [address]
    with pytest.raises(AddressRefusedError, match="https"):
        await Guard(lookup=leading_to(address)).addresses_of("http://receiver.test/")


async def test_an_allowed_network_is_reached_by_http_too_and_nothing_beside_it() -> None:
    networks = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/32")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5"):
        assert await Guard(networks, lookup=leading_to(address)).addresses_of("http://receiver.test/") == [address]
    for address in ("10.2.0.1", "127.0.0.1", "fd00:2::5"):
        with pytest.raises(AddressRefusedError):
            await Guard(networks, lookup=leading_to(address)).addresses_of("http://receiver.test/")


async def test_the_port_is_that_of_the_address() -> None:
    asked = []

    async def lookup(host: str, port: int):
        asked.append((host, port))
        return ["93.184.215.14"]

    for url in ("https://a.test/", "https://b.test:8443/", "https://[2606:2800:21f::1]/"):
        await Guard(lookup=lookup).addresses_of(url)
    assert asked == [("a.test", 443), ("b.test", 8443), ("2606:2800:21f::1", 443)]
