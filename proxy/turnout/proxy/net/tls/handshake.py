"""An accepted connection up to the end of its TLS handshake; then it becomes what a plain one is from the start.

It counts as a connection of the worker from its first moment, so that limits hold and a drain waits for it. The loop
gets the socket together with the context: a plain transport that is turned into TLS later may have read the client's
first bytes by then, and dropped them.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from turnout.proxy.net.tls.contexts import HTTP2
from turnout.proxy.net.tls.failures import describe_failure
from turnout.proxy.telemetry.layout import Word

if TYPE_CHECKING:
    from turnout.proxy.net.context import ListenerContext

LINGER_S = 1.0
READ_BYTES = 65_536
SHUTDOWN_S = 10.0
"""For the end of a connection beyond the time that its last bytes may take."""


class Handshake(asyncio.Protocol):
    """Begins with the accepted `sock` of a client at `peer`; `make` gives the protocol of the connection once TLS
    stands, which may look at `transport.get_extra_info("ssl_object")`."""

    __slots__ = ("__weakref__", "_is_done", "_listener", "_make", "_peer", "_task")

    def __init__(
        self, listener: "ListenerContext", sock: socket.socket, peer: str, make: Callable[[], asyncio.Protocol]
    ) -> None:
        worker = listener.worker
        self._listener = listener
        self._make = make
        self._peer = peer
        self._is_done = False
        worker.connections.add(self)
        worker.services.counters.add(Word.CONNECTIONS_ACTIVE)
        self._task = worker.loop.create_task(self._run(sock))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop tells it when the handshake went well."""
        self._is_done = True
        self._listener.worker.tls_reports.on_connection("downstream")
        protocol = self._make()
        cast(asyncio.Transport, transport).set_protocol(protocol)
        protocol.connection_made(transport)

    def close_now(self) -> None:
        """The drain is over."""
        self._task.cancel()

    def held_bytes(self) -> int:
        return 0

    def cut(self) -> None:
        """It holds nothing that would be worth it."""

    def drain(self) -> None:
        """What comes of it says so with its first answer."""

    async def _run(self, sock: socket.socket) -> None:
        worker, context = self._listener.worker, self._listener.tls
        try:
            if context is None:  # a reload has made it a plain listener, and this one came before
                sock.close()
            else:
                with socket.socket(fileno=os.dup(sock.fileno())) as spare:
                    await self._shake(sock, spare, context)
        finally:
            worker.services.counters.add(Word.CONNECTIONS_ACTIVE, -1)
            worker.connections.discard(self)
            if not worker.connections:
                worker.on_idle()

    async def _shake(self, sock: socket.socket, spare: socket.socket, context: ssl.SSLContext) -> None:
        """`spare` is another descriptor: the loop has closed its own before an alert could leave."""
        worker = self._listener.worker
        try:
            await worker.loop.connect_accepted_socket(
                lambda: self, sock, ssl=context, ssl_handshake_timeout=worker.options.handshake_timeout_s,
                ssl_shutdown_timeout=worker.options.idle_timeout_s + SHUTDOWN_S,
            )  # fmt: skip
        except OSError as error:
            self._fail(error)
            await self._say_why(spare, getattr(error, "alert", b""))
        else:
            if not self._is_done:
                self._fail(None)

    async def _say_why(self, sock: socket.socket, alert: bytes) -> None:
        """Send the alert of a failed handshake, and wait a moment for the client's end: with bytes of his unread our
        end would be a reset, which destroys the alert."""
        loop = self._listener.worker.loop
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                if alert:
                    await loop.sock_sendall(sock, alert)
                sock.shutdown(socket.SHUT_WR)
                while await loop.sock_recv(sock, READ_BYTES):
                    pass

    def _fail(self, error: Exception | None) -> None:
        failure, text = describe_failure(error)
        self._listener.worker.tls_reports.on_failure("downstream", self._listener.name, self._peer, failure, text)


def speaks_http2(transport: asyncio.BaseTransport) -> bool:
    """Whether that is what the handshake has agreed on (ALPN, RFC 7301)."""
    tls = find_tls(transport)
    return tls is not None and tls.selected_alpn_protocol() == HTTP2


def find_tls(transport: asyncio.BaseTransport) -> ssl.SSLObject | None:
    """The TLS of a connection, None for a plain one."""
    found = transport.get_extra_info("ssl_object")
    return found if isinstance(found, ssl.SSLObject) else None
