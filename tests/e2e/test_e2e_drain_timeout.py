"""What is under way when the drain timeout comes: what was said by then can be read, and what is torn is seen to be."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from actors.http2_wire import DATA, GOAWAY, INITIAL_WINDOW_SIZE, connect_http2, settings, window
from actors.proxy import Proxy, until
from actors.wire import Message, Wire, connect
from free_ports import free_port

RULES = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: model}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {port}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all}}
spec: {{rules: [{{backendRefs: [{{name: model}}]}}]}}
"""
Start = Callable[..., Proxy]
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BEGUN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n"


@asynccontextmanager
async def beginner() -> Any:
    """The port of a server that answers with the beginning of something, and reads no bodies."""

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(BEGUN)

    port = free_port()
    async with await asyncio.start_server(begin, "127.0.0.1", port):
        yield port


async def drain(proxy: Proxy) -> None:
    proxy.signal(signal.SIGTERM)
    assert await proxy.wait() == 0


def start(start_proxy: Start, port: int) -> Proxy:
    return start_proxy(RULES.format(port=port), "--drain-timeout", "200ms")


async def read_begun(wire: Wire) -> Message:
    head = await wire.read_head()
    assert head.status == 200
    return head


async def test_a_client_of_which_bytes_are_unread_reads_what_was_said_and_an_end(start_proxy: Start) -> None:
    """The end would be a reset, which may destroy what the client has not read yet."""
    async with beginner() as port:
        proxy = start(start_proxy, port)
        wire = await connect(proxy.port)
        await wire.send(REQUEST + REQUEST * 20_000)  # more than is kept for its turn, or read at a time
        await read_begun(wire)
        assert await wire.read_chunk() == b"part"
        await drain(proxy)
        assert await wire.read_rest() == b""


async def test_an_answer_that_the_end_of_the_connection_would_end_ends_in_a_reset(start_proxy: Start) -> None:
    async with beginner() as port:
        proxy = start(start_proxy, port)
        wire = await connect(proxy.port)
        await wire.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        await read_begun(wire)
        assert await wire.read(4) == b"part"
        await drain(proxy)
        with pytest.raises(ConnectionResetError):
            await wire.read_rest()


async def test_a_client_of_http_2_is_told_what_was_served(start_proxy: Start) -> None:
    async with beginner() as port:
        proxy = start(start_proxy, port)
        client = await connect_http2(proxy.port)
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
        await client.send(client.head(1, fields))
        found = await client.read_until(DATA)
        assert found is not None
        assert (found.payload, found.ends) == (b"part", False)
        await drain(proxy)
        told = [await client.read_until(GOAWAY) for _ in range(2)]
        assert [(t.code, int.from_bytes(t.payload[:4], "big")) for t in told if t] == [(0, 0x7FFF_FFFF), (0, 1)]
        assert await client.read_until(GOAWAY) is None


async def test_a_client_of_http_2_that_reads_nothing_does_not_keep_the_worker_until_it_is_killed(
    start_proxy: Start,
) -> None:
    begun = []

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(bytes(65_536))
                await writer.drain()

    port = free_port()
    async with await asyncio.start_server(pour, "127.0.0.1", port):
        proxy = start(start_proxy, port)
        client = await connect_http2(proxy.port)
        await client.send(settings((INITIAL_WINDOW_SIZE, 0x7FFF_FFFF)), window(0, 0x7FFF_0000 - 65_535))
        client.wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
        for stream in range(1, 120, 2):
            await client.send(client.head(stream, fields))
        await until(lambda: len(begun) == 60)
        await drain(proxy)
        assert "did not end in time" not in proxy.events()
        assert len(proxy.access_lines()) == 60
