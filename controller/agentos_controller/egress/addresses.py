"""Which addresses may be dialled. Loopback, private and special ranges open only by the operator's word."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from agentos_controller import settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# The special-purpose registries of RFC 6890 and what followed. `is_global` of the standard library is not enough: it
# lets translated and tunnelled forms of private addresses through.
_CLOSED_V4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = [
    ipaddress.IPv6Network(text)
    # Protocol assignments with Teredo, documentation (two), 6to4; everything outside 2000::/3 is closed already.
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
]
# Cloud metadata services: opened only by naming exactly this address, never by a range around it.
_METADATA = {
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")
}


def allowed(address: Address, allow: Iterable[settings.Network] = ()) -> bool:
    """Whether an address may be dialled: it is public, or lies in a range of `allow`."""
    if address in _METADATA:
        return any(network.num_addresses == 1 and address in network for network in allow)
    if any(address in network for network in allow if network.version == address.version):
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)
