"""One end of an HTTP/2 connection that sends the frames it is told, legal or not, and shows those that come.

It keeps no state but HPACK's, so nothing is refused before the proxy sees it. Windows are given back only when the test
says so. Field lists are of `str`, in the order of the wire.
"""

import asyncio
from typing import Any, NamedTuple

import hpack
from actors.wire import Fields, Wire, connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, WITH_PRIORITY = 4, 8, 32
INITIAL_WINDOW_SIZE = 4
HEADER_BYTES = 9


class Frame(NamedTuple):
    """One frame (RFC 9113 §4.1)."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The error code of RST_STREAM or GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")

    @property
    def ends(self) -> bool:
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """The bytes of a frame; `length` says something else than the payload has."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs))


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def window(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, payload)


class Message:
    """What came on a stream."""

    def __init__(self) -> None:
        self.interim: list[Fields] = []
        self.fields: Fields = []
        self.body = b""
        self.trailers: Fields = []
        self.reset: int | None = None
        self.ended = False

    @property
    def status(self) -> int:
        return int(dict(self.fields)[":status"])

    def get(self, name: str) -> str | None:
        return dict(self.fields).get(name)


class Http2Wire:
    """A connection in the hands of a test."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._decoder.max_header_list_size = 1 << 20
        self.fields: Fields = []
        """Those of the last HEADERS that came."""
        self.secrets: list[str] = []
        """The names of all fields that came as never indexed."""

    # Towards the peer

    async def send(self, *frames: bytes) -> None:
        await self.wire.send(b"".join(frames))

    def block(self, fields: Fields) -> bytes:
        """A header block by the `hpack` library."""
        return self._encoder.encode(fields)

    def use_no_table(self) -> None:
        """Send all fields as literals: `hpack` sends what it has in its table from there, also if it must not."""
        self._encoder.header_table_size = 0

    def on_added(self, name: bytes, value: bytes) -> None:
        """Bytes that were not made here have put a field into the table."""
        self._encoder.header_table.add(name, value)

    def head(self, stream: int, fields: Fields, *, end: bool = True) -> bytes:
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, self.block(fields))

    # From the peer

    async def read(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        try:
            start = await self.wire.read(HEADER_BYTES)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None
        size = int.from_bytes(start[:3], "big")
        payload = await self.wire.read(size) if size else b""
        found = Frame(start[3], start[4], int.from_bytes(start[5:9], "big"), payload)
        if found.kind == HEADERS:
            assert found.flags & END_HEADERS, "a head in several frames"
            fields = self._decoder.decode(payload)
            self.fields = [(str(name), str(value)) for name, value in fields]
            self.secrets += [str(field[0]) for field in fields if not field.indexable]
        return found

    async def read_until(self, *kinds: int) -> Frame | None:
        """The next frame of one of these kinds; what comes before is dropped."""
        while (found := await self.read()) is not None:
            if found.kind in kinds:
                return found
        return None

    async def read_ends(self, count: int) -> None:
        """Wait until that many streams have ended, well."""
        while count and (found := await self.read_until(DATA, HEADERS)):
            count -= found.ends
        assert not count, "the connection ended"

    async def read_message(self, stream: int, *, update: bool = True) -> Message:
        """All that comes on a stream; with `update` the windows are given back as it comes."""
        message = Message()
        while not message.ended:
            found = await self.read()
            assert found is not None, "the connection ended"
            self._take(message, found, stream)
            if update and found.kind == DATA and found.payload:
                await self.send(window(0, len(found.payload)), window(stream, len(found.payload)))
        return message

    def _take(self, message: Message, found: Frame, stream: int) -> None:
        fields = self.fields
        if found.stream != stream:
            return
        if found.kind == HEADERS:
            if not message.fields and dict(fields).get(":status", "")[:1] == "1":
                message.interim.append(fields)
            elif not message.fields:
                message.fields = fields
            else:
                message.trailers = fields
        elif found.kind == DATA:
            message.body += found.payload
        elif found.kind == RST_STREAM:
            message.reset = found.code
        message.ended = found.ends or found.kind == RST_STREAM

    def close(self) -> None:
        self.wire.close()


async def connect_http2(port: int, *pairs: tuple[int, int], host: str = "127.0.0.1", **more: Any) -> Http2Wire:
    """A client's connection, with both sides' SETTINGS exchanged; `pairs` are those that we send."""
    http2 = Http2Wire(await connect(port, host, **more))
    await http2.send(PREFACE, settings(*pairs))
    await http2.read_until(SETTINGS)
    await http2.send(frame(SETTINGS, ACK))
    return http2
