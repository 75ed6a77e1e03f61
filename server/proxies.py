"""Whom to believe about where a client is."""

import ipaddress
from collections.abc import Sequence


class Proxies:
    """The addresses and networks of TRUSTED_PROXIES, whose `X-Forwarded-For` is believed."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(each) for each in trusted)

    def client(self, peer: str | None, forwarded: Sequence[str]) -> str | None:
        """The address of the client behind `peer`, who sent these values of the header.

        Each proxy adds whom it saw at the end. So the last that is none of ours is the client;
        what stands before it is the client's own claim.
        """
        if peer is None or not self._trusts(peer):
            return peer
        client = peer
        for each in reversed([part.strip() for value in forwarded for part in value.split(",")]):
            try:
                client = str(ipaddress.ip_address(each))
            except ValueError:
                break
            if not self._trusts(client):
                break
        return client

    def _trusts(self, address: str) -> bool:
        try:
            return any(ipaddress.ip_address(address) in network for network in self._networks)
        except ValueError:  # a Unix socket has none
            return False
