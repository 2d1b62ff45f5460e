"""A quick upstream for many requests: it answers each with its own name, and keeps what it saw."""

import asyncio
import ssl
from collections.abc import Callable

from actors.serving import Serving
from actors.wire import Message


class Echo(Serving):
    """`async with Echo("v1") as v1`: listens on `v1.port`; `status`, `fields` and `delay_s` may be changed at any time,
    and between `hold` and `release` it answers nobody."""

    def __init__(self, name: str = "echo", port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(port, tls=tls)
        self.name = name
        self.seen: list[Message] = []
        self.status = 200
        self.fields: list[str] = []
        self.delay_s = 0.0
        self._held: list[Callable[[], None]] | None = None

    @property
    def answer(self) -> bytes:
        body = self.name.encode()
        fields = "".join(f"{line}\r\n" for line in self.fields).encode()
        return b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (self.status, fields, len(body), body)

    def hold(self) -> None:
        self._held = []

    def release(self) -> None:
        """Answer those that were held, and from now on at once."""
        held, self._held = self._held or [], None
        for answer in held:
            answer()

    def make_connection(self) -> asyncio.Protocol:
        return _EchoConnection(self)


class _EchoConnection(asyncio.Protocol):
    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._echo.transports.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._echo.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            start, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in lines)
            message = Message(start, [(name.lower(), value.strip()) for name, _, value in pairs])
            size = end + 4 + int(message.get("content-length") or 0)
            if len(self._buffer) < size:
                return
            message.body = self._buffer[end + 4 : size]
            self._buffer = self._buffer[size:]
            self._answer(message)

    def _answer(self, message: Message) -> None:
        echo = self._echo
        echo.seen.append(message)
        if echo._held is not None:
            echo._held.append(lambda: self._transport.write(echo.answer))
        elif echo.delay_s:
            asyncio.get_running_loop().call_later(echo.delay_s, self._transport.write, echo.answer)
        else:
            self._transport.write(echo.answer)
