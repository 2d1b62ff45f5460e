"""`x-forwarded-client-cert`: what upstreams are told of who shows a certificate, and whose word for it is believed."""

import pytest

from turnout.proxy.filters.chain import apply_request_filters
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import REQUEST_MARKS

FIELD = b"x-forwarded-client-cert"
OWN = b"Hash=ab;URI=spiffe://td/own"


def seen(*sent: bytes, certificate: bytes = b"", trusted: bool = False) -> list[bytes]:
    head = RequestHead([(FIELD, value) for value in sent])
    head.marks = REQUEST_MARKS[FIELD] if sent else 0
    peer = Peer(b"192.0.2.1", trusted=trusted, scheme="https", identity="spiffe://td/own", certificate=certificate)
    apply_request_filters(head, peer)
    assert head.get(b"x-forwarded-proto") == b"https"
    return [value for name, value in head.fields if name == FIELD]


@pytest.mark.parametrize(
    ("sent", "certificate", "trusted", "told"),
    [
        ((), b"", False, []),
        ((), OWN, False, [OWN]),
        ((b"By=x",), b"", False, []),
        ((b"By=x",), OWN, False, [OWN]),
        ((b"By=x", b"By=y"), OWN, False, [OWN]),
        ((b"By=x",), b"", True, [b"By=x"]),
        ((b"By=x",), OWN, True, [b"By=x," + OWN]),
        ((b"By=x", b"By=y"), OWN, True, [b"By=x,By=y," + OWN]),
        ((b"",), OWN, True, [OWN]),
    ],
)
def test_a_copy_of_the_clients_own_is_dropped_unless_it_is_trusted(
    sent: tuple[bytes, ...], certificate: bytes, trusted: bool, told: list[bytes]
) -> None:
    assert seen(*sent, certificate=certificate, trusted=trusted) == told
