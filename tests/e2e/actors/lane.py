"""Lanes: many tests share one proxy, and each has a hostname, a route, a predictor and a port of its own in it.

A lane's port is kept by a socket that never listens, so nobody else gets it and, until an upstream listens there,
connecting is refused.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from actors.proxy import Proxy
from actors.wire import LIMIT_BYTES, Message, Wire, connect, soon

RULES = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {port}}}], connection: {{idleTimeout: {idle}}}}}
---
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}-connect}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {port}}}], connection: {{connectTimeout: 150ms}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  hostnames: [{name}.test]
  rules:
  - name: request-timeout
    matches: [{{path: {{type: PathPrefix, value: /request-timeout}}}}]
    timeouts: {{request: 150ms}}
    backendRefs: [{{name: {name}}}]
  - name: backend-timeout
    matches: [{{path: {{type: PathPrefix, value: /backend-timeout}}}}]
    timeouts: {{backendRequest: 150ms}}
    backendRefs: [{{name: {name}}}]
  - name: connect
    matches: [{{path: {{type: PathPrefix, value: /connect}}}}]
    backendRefs: [{{name: {name}-connect}}]
  - name: missing
    matches: [{{path: {{type: PathPrefix, value: /missing}}}}]
    backendRefs: [{{name: nobody}}]
  - name: empty
    matches: [{{path: {{type: PathPrefix, value: /empty}}}}]
  - name: plain
    matches: [{{path: {{type: PathPrefix, value: /}}}}]
    backendRefs: [{{name: {name}}}]
"""

Handler = Callable[[Wire, Message], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def answer_ok(wire: Wire, request: Message) -> None:
    await wire.send(OK)


class Lane:
    """What one test has of a shared proxy, and the upstream's side of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = f"{name}.test"
        self._sock = socket.socket()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._sock.bind(("127.0.0.1", 0))
        self.upstream_port = self._sock.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._accepted: asyncio.Queue[Wire] | None = None
        self._wires: list[Wire] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self.proxy: Proxy

    def rules(self, idle: str) -> str:
        return RULES.format(name=self.name, port=self.upstream_port, idle=idle)

    @property
    def connections(self) -> int:
        """How many connections the proxy has made so far."""
        return sum(1 for wire in self._wires if wire.port == self.upstream_port)

    # The client's side

    async def connect(self, **more: Any) -> Wire:
        wire = await connect(self.proxy.port, **more)
        self._wires.append(wire)
        return wire

    def request(self, target: str = "/", method: str = "GET", *fields: str, body: bytes | None = None) -> bytes:
        """A request's bytes; `fields` are lines like `x-a: 1`."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", *fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")

    async def ask(self, *arguments: Any, **more: Any) -> Message:
        """One request on a connection of its own."""
        wire = await self.connect()
        data = self.request(*arguments, **more)
        await wire.send(data)
        answer = await wire.read_response(data.split(b" ")[0].decode())
        wire.close()
        return answer

    # The upstream's side

    async def listen(self) -> None:
        self._accepted = queue = asyncio.Queue()

        def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wire = Wire(reader, writer)
            self._wires.append(wire)
            queue.put_nowait(wire)

        self._server = await asyncio.start_server(
            on_connection, "127.0.0.1", self.upstream_port, reuse_port=True, limit=LIMIT_BYTES
        )

    async def accept(self) -> Wire:
        """The next connection that the proxy makes."""
        assert self._accepted is not None
        return await soon(self._accepted.get())

    def saw_nothing(self) -> bool:
        return self._accepted is not None and self._accepted.empty()

    def serve(self, handler: Handler = answer_ok) -> list[Message]:
        """Answer every request on every connection; the list of what came, as it grows."""
        seen: list[Message] = []

        async def serve_one(wire: Wire) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
                while True:
                    request = await wire.read_request()
                    seen.append(request)
                    await handler(wire, request)

        async def serve_all() -> None:
            assert self._accepted is not None
            while True:
                self._tasks.append(asyncio.create_task(serve_one(await self._accepted.get())))

        self._tasks.append(asyncio.create_task(serve_all()))
        return seen

    def refuse(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    def close(self) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        for wire in self._wires:
            wire.writer.transport.abort()
        self._sock.close()


class Lanes:
    """A proxy with lanes, each used once."""

    def __init__(self, prefix: str, count: int, idle: str = "4s") -> None:
        self._lanes = [Lane(f"{prefix}-{number}") for number in range(count)]
        self._next = iter(self._lanes)
        self.text = "---".join(lane.rules(idle) for lane in self._lanes)
        self.proxy: Proxy

    async def take(self) -> Lane:
        lane = next(self._next)
        lane.proxy = self.proxy
        await lane.listen()
        return lane

    def close(self) -> None:
        for lane in self._next:
            lane.close()
