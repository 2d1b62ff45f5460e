"""A connection that is one too many gets one clear answer, and costs little."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from turnout.proxy.net.refusal import LINGER_S, MAX_HELD, Refusals


class Door:
    """A server that refuses everybody."""

    def __init__(self, loop: asyncio.AbstractEventLoop, linger_s: float, max_held: int) -> None:
        self.count = 0
        self.refusals = Refusals(loop, self._on_refused, linger_s=linger_s, max_held=max_held)
        self.server: asyncio.Server

    def _on_refused(self) -> None:
        self.count += 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.server.sockets[0].getsockname()[:2])


@asynccontextmanager
async def open_door(*, linger_s: float = LINGER_S, max_held: int = MAX_HELD) -> AsyncIterator[Door]:
    loop = asyncio.get_running_loop()
    door = Door(loop, linger_s, max_held)
    door.server = await loop.create_server(door.refusals.refuse, "127.0.0.1", 0)
    yield door
    door.server.close()
    door.refusals.close()


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    """All that comes; whether the end is a close or a reset is the kernel's choice."""
    data = b""
    with suppress(ConnectionResetError):
        while more := await reader.read(65_536):
            data += more
    return data


async def test_a_request_is_answered_503_and_the_connection_closed() -> None:
    async with open_door() as door:
        reader, writer = await door.connect()
        writer.write(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert lines[0] == b"http/1.1 503 service unavailable"
        assert {b"x-envoy-overloaded: true", b"connection: close", b"content-length: %d" % len(body)} <= set(lines)
        assert json.loads(body)["error"]["flag"] == "OM"
        writer.close()
        assert door.count == 1


async def test_a_body_that_is_still_coming_does_not_destroy_the_answer() -> None:
    async with open_door() as door:
        reader, writer = await door.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes(1_000_000))
        await writer.drain()
        assert b"OM" in await reader.read()
        writer.close()


async def test_nobody_is_answered_who_says_nothing() -> None:
    async with open_door(linger_s=0.01) as door:
        reader, writer = await door.connect()
        assert await read_to_the_end(reader) == b""
        assert not door.refusals.held
        writer.close()


async def test_beyond_what_is_held_connections_are_cut_at_once() -> None:
    async with open_door(max_held=1) as door:
        _, first = await door.connect()
        reader, second = await door.connect()
        assert await read_to_the_end(reader) == b""
        assert len(door.refusals.held) == 1
        assert door.count == 2
        first.close()
        second.close()
