"""The filters of a request, in order. What a rule asks for (header edits, rewrites, redirects) comes after the
match and is compiled into the route; these hold for every request.
"""

from collections.abc import Callable
from typing import Final

from turnout.proxy.filters.client_cert import set_client_cert
from turnout.proxy.filters.forwarded import append_forwarded
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.request_id import ensure_request_id, make_request_id
from turnout.proxy.filters.steering import drop_steering
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark

REQUEST_FILTERS: tuple[Callable[[RequestHead, Peer], None], ...] = (
    drop_steering,  # first: nothing below may see what an untrusted peer made up
    set_client_cert,  # the same: rules and upstreams may believe what it says
    append_forwarded,  # before the match, so that rules see what the upstream will
    ensure_request_id,  # last: from here on an answer can name the request
)

TOUCHED: Final = int(Mark.STEERING | Mark.FORWARDED_FOR | Mark.FORWARDED_PROTO | Mark.REQUEST_ID | Mark.CLIENT_CERT)


def apply_request_filters(head: RequestHead, peer: Peer) -> None:
    """The whole chain. Most heads have none of its fields; then all it does is to add its own, at once."""
    if head.marks & TOUCHED:
        for apply in REQUEST_FILTERS:
            apply(head, peer)
    else:
        head.request_id = request_id = make_request_id()
        head.add_with_id(peer.block, peer.fields, request_id)
