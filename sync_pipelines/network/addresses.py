"""Which IP addresses a request may go to: public ones, and others only where somebody named them."""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Reach(StrEnum):
    """How far an address leads."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    METADATA = "link-local or a cloud's metadata service"
    NEVER = "multicast, unspecified or broadcast"


# Beyond what `ipaddress` knows of every supported Python.
_METADATA = [
    ipaddress.ip_network(one)
    for one in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::254/128",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
    )
]
_PRIVATE = [
    ipaddress.ip_network(one)
    for one in (
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "fec0::/10",
        "100::/64",
        "64:ff9b:1::/48",
    )
]
# The last 32 bits of these are an IPv4 address, and the packet may end there: mapped, compatible, translated,
# NAT64.
_CARRIERS = [
    ipaddress.ip_network(one)
    for one in ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
]
_6TO4 = ipaddress.ip_network("2002::/16")
_TEREDO = ipaddress.ip_network("2001::/32")
_ISATAP = (0x5EFE, 0x2005EFE)
_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")
_SEVERITY = list(Reach)


def parse_host(host: str) -> IpAddress | None:
    """The IP address that a host of a URL spells, brackets and zone allowed; None for a name.

    Raises:
        ValueError: a number in another spelling (decimal, octal, hexadecimal, too few parts), which resolvers read
            differently.
    """
    bare = host.strip("[]").partition("%")[0]
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        if _NUMBER.fullmatch(bare.rstrip(".").rpartition(".")[2]):
            raise ValueError(
                "an IP address is written with four decimal numbers, for example 127.0.0.1"
            ) from None
        return None


def reach_of(address: IpAddress) -> Reach:
    """How far an address leads; the furthest from public of itself and of the IPv4 addresses that it carries."""
    return max((_own_reach(one) for one in (address, *_carried(address))), key=_SEVERITY.index)


def is_loopback_host(host: str) -> bool:
    """The host is this machine by what is written: `localhost` or a loopback address; nothing is resolved."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        address = parse_host(host)
    except ValueError:
        return False
    return address is not None and reach_of(address) is Reach.LOOPBACK


def _own_reach(address: IpAddress) -> Reach:
    if address.is_loopback:
        return Reach.LOOPBACK
    if (
        address.is_multicast
        or address.is_unspecified
        or address == ipaddress.IPv4Address("255.255.255.255")
    ):
        return Reach.NEVER
    if any(address in network for network in _METADATA if network.version == address.version):
        return Reach.METADATA
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return Reach.PRIVATE
    if any(
        address in network
        for network in (*_CARRIERS, _6TO4, _TEREDO)
        if network.version == address.version
    ):
        return Reach.PUBLIC  # what it carries is what counts
    return Reach.PRIVATE if address.is_reserved or not address.is_global else Reach.PUBLIC


def _carried(address: IpAddress) -> list[IpAddress]:
    """The IPv4 addresses within an IPv6 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    number = int(address)
    last = ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if address in _6TO4:
        return [ipaddress.IPv4Address((number >> 80) & 0xFFFFFFFF)]
    if address in _TEREDO:
        return [
            ipaddress.IPv4Address((number >> 64) & 0xFFFFFFFF),
            ipaddress.IPv4Address(~number & 0xFFFFFFFF),
        ]
    if number > 1 and any(address in network for network in _CARRIERS):
        return [last]
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        return [last]
    return []
