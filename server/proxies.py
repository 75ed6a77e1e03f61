"""Whom to believe about where a client is."""

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_MAPPED_BITS = 96  # of an IPv6 address before the IPv4 address that it stands for


class Proxies:
    """The addresses and networks of TRUSTED_PROXIES, whose `X-Forwarded-For` is believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks = tuple(map(_network, trusted))

    def client(self, peer: str | None, forwarded: Sequence[str]) -> str | None:
        """The address of the client behind `peer`, who sent these values of the header.

        Each proxy adds whom it saw at the end. So the last that is none of ours is the client;
        what stands before it is the client's own claim. An IPv4 address that a socket for both
        has written as an IPv6 one (`::ffff:10.0.0.1`) is given as the IPv4 address.
        """
        if peer is None:
            return None
        try:
            address = _address(peer)
        except ValueError:  # a Unix socket has none
            return peer
        for each in reversed([part.strip() for value in forwarded for part in value.split(",")]):
            if not self._trusts(address):
                break
            try:
                address = _address(each)
            except ValueError:
                break
        return str(address)

    def _trusts(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ipaddress.ip_address(text)
    return (address.version == 6 and address.ipv4_mapped) or address


def _network(text: str) -> IPv4Network | IPv6Network:
    network = ipaddress.ip_network(text)
    if network.version == 6 and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
