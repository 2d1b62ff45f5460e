"""Forwarding fields: the peer is appended to X-Forwarded-For, X-Forwarded-Proto is set (Envoy `use_remote_address`)."""

from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark

_FOR, _PROTO = int(Mark.FORWARDED_FOR), int(Mark.FORWARDED_PROTO)


def append_forwarded(head: RequestHead, peer: Peer) -> None:
    """What a trusted peer says of the scheme is kept: it may have ended TLS for us."""
    if not head.marks & (_FOR | _PROTO):
        head.add_block(peer.block)
        return
    address = peer.address
    if head.marks & _FOR and (before := head.get(b"x-forwarded-for")):
        head.set(b"x-forwarded-for", before + b", " + address)
    else:
        head.add(b"x-forwarded-for", address)
    if not head.marks & _PROTO:
        head.add(b"x-forwarded-proto", b"http")
    elif not peer.trusted or head.get(b"x-forwarded-proto") is None:
        head.set(b"x-forwarded-proto", b"http")
