"""Requests at a fixed rate, whatever the answers do, and how long each took from when it was due."""

import asyncio
from typing import Self


class SteadyLoad:
    """`rate` requests a second to a host at `port`, over as many connections as are needed; all have the same answer,
    which ends with `ending`. `late_s` are the latencies, `wrong` counts what ended otherwise."""

    def __init__(self, port: int, host: str, rate: float, ending: bytes) -> None:
        self.late_s: list[float] = []
        self.wrong = 0
        self.request = b"POST /infer HTTP/1.1\r\nHost: %b\r\ncontent-length: 100\r\n\r\n" % host.encode() + bytes(100)
        self.ending = ending
        self._port = port
        self._interval_s = 1 / rate
        self._idle: list[_Client] = []
        self._clients: set[_Client] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for client in list(self._clients):
            client.transport.abort()

    async def run(self, count: int) -> list[float]:
        """So many requests; their latencies in seconds, the shortest first."""
        loop = asyncio.get_running_loop()
        self.late_s = []
        start = loop.time()
        for number in range(count):
            due = start + number * self._interval_s
            while (left := due - loop.time()) > 0:
                await asyncio.sleep(left)
            if not self._idle:
                _, client = await loop.create_connection(lambda: _Client(self), "127.0.0.1", self._port)
            else:
                client = self._idle.pop()
            client.ask(due)
        async with asyncio.timeout(20):
            while len(self.late_s) + self.wrong < count:
                await asyncio.sleep(self._interval_s)
        return sorted(self.late_s)


class _Client(asyncio.Protocol):
    def __init__(self, load: SteadyLoad) -> None:
        self._load = load
        self._due = 0.0
        self._answer = b""
        self._waits = False
        load._clients.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def ask(self, due: float) -> None:
        self._due, self._answer, self._waits = due, b"", True
        self.transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._answer.endswith(self._load.ending):
            self._waits = False
            self._load.late_s.append(asyncio.get_running_loop().time() - self._due)
            self._load._idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.wrong += self._waits
        self._load._clients.discard(self)
