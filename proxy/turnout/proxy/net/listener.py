"""A listening socket of a worker: accepting, and ending so that nobody who queued is lost."""

import asyncio
import socket
from collections.abc import Callable

BACKLOG = 4096
"""What the supervisor listens with; the loop listens again, and must not shrink it."""

Factory = Callable[[], asyncio.Protocol]


class Listener:
    """Accepts on `sock` from `start` to `stop`; each connection gets a protocol from `factory`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def port(self) -> int:
        return int(self._sock.getsockname()[1])

    @property
    def started(self) -> bool:
        return self._server is not None

    async def start(self, factory: Factory) -> None:
        self._server = await self._loop.create_server(factory, sock=self._sock.dup(), backlog=BACKLOG)

    async def stop(self, factory: Factory) -> None:
        """Accept what is queued, then close the socket."""
        if self._server is not None:
            self._server.close()
            self._sock.setblocking(False)
            while True:
                try:
                    accepted, _ = self._sock.accept()
                except OSError:
                    break
                await self._loop.connect_accepted_socket(factory, accepted)
        self._sock.close()
