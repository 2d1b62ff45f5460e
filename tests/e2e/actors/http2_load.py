"""Load over HTTP/2: connections with some streams each, which go elsewhere when they are told GOAWAY."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actors.http2_wire import DATA, GOAWAY, HEADERS, RST_STREAM, Http2Wire, connect_http2, window

REFUSED_STREAM = 7
FIELDS = [(":method", "POST"), (":scheme", "http"), (":path", "/load"), (":authority", "load.test")]


class Http2Load:
    """`answers` counts bodies, and `status N` for what is not 200; `failures` what was no answer and may not be asked
    again (RFC 9113 §8.7); `again` what may."""

    def __init__(self, port: int, streams: int = 10, **more: Any) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.again = 0
        self.connections = 0
        self._port = port
        self._streams = streams
        self._more = more
        self._stopping = False

    @property
    def total(self) -> int:
        return self.answers.total()

    @asynccontextmanager
    async def running(self, clients: int = 4) -> AsyncIterator["Http2Load"]:
        """Ask for as long as the block lasts."""
        tasks = [asyncio.create_task(self._client()) for _ in range(clients)]
        try:
            yield self
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def _client(self) -> None:
        while not self._stopping:
            http2 = await connect_http2(self._port, **self._more)
            self.connections += 1
            await _Conversation(self, http2).run(self._streams)
            http2.close()


class _Conversation:
    """One connection, to its end."""

    def __init__(self, load: Http2Load, http2: Http2Wire) -> None:
        self._load = load
        self._http2 = http2
        self._open: dict[int, tuple[str, bytes]] = {}
        self._next = 1
        self._may_open = True

    async def run(self, streams: int) -> None:
        await self._ask(streams)
        while self._open:
            try:
                found = await self._http2.read()
            except TimeoutError as late:
                state = f"streams {sorted(self._open)} open, next {self._next}, may open: {self._may_open}"
                raise AssertionError(f"nothing comes: {state}") from late
            if found is None:
                self._load.failures["the connection ended"] += len(self._open)
                return
            match found.kind:
                case kind if kind == HEADERS:
                    self._open[found.stream] = dict(self._http2.fields)[":status"], b""
                case kind if kind == DATA:
                    status, body = self._open[found.stream]
                    self._open[found.stream] = status, body + found.payload
                case kind if kind == GOAWAY:
                    self._on_goaway(int.from_bytes(found.payload[:4], "big"), found.code)
                case kind if kind == RST_STREAM:
                    self._on_reset(found.stream, found.code)
            if found.ends:
                status, body = self._open.pop(found.stream)
                self._load.answers[body.decode() if status == "200" else f"status {status}"] += 1
                await self._ask(1)

    async def _ask(self, count: int) -> None:
        if not self._may_open or self._load._stopping:
            return
        frames = []
        for _ in range(count):
            frames.append(self._http2.head(self._next, FIELDS))
            self._open[self._next] = "", b""
            self._next += 2
        if self._next % 200 == 1:
            frames.append(window(0, 10_000))
        await self._http2.send(*frames)

    def _on_goaway(self, last_stream: int, code: int) -> None:
        self._may_open = False
        for stream in [stream for stream in self._open if stream > last_stream]:
            del self._open[stream]
            self._load.again += 1
        if code:
            self._load.failures[f"GOAWAY {code}"] += 1

    def _on_reset(self, stream: int, code: int) -> None:
        if self._open.pop(stream, None) is None:
            return
        if code == REFUSED_STREAM:
            self._load.again += 1
        else:
            self._load.failures[f"reset {code}"] += 1
