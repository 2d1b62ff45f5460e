"""A connection that is being made to an endpoint of which only the handshake tells what it speaks (ALPN, RFC 7301)."""

import asyncio
from typing import cast

from turnout.proxy.net.http2_upstream import Http2Upstream
from turnout.proxy.net.protocol import as_protocol
from turnout.proxy.net.tls.handshake import speaks_http2
from turnout.proxy.net.upstream import UpstreamConnection


class Agreed(asyncio.Protocol):
    """Becomes `shared` if both sides speak HTTP/2, else `plain`: that is `chosen`, from the handshake on.

    The choice is made when the loop tells that TLS stands, for the endpoint may speak first.
    """

    def __init__(self, plain: UpstreamConnection, shared: Http2Upstream) -> None:
        self._plain = plain
        self._shared = shared
        self.chosen: UpstreamConnection | Http2Upstream = plain

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if speaks_http2(transport):
            self.chosen = self._shared
        cast(asyncio.Transport, transport).set_protocol(as_protocol(self.chosen))
        self.chosen.connection_made(transport)
