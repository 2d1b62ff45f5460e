"""Whose steering fields are believed: the networks of `--trusted`; and who it is that speaks TLS."""

import ssl
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from turnout.proxy.filters.peer import Peer
from turnout.proxy.net.tls.identity import read_identity

MAX_LEARNED = 4_096


class Trust:
    """Makes Peers of addresses; each address is looked up once, within a bound."""

    __slots__ = ("_networks", "_peers")

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        self._peers: dict[tuple[str, bool], Peer] = {}

    def look_up(self, address: str, tls: ssl.SSLObject | None = None) -> Peer:
        """The peer at an IP address; an IPv4 address mapped into IPv6 is the IPv4 one. `tls` is its connection's."""
        key = address, tls is not None
        peer = self._peers.get(key)
        if peer is None:
            peer = self._make(address, "http" if tls is None else "https")
            if len(self._peers) < MAX_LEARNED:
                self._peers[key] = peer
        if tls is not None:
            identity, certificate = read_identity(tls)
            if certificate:  # it is this connection's, whatever others come from the address
                return Peer(
                    peer.address, trusted=peer.trusted, scheme="https", identity=identity, certificate=certificate
                )
        return peer

    def _make(self, text: str, scheme: str) -> Peer:
        try:
            address = ip_address(text)
        except ValueError:
            return Peer(text.encode(), trusted=False, scheme=scheme)
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        trusted = any(address.version == network.version and address in network for network in self._networks)
        return Peer(str(address).encode(), trusted=trusted, scheme=scheme)
