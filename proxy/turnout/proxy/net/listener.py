"""A listening socket of a worker: accepting, and ending so that nobody who queued is lost."""

import asyncio
import socket
from collections.abc import Callable

BACKLOG = 4096
"""What the supervisor listens with; the loop listens again, and must not shrink it."""
ACCEPTS = 64
"""So many in a row, then others have their turn."""
PAUSE_S = 1.0
"""When there are no descriptors or no memory for one more (asyncio's `ACCEPT_RETRY_DELAY`)."""

Factory = Callable[[], asyncio.Protocol]
Take = Callable[[socket.socket, str], None]
"""Of an accepted socket, and the client's address."""


class Listener:
    """Accepts on `sock` from `start` to `stop`. Plain connections are made by the loop, each with a protocol from a
    factory; others are handed on as sockets (`take`)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        # Whether it blocks is one flag for all processes that have it, also for one that a hot restart replaces; a
        # copy (`dup`) of what is not said to be non-blocking here would set it, and stop that one in its `accept`.
        sock.setblocking(False)
        self._sock = sock
        self._server: asyncio.Server | None = None
        self._take: Take | None = None
        self._retry: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        return int(self._sock.getsockname()[1])

    @property
    def started(self) -> bool:
        return self._server is not None or self._take is not None

    @property
    def hands_on(self) -> bool:
        """Whether accepted sockets are handed on."""
        return self._take is not None

    async def start(self, factory: Factory) -> None:
        self._server = await self._loop.create_server(factory, sock=self._sock.dup(), backlog=BACKLOG)

    def start_with(self, take: Take) -> None:
        self._take = take
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def pause(self) -> None:
        """Accept no more for now; who comes waits in the queue."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._take is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._take = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def stop(self, factory: Factory, take: Take | None) -> None:
        """Accept what is queued, then close the socket."""
        if self.started:
            self.pause()
            while True:
                try:
                    accepted, address = self._sock.accept()
                except OSError:
                    break
                if take is not None:
                    take(accepted, str(address[0]))
                else:
                    await self._loop.connect_accepted_socket(factory, accepted)
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                accepted, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._loop.remove_reader(self._sock.fileno())
                self._retry = self._loop.call_later(PAUSE_S, self._accept_again)
                return
            assert self._take is not None
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._take(accepted, str(address[0]))

    def _accept_again(self) -> None:
        self._retry = None
        self._loop.add_reader(self._sock.fileno(), self._accept)
