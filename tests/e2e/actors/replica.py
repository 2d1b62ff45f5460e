"""A model server in the hands of a test: it answers each request as it is told, and remembers all."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType

from actors.wire import Message, Wire

Handler = Callable[[Wire, Message], Awaitable[None]]


def answer(status: int = 200, *fields: str, body: bytes = b"ok", close: bool = False) -> Handler:
    """Answer with this."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields, *(["Connection: close"] if close else [])]
    data = "\r\n".join([*lines, "", ""]).encode() + body

    async def handle(wire: Wire, request: Message) -> None:
        await wire.send(data)
        if close:
            wire.close()

    return handle


async def reset(wire: Wire, request: Message) -> None:
    """Break the connection off, without an answer."""
    wire.reset()


async def half_a_head(wire: Wire, request: Message) -> None:
    """Break off within the answer's head."""
    await wire.send(b"HTTP/1.1 200 OK\r\nX-Half: ")
    wire.reset()


async def half_a_body(wire: Wire, request: Message) -> None:
    """Break off within the answer's body."""
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    wire.reset()


async def never(wire: Wire, request: Message) -> None:
    """Say nothing until the other side leaves."""
    await wire.reader.read()


class Replica:
    """Listens on loopback. `script` are the handlers of the next requests, then `handler` answers; `requests` came."""

    def __init__(self, name: str = "replica", port: int = 0) -> None:
        self.name = name
        self.port = port
        self.handler: Handler = answer(body=name.encode())
        self.script: list[Handler] = []
        self.requests: list[Message] = []
        self.wires: list[Wire] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Replica":
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def listen(self) -> None:
        """Take connections (again), on the same port."""
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no connections any more, and break off those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for wire in self.wires:
            if not wire.writer.transport.is_closing():
                wire.reset()
        self.wires.clear()

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        self.wires.append(wire)
        task = asyncio.get_running_loop().create_task(self._serve(wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, wire: Wire) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                request = await wire.read_request()
                self.requests.append(request)
                await (self.script.pop(0) if self.script else self.handler)(wire, request)
