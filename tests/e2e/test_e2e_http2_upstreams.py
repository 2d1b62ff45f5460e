"""Upstreams that speak HTTP/2: any client to them, several requests on a connection, and all the ways they end."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from actors.http2_server import Connection, Http2Server, Request
from actors.http2_wire import Http2Wire, connect_http2, data
from actors.load import Load
from actors.proxy import Proxy, until
from actors.vitals import at_rest, busy
from actors.wire import Fields, Message, Wire, connect

RULES = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: model}}
spec: {{protocol: h2c, loadBalancing: {{policy: Random}}, endpoints: [{endpoints}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all}}
spec: {{rules: [{{name: all, backendRefs: [{{name: model}}]}}]}}
"""
Start = Callable[..., Proxy]


def rules(*upstreams: Http2Server) -> str:
    return RULES.format(endpoints=", ".join(f"{{address: 127.0.0.1, port: {up.port}}}" for up in upstreams))


@pytest.fixture
async def upstream() -> AsyncIterator[Http2Server]:
    async with Http2Server() as server:
        yield server


@pytest.fixture
def proxy(start_proxy: Start, upstream: Http2Server) -> Proxy:
    return start_proxy(rules(upstream))


def get(path: str = "/", method: str = "GET", *more: tuple[str, str]) -> Fields:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.test"), *more]


async def ask(wire: Wire, path: str = "/", method: str = "GET", fields: str = "", body: bytes = b"") -> Message:
    head = f"{method} {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n".encode()
    await wire.send(head + body)
    return await wire.read_response(method)


# From HTTP/1 to HTTP/2


async def test_a_request_of_http_1_becomes_one_of_http_2(proxy: Proxy, upstream: Http2Server) -> None:
    wire = await connect(proxy.port)
    hop_by_hop = "Connection: x-hop, te\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers, gzip\r\nX-Kept: 1\r\n"
    answer = await ask(wire, "/some?query=1", fields=hop_by_hop)
    assert (answer.status, answer.body) == (200, b"h2")
    (request,) = upstream.requests
    fields = dict(request.fields)
    assert [name for name, _ in request.fields[:4]] == [b":method", b":scheme", b":authority", b":path"]
    assert (fields[b":authority"], fields[b":path"], fields[b":scheme"]) == (b"a.test", b"/some?query=1", b"http")
    assert fields[b"x-kept"] == b"1"
    assert fields.get(b"te", b"trailers") == b"trailers"
    assert not {b"host", b"connection", b"x-hop", b"keep-alive", b"transfer-encoding"} & set(fields)
    assert request.ended


async def test_chunks_and_trailers_pass_both_ways(proxy: Proxy, upstream: Http2Server) -> None:
    wire = await connect(proxy.port)
    body = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n"
    answer = await ask(wire, "/echo", "POST", "Transfer-Encoding: chunked\r\nTE: trailers\r\n", body)
    assert (answer.body, answer.trailers) == (b"abcdefg", [("x-sum", "7")])
    assert upstream.requests[0].trailers == [(b"x-sum", b"7")]


async def test_a_length_stays_a_length(proxy: Proxy, upstream: Http2Server) -> None:
    wire = await connect(proxy.port)
    answer = await ask(wire, "/size/5", "POST", "Content-Length: 3\r\n", b"abc")
    assert (answer.body, answer.get("content-length")) == (b"xxxxx", "5")
    assert upstream.requests[0].get(b"content-length") == b"3"


async def test_answers_without_a_body_have_none(proxy: Proxy, upstream: Http2Server) -> None:
    def answer(connection: Connection, stream: int, request: Request) -> None:
        status = request.get(b":path")[1:]  # type: ignore[index]
        connection.answer(stream, [(b":status", status), (b"content-length", b"5")] if status == b"200" else
                          [(b":status", status)])  # fmt: skip

    upstream.on_request = answer
    wire = await connect(proxy.port)
    for status, method in ((204, "GET"), (304, "GET"), (200, "HEAD")):
        message = await ask(wire, f"/{status}", method)
        assert (message.status, message.body) == (status, b"")


