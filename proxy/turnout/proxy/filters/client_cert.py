"""`x-forwarded-client-cert`: what upstreams are told of the client's certificate (Envoy's SANITIZE_SET).

A client's own copy is dropped, or anybody could be anybody. A trusted peer's is kept, as it may have ended TLS for us;
what that peer has shown itself is appended (Envoy's APPEND_FORWARD).
"""

from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark

_CLIENT_CERT = int(Mark.CLIENT_CERT)
_NAME = b"x-forwarded-client-cert"


def set_client_cert(head: RequestHead, peer: Peer) -> None:
    """Say who the client is, as far as that is known."""
    certificate = peer.certificate
    if head.marks & _CLIENT_CERT:
        kept = head.find(_NAME) if peer.trusted else None
        head.remove((_NAME,))
        certificate = b",".join([part for part in (kept, certificate) if part])
    if certificate:
        head.add_marked(b"\r\n%b: %b" % (_NAME, certificate))
