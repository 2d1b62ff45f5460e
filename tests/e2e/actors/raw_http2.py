"""One stream of HTTP/2 in plain text, field by field, by the `h2` library: for what clients let nobody say."""

import asyncio
from collections.abc import Iterable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

Fields = Iterable[tuple[str, str]]


class RawStream:
    """The first stream of a connection. `fields` has the answer's head, `trailers` its trailers, `data` its body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.fields: dict[str, str] = {}
        self.trailers: dict[str, str] = {}
        self.data = b""
        self.ended = False
        self._has_settings = False

    @property
    def takes_websockets(self) -> bool:
        """Whether the peer knows extended CONNECT (RFC 8441 §3)."""
        return self._connection.remote_settings.enable_connect_protocol == 1

    async def begin(self) -> None:
        """Exchange the SETTINGS."""
        self._connection.initiate_connection()
        await self._flush()
        while not self._has_settings:
            await self.read()

    async def send_head(self, fields: Fields, *, end: bool = False) -> None:
        self._connection.send_headers(1, list(fields), end_stream=end)
        await self._flush()

    async def send(self, data: bytes, *, end: bool = False) -> None:
        self._connection.send_data(1, data, end_stream=end)
        await self._flush()

    async def read(self) -> None:
        """Take what comes next, whatever it is."""
        async with asyncio.timeout(10):
            data = await self._reader.read(65_536)
        if not data:
            raise ConnectionResetError("the peer has closed")
        for event in self._connection.receive_data(data):
            self._on_event(event)
        await self._flush()

    async def read_to_end(self) -> None:
        while not self.ended:
            await self.read()

    def close(self) -> None:
        self._writer.close()

    def _on_event(self, event: Any) -> None:
        match event:
            case h2.events.RemoteSettingsChanged():
                self._has_settings = True
            case h2.events.ResponseReceived():
                self.fields = dict(event.headers)
            case h2.events.TrailersReceived():
                self.trailers = dict(event.headers)
            case h2.events.DataReceived():
                self.data += event.data
                self._connection.acknowledge_received_data(event.flow_controlled_length, 1)
            case h2.events.StreamEnded() | h2.events.StreamReset():
                self.ended = True

    async def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()


async def open_stream(port: int, address: str = "127.0.0.1") -> RawStream:
    """A connection that has the peer's SETTINGS."""
    stream = RawStream(*await asyncio.open_connection(address, port))
    await stream.begin()
    return stream


def call_fields(host: str, path: str, *more: tuple[str, str]) -> Fields:
    """The head of a call of gRPC."""
    pseudo = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", host))
    return (*pseudo, ("te", "trailers"), ("content-type", "application/grpc"), *more)
