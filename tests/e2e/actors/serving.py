"""What upstreams that a test plays have in common: they listen while they are entered, and end with a cut."""

import asyncio
import ssl
from types import TracebackType
from typing import Self


class Serving:
    """`async with` one of these: it listens at `port`, or at any that is free if that is 0. `make_connection` makes the
    protocol of each connection, which keeps itself among `transports` while it lasts."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.transports: set[asyncio.Transport] = set()
        self._tls = tls
        self._server: asyncio.Server | None = None

    def make_connection(self) -> asyncio.Protocol:
        raise NotImplementedError

    async def listen(self) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            self.make_connection, "127.0.0.1", self.port or None, ssl=self._tls, backlog=4096
        )

    def kill(self) -> None:
        """Every connection ends at once; new ones are taken."""
        for transport in list(self.transports):
            transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await self.listen()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.kill()