async def test_interim_answers_pass(proxy: Proxy, upstream: Http2Server) -> None:
    def answer(connection: Connection, stream: int, request: Request) -> None:
        connection.begin(stream, [(b":status", b"103"), (b"link", b"</a>")])
        connection.answer(stream, [(b":status", b"200")], b"ok")

    upstream.on_request = answer
    wire = await connect(proxy.port)
    await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert (await wire.read_head()).fields == [("link", "</a>")]
    assert (await wire.read_response()).body == b"ok"


# From HTTP/2 to HTTP/2


async def test_a_message_passes_with_all_its_parts(proxy: Proxy, upstream: Http2Server) -> None:
    http2 = await connect_http2(proxy.port)
    head = http2.head(1, get("/echo", "POST", ("te", "trailers"), ("cookie", "a=b"), ("cookie", "c=d")), end=False)
    await http2.send(head, data(1, b"body"), http2.head(1, [("x-sum", "7"), ("x-bin", "AAE=")]))
    answer = await http2.read_message(1)
    assert (answer.status, answer.body) == (200, b"body")
    assert answer.trailers == [("x-sum", "7"), ("x-bin", "AAE=")]
    (request,) = upstream.requests
    assert (request.get(b"te"), request.get(b"cookie")) == (b"trailers", b"a=b; c=d")


async def test_requests_of_many_clients_share_a_connection(proxy: Proxy, upstream: Http2Server) -> None:
    clients = [await connect_http2(proxy.port) for _ in range(10)]
    for client in clients:
        await client.send(*[client.head(number, get("/wait")) for number in range(1, 20, 2)])
    await until(lambda: len(upstream.requests) == 100)
    assert upstream.open_connections == 1


async def test_under_load_there_are_several_connections(proxy: Proxy, upstream: Http2Server) -> None:
    client = await connect_http2(proxy.port)
    await client.send(*[client.head(number, get("/wait")) for number in range(1, 700, 2)])
    await until(lambda: len(upstream.requests) == 350)
    assert upstream.open_connections == 4


async def test_no_more_streams_are_open_than_the_upstream_allows(start_proxy: Start) -> None:
    async with Http2Server(max_streams=3) as upstream:
        held: list[tuple[Connection, int]] = []
        upstream.on_request = lambda connection, stream, request: held.append((connection, stream))
        # A burst may come to a new connection before its SETTINGS: what is refused then is asked again.
        retrying = rules(upstream).replace("{name: all, backendRefs", "{name: all, retry: {attempts: 9}, backendRefs")
        client = await connect_http2(start_proxy(retrying).port)
        await client.send(*[client.head(number, get()) for number in range(1, 40, 2)])
        answered = 0
        while answered < 20:
            await until(lambda: held)
            assert upstream.open_streams <= 3 * upstream.open_connections
            connection, stream = held.pop()
            connection.answer(stream, [(b":status", b"200")])
            answered += 1
        await client.read_ends(20)


async def test_requests_are_balanced_each_by_itself(start_proxy: Start) -> None:
    """A client that keeps one connection would be pinned to one replica without a proxy."""
    async with Http2Server("a") as a, Http2Server("b") as b, Http2Server("c") as c:
        client = await connect_http2(start_proxy(rules(a, b, c)).port)
        counts: Counter[bytes] = Counter()
        for number in range(1, 600, 2):
            await client.send(client.head(number, get()))
            counts[(await client.read_message(number)).body] += 1
        assert sum(counts.values()) == 300
        assert min(counts.values()) > 50


# Endings


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_stream_that_was_refused_is_asked_again(proxy: Proxy, upstream: Http2Server, method: str) -> None:
    upstream.refuse = 1
    answer = await ask(await connect(proxy.port), "/echo", method, "Content-Length: 3\r\n", b"abc")
    assert (answer.status, answer.body) == (200, b"abc")
    assert (await proxy.access(1))[0]["attempts"] == 2


async def test_a_goaway_under_load_loses_nothing(start_proxy: Start) -> None:
    async with Http2Server("a") as a, Http2Server("b") as b:
        a.goaway_after = b.goaway_after = 50
        retrying = rules(a, b).replace("{name: all, backendRefs", "{name: all, retry: {attempts: 9}, backendRefs")
        load = Load(start_proxy(retrying).port)
        await load.ask(4_000, clients=40)
        assert load.failures == {}
        assert set(load.answers) == {"a", "b"}
        assert len(a.connections) > 10
        assert all(connection.streams <= 50 + 40 for connection in a.connections)


