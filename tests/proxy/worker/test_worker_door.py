"""Connections beyond the limit get 503, also when all come at once; and a place that is free again is taken."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import cast

import uvloop

from turnout.proxy.net.refusal import Refusals
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import Word
from turnout.proxy.worker.door import Door
from turnout.proxy.worker.overload import OverloadManager


class Serving(asyncio.Protocol):
    """A connection that is counted as the data plane's are, and answers with its own letter."""

    def __init__(self, counters: Counters, lost: Callable[[], None]) -> None:
        self.counters = counters
        self.lost = lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.counters.add(Word.CONNECTIONS_ACTIVE)

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"S")

    def connection_lost(self, error: Exception | None) -> None:
        self.counters.add(Word.CONNECTIONS_ACTIVE, -1)
        self.lost()


async def ask(client: socket.socket) -> bytes:
    """S from one that serves, H from one that refuses."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    return (await loop.sock_recv(client, 4096))[:1]


async def script() -> None:
    loop = asyncio.get_running_loop()
    counters = Counters(memoryview(bytearray(512)).cast("Q"))
    refused: list[bool] = []
    refusals = Refusals(loop, lambda: refused.append(True))
    door = Door(OverloadManager(0, 5, 100), counters, refusals)
    lost = asyncio.Event()
    server = await loop.create_server(
        partial(door.admit, partial(Serving, counters, lost.set)), "127.0.0.1", 0, backlog=100
    )
    address = server.sockets[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(20)]  # the loop accepts none before all are there
    for client in clients:
        client.setblocking(False)
    answers = [await ask(client) for client in clients]
    assert sorted(answers) == [b"H"] * 15 + [b"S"] * 5
    assert len(refused) == 15
    assert counters.words[Word.CONNECTIONS_ACTIVE] == 5
    clients[answers.index(b"S")].close()
    await lost.wait()
    with socket.create_connection(address) as late:
        late.setblocking(False)
        assert await ask(late) == b"S"
    server.close()
    refusals.close()
    for client in clients:
        client.close()


def test_no_more_are_served_than_the_limit_says_though_all_come_at_once() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(script(), 10))
