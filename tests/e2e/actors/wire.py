"""One end of a TCP connection: it sends the bytes it is told, and reads HTTP/1.1 by the letter of RFC 9112.

Nothing is repaired and nothing is guessed, so that a test sees what was on the wire. All waits are bounded.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable
from typing import Any

PATIENCE_S = 6
LIMIT_BYTES = 1 << 22
Fields = list[tuple[str, str]]


async def soon(work: Awaitable[Any]) -> Any:
    """Await it, but not for ever."""
    async with asyncio.timeout(PATIENCE_S):
        return await work


class Message:
    """A request or an answer. Names of fields are in lower case, in the order they came."""

    def __init__(self, start: str, fields: Fields) -> None:
        self.start = start
        self.fields = fields
        self.body = b""
        self.trailers: Fields = []

    def __repr__(self) -> str:
        return f"<Message {self.start!r} {self.fields} {self.body[:80]!r}>"

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def target(self) -> str:
        return self.start.split(" ")[1]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.fields]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        return ",".join(values) if values else None


class Wire:
    """A connection in the hands of a test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def port(self) -> int:
        """Our own port."""
        return self.writer.get_extra_info("sockname")[1]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await soon(self.writer.drain())

    async def read_head(self) -> Message:
        head = (await soon(self.reader.readuntil(b"\r\n\r\n"))).decode("latin-1")
        start, *lines = head[:-4].split("\r\n")
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon, line
            fields.append((name.lower(), value.strip(" \t")))
        return Message(start, fields)

    async def read_request(self) -> Message:
        message = await self.read_head()
        await self._read_framed(message)
        return message

    async def read_response(self, method: str = "GET") -> Message:
        """The answer to a request with this method; one without framing fields ends with the connection."""
        message = await self.read_head()
        if method == "HEAD" or message.status < 200 or message.status in (204, 304):
            return message
        if not {"content-length", "transfer-encoding"} & set(message.names):
            message.body = await soon(self.reader.read(-1))
        else:
            await self._read_framed(message)
        return message

    async def read(self, size: int) -> bytes:
        return await soon(self.reader.readexactly(size))

    async def read_chunk(self) -> bytes:
        """One chunk; empty for the last one, whose trailers are still to be read."""
        size = int((await soon(self.reader.readuntil(b"\r\n")))[:-2], 16)
        if not size:
            return b""
        data = await self.read(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def read_rest(self) -> bytes:
        """All up to the end of the connection."""
        return await soon(self.reader.read(-1))

    async def is_closed(self) -> bool:
        """Wait for the end of the connection; True if it came without another byte."""
        try:
            return await self.read_rest() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End with a reset instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def _read_framed(self, message: Message) -> None:
        if message.get("transfer-encoding") == "chunked":
            while chunk := await self.read_chunk():
                message.body += chunk
            while (line := await soon(self.reader.readuntil(b"\r\n"))) != b"\r\n":
                name, _, value = line[:-2].decode("latin-1").partition(":")
                message.trailers.append((name.lower(), value.strip()))
        elif length := message.get("content-length"):
            message.body = await self.read(int(length))


async def connect(port: int, host: str = "127.0.0.1", **more: Any) -> Wire:
    """A client's connection."""
    return Wire(*await soon(asyncio.open_connection(host, port, limit=LIMIT_BYTES, **more)))
