"""An HTTP/1.1 upstream that sends each body back as it comes, framed as it came, with its trailers."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

PIECE_BYTES = 65_536


class BodyEcho:
    """`async with BodyEcho() as upstream`: listens on `upstream.port`."""

    port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if b"\r\ntransfer-encoding: chunked\r\n" in head:
                    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    await self._echo_chunks(reader, writer)
                else:
                    _, _, rest = head.partition(b"\r\ncontent-length:")
                    length = int(rest.partition(b"\r\n")[0] or 0)
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length)
                    await self._echo(reader, writer, length)
        writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        while left:
            piece = await reader.read(min(left, PIECE_BYTES))
            if not piece:
                raise ConnectionError
            left -= len(piece)
            writer.write(piece)
            await writer.drain()

    async def _echo_chunks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while size := int(line := await reader.readuntil(b"\r\n"), 16):
            writer.write(line)
            await self._echo(reader, writer, size + 2)
        writer.write(line)
        while line != b"\r\n":
            line = await reader.readuntil(b"\r\n")
            writer.write(line)
