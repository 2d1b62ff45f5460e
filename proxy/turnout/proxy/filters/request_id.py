"""Every request has an id: the one it came with, or a new one of 128 random bits."""

from random import getrandbits
from typing import Final

from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark

_REQUEST_ID: Final = int(Mark.REQUEST_ID)
MAX_BYTES: Final = 256


def ensure_request_id(head: RequestHead, peer: Peer | None) -> None:
    """An id that is empty or too long to be logged is replaced."""
    if head.marks & _REQUEST_ID:
        request_id = head.find(b"x-request-id")
        if request_id and len(request_id) <= MAX_BYTES:
            head.request_id = request_id
            return
        head.remove((b"x-request-id",))
    head.request_id = request_id = make_request_id()
    head.add_marked(b"\r\nx-request-id: " + request_id)


def make_request_id() -> bytes:
    """128 random bits, as 32 hex digits."""
    return b"%032x" % getrandbits(128)