async def test_streams_that_a_goaway_leaves_out_go_elsewhere_whatever_their_method(
    proxy: Proxy, upstream: Http2Server
) -> None:
    seen = 0

    def answer(connection: Connection, stream: int, request: Request) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            connection.say_goaway(last_stream=0)
        else:
            connection.answer(stream, [(b":status", b"200")], b"again")

    upstream.on_request = answer
    answered = await ask(await connect(proxy.port), "/", "POST", "Content-Length: 3\r\n", b"abc")
    assert (answered.status, answered.body) == (200, b"again")
    assert len(upstream.connections) == 2


async def test_an_upstream_that_dies_fails_what_it_had_begun_and_no_more(proxy: Proxy, upstream: Http2Server) -> None:
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get("/trickle")), client.head(3, get("/wait", "POST")))
    await until(lambda: len(upstream.requests) == 2)
    await client.read_until(0)
    upstream.kill()
    endings = {}
    while len(endings) < 2:
        found = await client.read()
        assert found is not None
        if found.kind == 3 or found.ends:
            endings[found.stream] = found.code if found.kind == 3 else None
    assert endings == {1: 2, 3: None}
    await client.send(client.head(5, get()))
    assert (await client.read_message(5)).status == 200
    await at_rest_after(proxy, client)


@pytest.mark.parametrize(("code", "status"), [(2, 503), (8, 503), (1, 503)])
async def test_a_reset_before_the_answer_is_a_503(proxy: Proxy, upstream: Http2Server, code: int, status: int) -> None:
    upstream.on_request = lambda connection, stream, request: connection.reset(stream, code)
    answer = await ask(await connect(proxy.port), "/", "POST", "Content-Length: 0\r\n")
    assert answer.status == status
    assert (await proxy.access(1))[0]["flag"] == "UC"


async def test_a_client_that_leaves_in_the_middle_resets_the_upstreams_stream(
    proxy: Proxy, upstream: Http2Server
) -> None:
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get("/trickle")), client.head(3, get("/echo", "POST"), end=False))
    await until(lambda: len(upstream.requests) == 2)
    client.close()
    await until(lambda: [request.reset for request in upstream.requests] == [8, 8])
    await until(lambda: not upstream.open_streams)
    assert upstream.open_connections == 1
    await at_rest_after(proxy)


async def test_a_client_that_resets_a_stream_ends_it_alone(proxy: Proxy, upstream: Http2Server) -> None:
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get("/trickle")), client.head(3, get("/trickle")))
    await until(lambda: len(upstream.requests) == 2)
    await client.send(b"\0\0\4\3\0\0\0\0\1\0\0\0\x08")
    await until(lambda: sorted(str(request.reset) for request in upstream.requests) == ["8", "None"])


async def at_rest_after(proxy: Proxy, *clients: Http2Wire) -> None:
    """All is given back when the clients have gone, but for the connections that wait for the next request."""
    for client in clients:
        client.close()

    async def is_quiet() -> bool:
        return not [name for name in await busy(proxy) if "connections" not in name or "downstream" in name]

    await until(is_quiet)


async def test_an_idle_connection_is_closed_and_all_gauges_are_zero(start_proxy: Start) -> None:
    async with Http2Server() as upstream:
        text = rules(upstream).replace("{protocol: h2c,", "{protocol: h2c, connection: {idleTimeout: 200ms},")
        proxy = start_proxy(text)
        wire = await connect(proxy.port)
        assert (await ask(wire)).status == 200
        wire.close()
        await until(lambda: not upstream.open_connections)
        await at_rest(proxy)


# WebSocket (RFC 6455, RFC 8441)

UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def test_a_websocket_of_http_1_becomes_an_extended_connect(proxy: Proxy, upstream: Http2Server) -> None:
    wire = await connect(proxy.port)
    await wire.send(f"GET /chat HTTP/1.1\r\nHost: a.test\r\n{UPGRADE}\r\n".encode() + b"early")
    head = await wire.read_head()
    assert (head.status, head.get("sec-websocket-accept")) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    assert await wire.read(5) == b"early"
    await wire.send(b"more" * 10_000)
    assert await wire.read(40_000) == b"more" * 10_000
    (request,) = upstream.requests
    fields = dict(request.fields)
    assert (fields[b":method"], fields[b":protocol"], fields[b":path"]) == (b"CONNECT", b"websocket", b"/chat")
    assert fields[b"sec-websocket-version"] == b"13"
    assert not {b"sec-websocket-key", b"connection", b"upgrade", b"host"} & set(fields)
    wire.close()
    await until(lambda: not upstream.open_streams)
    await at_rest_after(proxy)


