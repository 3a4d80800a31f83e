"""Who a client is, by its address or the name of its API key."""

import hashlib
import ipaddress
from functools import lru_cache

UNKNOWN = "unknown"
# A client that has one IPv6 address has a network of this many bits.
IPV6_NETWORK_BITS = 64


@lru_cache(maxsize=1024)
def client_of(address: str | None, key: str = "") -> str:
    """Return the client that an address or the name of an API key represents, as letters and digits; empty for none."""
    name = f"key:{key}" if key else network_of(address)
    return "" if name == UNKNOWN else hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def network_of(address: str | None) -> str:
    """Return what belongs to one client: an IPv4 address, or the network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
