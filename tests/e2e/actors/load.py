"""Load: clients that keep asking, and count every answer and every failure."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from actors.wire import Wire, connect

REQUEST = b"GET / HTTP/1.1\r\nHost: load.test\r\n\r\n"


class Load:
    """`answers` counts bodies, and `status N` for what is not 200; `failures` counts what was no answer. `more` is for
    connections, like their TLS."""

    def __init__(self, port: int, *, fresh: bool = False, host: str = "127.0.0.1", **more: Any) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._port = port
        self._host = host
        self._more = more
        self._fresh = fresh
        self._stopping = False

    @property
    def total(self) -> int:
        return self.answers.total()

    async def ask(self, count: int, clients: int = 8) -> None:
        """That many requests, shared by the clients."""
        left = iter(range(count))
        await asyncio.gather(*(self._client(lambda: next(left, None) is not None) for _ in range(clients)))

    @asynccontextmanager
    async def running(self, clients: int = 8) -> AsyncIterator["Load"]:
        """Ask for as long as the block lasts."""
        tasks = [asyncio.create_task(self._client(lambda: not self._stopping)) for _ in range(clients)]
        try:
            yield self
        finally:
            self._stopping = True
            await asyncio.gather(*tasks)

    async def _client(self, more: Callable[[], bool]) -> None:
        wire: Wire | None = None
        while more():
            try:
                wire = wire or await connect(self._port, self._host, **self._more)
                wire.writer.write(REQUEST)
                answer = await wire.read_response()
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.failures[type(error).__name__] += 1
                wire = None
                continue
            self.answers[answer.body.decode() if answer.status == 200 else f"status {answer.status}"] += 1
            if self._fresh or answer.get("connection") == "close":
                wire.close()
                wire = None
        if wire is not None:
            wire.close()
