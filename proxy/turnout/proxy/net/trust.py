"""Whose steering fields are believed: the networks of `--trusted`."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from turnout.proxy.filters.peer import Peer

MAX_LEARNED = 4_096


class Trust:
    """Makes Peers of addresses; each address is looked up once, within a bound."""

    __slots__ = ("_networks", "_peers")

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        self._peers: dict[str, Peer] = {}

    def look_up(self, address: str) -> Peer:
        """The peer at an IP address; an IPv4 address mapped into IPv6 is the IPv4 one."""
        peer = self._peers.get(address)
        if peer is None:
            peer = self._make(address)
            if len(self._peers) < MAX_LEARNED:
                self._peers[address] = peer
        return peer

    def _make(self, text: str) -> Peer:
        try:
            address = ip_address(text)
        except ValueError:
            return Peer(text.encode(), trusted=False)
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        trusted = any(address.version == network.version and address in network for network in self._networks)
        return Peer(str(address).encode(), trusted=trusted)
