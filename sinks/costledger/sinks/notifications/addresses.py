"""Which addresses a webhook may reach: a user must not be able to have our network asked on their behalf."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from costledger.schemas.errors import CostledgerError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: IPv6 prefixes in which an IPv4 address is hidden in the last 32 bits.
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
#: Of the protocols themselves (RFC 6890): no host of anybody's, whatever the library's table says of parts of it.
_PROTOCOLS: Final = ipaddress.IPv4Network("192.0.0.0/24")
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


class ForbiddenAddress(CostledgerError):
    """A host that is, or that resolves to, an address that must not be reached."""


def is_public(address: Address) -> bool:
    """Whether an address is somebody's on the Internet: not loopback, private, link-local, reserved or multicast.

    Forms of IPv6 that carry an IPv4 address are as public as that one.
    """
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour
        if hidden is None and (address in _COMPATIBLE or any(address in network for network in _NAT64)):
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if hidden is not None:
            return is_public(hidden)
        if address.teredo is not None or address.is_site_local:
            return False
    elif address in _PROTOCOLS:
        return False
    return address.is_global and not address.is_multicast


def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """The address to connect to for a host, as text.

    The connection must go to exactly this address: asking again could give another one. With one address that is
    not public the whole host is refused. Raises `ForbiddenAddress`, and `OSError` where the name has no address.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    if not addresses:
        raise OSError(f"{host} has no address")
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise ForbiddenAddress(
                    f"{host} is at an address that is not public: refused (COSTLEDGER_DELIVERY_ALLOW_PRIVATE_TARGETS)"
                )
    return str(addresses[0])


def literal(host: str) -> Address | None:
    """The address that a host name is, also in the odd spellings that a resolver takes (`127.1`, `0x7f000001`)."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
