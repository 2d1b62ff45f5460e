"""Clients and upstreams that want to fill a proxy's memory: each sends as long as it is let, and reads nothing.

Both ends hold little themselves, whatever the proxy does: what is sent is one piece of bytes, again and again, and the
receive buffers of the system are small.
"""

import asyncio
import socket
import struct
from types import TracebackType
from typing import Self

from actors.serving import Serving

PIECE = b"x" * 65_536
BUFFER_BYTES = 65_536
SEGMENT_BYTES = 1_400
"""As on a real network. The system gives a sender room for at least 20 segments, and those of loopback are 64 KiB."""
POUR_BYTES = 1_500_000

_RESET = struct.pack("ii", 1, 0)


class Flood:
    """`count` connections to `port`. Each sends `begin`, then `more` bytes of body; with `deaf` it never reads.

    `sent` counts body bytes that went to the system, `answers` the status lines that came, `ended` who was cut.
    """

    def __init__(self, port: int, begin: bytes, more: int = 0, *, deaf: bool = False) -> None:
        self.begin = begin
        self.more = more
        self.deaf = deaf
        self.sent = 0
        self.answers: list[int] = []
        self.ended = 0
        self.transports: set[asyncio.Transport] = set()
        self._port = port
        self._replaced = 0

    async def open(self, count: int) -> None:
        """That many more connections; one that is refused by the system counts as ended."""
        await asyncio.gather(*(self._open() for _ in range(count)), return_exceptions=True)

    async def replace(self) -> None:
        """One more connection for each that has ended."""
        count = self.ended - self._replaced
        self._replaced = self.ended
        await self.open(count)

    def say(self, data: bytes) -> None:
        """Every connection that is left sends this."""
        for transport in self.transports:
            transport.write(data)

    @property
    def is_stuck(self) -> bool:
        """Whether no connection that is left gets rid of what it has to say."""
        return bool(self.transports) and all(transport.get_write_buffer_size() for transport in self.transports)

    def close(self) -> None:
        """All leave with a reset: an orderly end would wait behind what the other side does not read."""
        for transport in list(self.transports):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        sock = small_socket()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            await loop.create_connection(lambda: _Client(self), sock=sock)
        except OSError:
            sock.close()
            self.ended += 1


class _Sender(asyncio.Protocol):
    """Sends `left` bytes as fast as they are taken."""

    left = 0
    _blocked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(0)

    def pour(self) -> None:
        while self.left and not self._blocked and not self._transport.is_closing():
            piece = PIECE[: min(self.left, len(PIECE))]
            self.left -= len(piece)
            self.on_sent(len(piece))
            self._transport.write(piece)

    def on_sent(self, size: int) -> None:
        """So much went out."""

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        asyncio.get_running_loop().call_soon(self.pour)


class _Client(_Sender):
    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self.left = flood.more
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._flood.transports.add(self._transport)
        if self._flood.deaf:  # not now: the loop is yet to begin reading, and would do so all the same
            asyncio.get_running_loop().call_soon(self._transport.pause_reading)
        if self._flood.begin:
            self._transport.write(self._flood.begin)
        self.pour()

    def on_sent(self, size: int) -> None:
        self._flood.sent += size

    def data_received(self, data: bytes) -> None:
        if not self._answered:
            self._answered = True
            self._flood.answers.append(int(data.split(b" ", 2)[1]))

    def connection_lost(self, error: Exception | None) -> None:
        self._flood.ended += 1
        self._flood.transports.discard(self._transport)


class Sink(Serving):
    """An upstream. `/stuck`: it reads no more than the head; `/pour`: it answers with POUR_BYTES, of one more;
    `/mute`: it reads all and says nothing; else it answers `ok`."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def make_connection(self) -> asyncio.Protocol:
        return _Upstream(self)

    async def listen(self) -> asyncio.Server:
        sock = small_socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        return await asyncio.get_running_loop().create_server(self.make_connection, sock=sock, backlog=4096)


class _Upstream(_Sender):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._head = b""
        self._is_idle = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sink.transports.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._sink.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if not self._is_idle:
            return
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return
        path, self._head = self._head.split(b" ", 2)[1], b""
        self._sink.requests += 1
        self._is_idle = False
        match path:
            case b"/stuck":
                self._transport.pause_reading()
            case b"/pour":
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (POUR_BYTES + 1))
                self.left = POUR_BYTES
                self.pour()
            case b"/mute":
                pass
            case _:
                self._is_idle = True
                self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


def small_socket() -> socket.socket:
    """One whose receive buffer does not grow; those that are accepted by it inherit that."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    return sock