async def test_a_websocket_passes_from_http_2_to_http_2(proxy: Proxy, upstream: Http2Server) -> None:
    client = await connect_http2(proxy.port)
    connect_fields = [*get("/chat", "CONNECT")[:1], (":protocol", "websocket"), *get("/chat")[1:]]
    await client.send(client.head(1, [*connect_fields, ("sec-websocket-version", "13")], end=False), data(1, b"early"))
    await client.read_until(1)
    assert dict(client.fields)[":status"] == "200"
    assert "sec-websocket-accept" not in dict(client.fields)
    found = await client.read_until(0)
    assert found is not None
    assert found.payload == b"early"
    await client.send(data(1, b"", end=True))
    assert (await client.read_message(1)).body == b""
    await at_rest_after(proxy, client)


async def open_tunnel(port: int) -> Wire:
    wire = await connect(port)
    await wire.send(f"GET /chat HTTP/1.1\r\nHost: a.test\r\n{UPGRADE}\r\n".encode())
    assert (await wire.read_head()).status == 101
    return wire


async def test_the_last_bytes_of_a_tunnel_arrive_and_its_end_though_the_client_has_closed(start_proxy: Start) -> None:
    """Of an endpoint that takes a little at a time, and answers what nobody reads any more."""
    async with Http2Server() as upstream:
        upstream.window = 1_000
        proxy = start_proxy(rules(upstream))
        wire = await open_tunnel(proxy.port)
        await wire.send(b"x" * 50_000)
        wire.close()
        (request,) = upstream.requests
        await until(lambda: request.ended or request.reset is not None)
        assert (request.body_bytes, request.ended, request.reset) == (50_000, True, None)
        await at_rest_after(proxy)


async def test_a_tunnel_that_the_endpoint_ends_is_ended_there_too(proxy: Proxy, upstream: Http2Server) -> None:
    """Else it would be one of the streams that the endpoint allows, for as long as the connection lasts."""
    upstream.on_request = lambda connection, stream, request: connection.answer(stream, [(b":status", b"200")], b"bye")
    wire = await open_tunnel(proxy.port)
    assert await wire.read(3) == b"bye"
    assert await wire.is_closed()
    (request,) = upstream.requests
    await until(lambda: request.ended or request.reset is not None)
    assert (request.ended, request.reset) == (True, None)
    await at_rest_after(proxy)


async def test_an_upstream_without_extended_connect_takes_no_websocket(start_proxy: Start) -> None:
    async with Http2Server(tunnels=False) as upstream:
        wire = await connect(start_proxy(rules(upstream)).port)
        answer = await ask(wire, "/chat", fields=UPGRADE)
        assert answer.status == 502
        assert upstream.requests == []


async def test_a_websocket_that_the_upstream_does_not_want_is_answered(proxy: Proxy, upstream: Http2Server) -> None:
    upstream.on_request = lambda connection, stream, request: connection.answer(stream, [(b":status", b"403")], b"no")
    answer = await ask(await connect(proxy.port), "/chat", fields=UPGRADE)
    assert (answer.status, answer.body) == (403, b"no")


# Slow ones


async def test_a_stream_that_nobody_reads_stalls_itself_alone(proxy: Proxy, upstream: Http2Server) -> None:
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get(f"/size/{64 << 20}")))
    async with asyncio.timeout(20):
        received = 0
        while received < 65_535:  # the window that the stream has
            found = await client.read_until(0)
            assert found is not None
            received += len(found.payload)
    await client.send(b"\0\0\4\x08\0\0\0\0\0" + (1 << 20).to_bytes(4, "big"))  # the connection's alone
    for number in range(3, 43, 2):
        await client.send(client.head(number, get("/size/10000")))
        message = await client.read_message(number)
        assert len(message.body) == 10_000
    await client.send(b"\0\0\4\x08\0\0\0\0\1" + (100).to_bytes(4, "big"))
    found = await client.read_until(0)
    assert found is not None
    assert (found.stream, len(found.payload)) == (1, 100)
