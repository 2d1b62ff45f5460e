"""Drain, reload and hot restart with HTTP/2 clients, memory with slow ones, and WebSocket to HTTP/1 upstreams."""

import asyncio
import signal
from collections.abc import Callable

import pytest
from actors.echo import Echo
from actors.http2_load import Http2Load
from actors.http2_server import Http2Server
from actors.http2_wire import DATA, GOAWAY, HEADERS, PING, RST_STREAM, Http2Wire, connect_http2, data, frame, window
from actors.lane import Lane
from actors.proxy import Proxy, resident_kib, until
from actors.vitals import at_rest, busy
from actors.wire import Fields

Start = Callable[..., Proxy]
RULES = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: model}}
spec: {{protocol: {protocol}, endpoints: [{{address: 127.0.0.1, port: {port}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all}}
spec: {{rules: [{{name: all, backendRefs: [{{name: model}}]}}]}}
"""
UPSTREAMS = {"http1": Echo, "h2c": Http2Server}
ANNOUNCED = 0x7FFF_FFFF


def get(path: str = "/", host: str = "a.test", *more: tuple[str, str]) -> Fields:
    return [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", host), *more]


async def read_goaway(http2: Http2Wire) -> int:
    """The last stream of the next GOAWAY, which is one without an error."""
    found = await http2.read_until(GOAWAY)
    assert found is not None
    assert found.code == 0
    return int.from_bytes(found.payload[:4], "big")


# Drain


async def test_sigterm_serves_what_is_open_and_on_its_way_and_says_goaway_twice(start_proxy: Start) -> None:
    async with Http2Server() as upstream:
        held: list[Callable[[], None]] = []
        upstream.on_request = lambda connection, stream, request: held.append(
            lambda: connection.answer(stream, [(b":status", b"200")], b"late")
        )
        proxy = start_proxy(RULES.format(protocol="h2c", port=upstream.port))
        client = await connect_http2(proxy.port)
        await client.send(client.head(1, get()))
        await until(lambda: held)
        proxy.signal(signal.SIGTERM)
        assert await read_goaway(client) == ANNOUNCED
        await client.send(client.head(3, get()))  # sent before the GOAWAY came, for all that the proxy can know
        ping = await client.read_until(PING)
        assert ping is not None
        await client.send(frame(PING, 1, 0, ping.payload))
        assert await read_goaway(client) == 3
        await until(lambda: len(held) == 2)
        for answer in held:
            answer()
        await client.read_ends(2)
        assert await client.read() is None
        assert await proxy.wait() == 0


async def test_sigterm_ends_connections_that_are_idle(start_proxy: Start) -> None:
    async with Echo() as upstream:
        proxy = start_proxy(RULES.format(protocol="http1", port=upstream.port))
        client = await connect_http2(proxy.port)
        await client.send(client.head(1, get()))
        assert (await client.read_message(1)).status == 200
        proxy.signal(signal.SIGTERM)
        await read_goaway(client)
        ping = await client.read_until(PING)
        assert ping is not None
        await client.send(frame(PING, 1, 0, ping.payload))
        assert await client.read_until(RST_STREAM) is None
        client.close()
        assert await proxy.wait() == 0


@pytest.mark.parametrize("protocol", UPSTREAMS)
async def test_a_reload_under_load_fails_no_stream(start_proxy: Start, protocol: str) -> None:
    async with UPSTREAMS[protocol]("old") as old, UPSTREAMS[protocol]("new") as new:
        proxy = start_proxy(RULES.format(protocol=protocol, port=old.port))
        async with Http2Load(proxy.port).running() as load:
            for upstream in (new, old, new):
                before = load.answers[upstream.name]
                await proxy.reload(RULES.format(protocol=protocol, port=upstream.port))
                await until(lambda name=upstream.name, count=before: load.answers[name] > count + 100)
        assert load.failures == {}
        assert set(load.answers) == {"old", "new"}
        assert load.connections == 4


@pytest.mark.parametrize("protocol", UPSTREAMS)
async def test_a_hot_restart_under_load_fails_no_stream(start_proxy: Start, protocol: str) -> None:
    async with UPSTREAMS[protocol]("model") as upstream:
        proxy = start_proxy(RULES.format(protocol=protocol, port=upstream.port))
        async with Http2Load(proxy.port).running() as load:
            await until(lambda: load.total > 200)
            proxy.signal(signal.SIGUSR2)
            assert await proxy.wait() == 0
            served = load.total
            await until(lambda: load.total > served + 200)
        assert load.failures == {}
        assert set(load.answers) == {"model"}
        assert load.connections >= 8


# Memory


async def test_many_slow_readers_cost_no_more_than_their_windows(start_proxy: Start) -> None:
    """Each of 100 streams would get 64 MB."""
    async with Http2Server() as upstream:
        proxy = start_proxy(RULES.format(protocol="h2c", port=upstream.port))
        (worker,) = await proxy.workers()
        before = resident_kib(worker)
        client = await connect_http2(proxy.port)
        await client.send(*[client.head(number, get(f"/size/{64 << 20}")) for number in range(1, 200, 2)])
        await until(lambda: len(upstream.requests) == 100)
        await is_steady(lambda: sum(left.pour for c in upstream.connections for left in c.outgoing.values()))
        assert resident_kib(worker) - before < 100 * 1_024
        client.close()
        await until(lambda: not upstream.open_streams)


async def is_steady(measure: Callable[[], float]) -> None:
    """Wait until it does not change any more."""
    last, since = measure(), 0
    async with asyncio.timeout(20):
        while since < 20:
            await asyncio.sleep(0.02)
            now = measure()
            last, since = now, since + 1 if now == last else 0


async def test_an_upstream_that_reads_nothing_stops_its_client_alone(lane: Lane) -> None:
    client = await connect_http2(lane.proxy.port)
    fields = [(":method", "POST"), *get(host=lane.host)[1:]]
    await client.send(client.head(1, fields, end=False))
    upstream = await lane.accept()
    await upstream.read_head()
    upstream.writer.transport.pause_reading()
    (worker,) = await lane.proxy.workers()
    before, sent = resident_kib(worker), 0
    room = 262_144
    while room:  # as much as the proxy gives room for
        await client.send(*[data(1, bytes(16_384)) for _ in range(room // 16_384)])
        sent += room
        await client.send(frame(PING, 0, 0, b"any more"))
        room = 0
        while (found := await client.read()) is not None and found.kind != PING:
            if found.kind == 8 and found.stream == 1:
                room += int.from_bytes(found.payload, "big") // 16_384 * 16_384
    assert sent < 16 << 20
    assert resident_kib(worker) - before < 16 * 1_024
    await client.send(client.head(3, get(host=lane.host)))
    other = await lane.accept()
    await other.read_request()
    await other.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert (await client.read_message(3)).body == b"ok"


async def test_an_http_1_client_that_reads_nothing_stops_its_upstreams_stream_alone(start_proxy: Start) -> None:
    async with Http2Server() as upstream:
        proxy = start_proxy(RULES.format(protocol="h2c", port=upstream.port))
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1_024)
        writer.write(f"GET /size/{64 << 20} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        await until(lambda: upstream.requests)
        await is_steady(lambda: sum(left.pour for c in upstream.connections for left in c.outgoing.values()))
        client = await connect_http2(proxy.port)
        for number in range(1, 40, 2):
            await client.send(client.head(number, get("/size/10000")))
            assert len((await client.read_message(number)).body) == 10_000
        assert upstream.open_connections == 1
        received = len(await reader.readuntil(b"\r\n\r\n")) * 0
        while received < 64 << 20:
            received += len(await reader.read(1 << 20))
        writer.close()
        await until(lambda: not upstream.open_streams)


# Endings of clients


@pytest.mark.parametrize("protocol", UPSTREAMS)
async def test_a_connection_that_is_killed_in_the_middle_leaves_nothing(start_proxy: Start, protocol: str) -> None:
    async with UPSTREAMS[protocol]() as upstream:
        proxy = start_proxy(RULES.format(protocol=protocol, port=upstream.port).replace(
            "endpoints", "connection: {idleTimeout: 300ms}, endpoints"))  # fmt: skip
        if isinstance(upstream, Echo):
            upstream.hold()
        for kill in (lambda c: c.close(), lambda c: c.wire.reset()):
            client = await connect_http2(proxy.port)
            await client.send(*[client.head(number, get("/wait"), end=number % 4 == 1) for number in range(1, 40, 2)])
            await client.send(client.head(41, get("/wait"))[:10])
            await until(lambda: _asks(proxy, 20))
            kill(client)
            await until(lambda: _asks(proxy, 0))
        if isinstance(upstream, Echo):
            upstream.release()
        await at_rest(proxy)


async def _asks(proxy: Proxy, count: int) -> bool:
    found = await busy(proxy)
    return found.get("metrics turnout_active_requests", 0) == count


# WebSocket from HTTP/2 to HTTP/1 (RFC 8441)


async def test_an_extended_connect_becomes_an_upgrade(lane: Lane) -> None:
    client = await connect_http2(lane.proxy.port)
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), *get("/chat?x=1", lane.host)[1:]]
    await client.send(client.head(1, [*fields, ("sec-websocket-version", "13")], end=False), data(1, b"early"))
    upstream = await lane.accept()
    request = await upstream.read_head()
    assert request.start == "GET /chat?x=1 HTTP/1.1"
    assert (request.get("upgrade"), (request.get("connection") or "").lower()) == ("websocket", "upgrade")
    assert len(request.get("sec-websocket-key") or "") == 24
    await upstream.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello"
    )
    await client.read_until(HEADERS)
    answer = dict(client.fields)
    assert (answer[":status"], answer["sec-websocket-protocol"]) == ("200", "chat")
    assert not {"upgrade", "connection", "sec-websocket-accept"} & set(answer)
    found = await client.read_until(DATA)
    assert found is not None
    assert found.payload == b"hello"
    assert await upstream.read(5) == b"early"
    await client.send(data(1, b"more", end=True), window(0, 1))
    assert await upstream.read_rest() == b"more"
    upstream.close()
    message = await client.read_message(1)
    assert message.ended


async def test_an_extended_connect_that_is_refused_is_answered(lane: Lane) -> None:
    client = await connect_http2(lane.proxy.port)
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), *get("/chat", lane.host)[1:]]
    await client.send(client.head(1, fields, end=False))
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
    answer = await client.read_message(1)
    assert (answer.status, answer.body) == (403, b"no")


@pytest.mark.parametrize("answer", [b"200 OK\r\ncontent-length: 2\r\n\r\nok", b"204 No Content\r\n\r\n"])
async def test_an_endpoint_that_does_not_know_websocket_opens_no_tunnel(lane: Lane, answer: bytes) -> None:
    """It answers as if it had been asked for a page, which to the client would be the success of its CONNECT."""
    client = await connect_http2(lane.proxy.port)
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), *get("/chat", lane.host)[1:]]
    await client.send(client.head(1, fields, end=False))
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(b"HTTP/1.1 " + answer)
    assert (await client.read_message(1)).status == 502
    assert (await lane.proxy.access(1, host=lane.host))[0]["flag"] == "UPE"
