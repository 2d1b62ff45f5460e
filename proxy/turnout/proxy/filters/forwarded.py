"""Forwarding fields: the peer is appended to X-Forwarded-For, X-Forwarded-Proto is set (Envoy `use_remote_address`)."""

from typing import Final

from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark

_FOR: Final = int(Mark.FORWARDED_FOR)
_PROTO: Final = int(Mark.FORWARDED_PROTO)
_FOR_FIELD: Final = b"\r\nx-forwarded-for: "


def append_forwarded(head: RequestHead, peer: Peer) -> None:
    """What a trusted peer says of the scheme is kept: it may have ended TLS for us."""
    marks = head.marks
    if not marks & (_FOR | _PROTO):
        head.add_marked(peer.forwarded)
        return
    if marks & _FOR:
        _append_address(head, peer.address)
    else:
        head.add_marked(_FOR_FIELD + peer.address)
    if not marks & _PROTO:
        head.add_marked(b"\r\nx-forwarded-proto: " + peer.scheme)
    elif not peer.trusted or head.find(b"x-forwarded-proto") is None:
        head.set(b"x-forwarded-proto", peer.scheme)


def _append_address(head: RequestHead, address: bytes) -> None:
    """To the last field of the name, of which the codec wrote each in lower case: several are one list."""
    before, field, value = head.block.rpartition(_FOR_FIELD)
    value, end, behind = value.partition(b"\r\n")
    if not field:  # Connection named it, so it is gone
        head.add_marked(_FOR_FIELD + address)
        return
    appended = b"%b, %b" % (value, address) if value else address
    head.set_block(before + field + appended + end + behind)
