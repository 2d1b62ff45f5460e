"""What few clients and endpoints do over HTTP/2, and any may: nobody else may suffer from it, and it must end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import unquote

import hpack
import pytest
from actors.echo import Echo
from actors.http2_server import Connection, Http2Server, Request
from actors.http2_wire import (
    DATA,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    RST_STREAM,
    Http2Wire,
    connect_http2,
    data,
    frame,
    window,
)
from actors.proxy import Proxy, until
from actors.wire import Fields

from turnout.proxy.http1.response import MAX_INTERIM
from turnout.proxy.http2.session import CONNECTION_WINDOW_BYTES
from turnout.proxy.net.http2_downstream import LINGER_S

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
POLICY = """
---
apiVersion: turnout.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: again}}
spec: {{idempotent: true, grpcRetry: {{codes: [UNAVAILABLE], attempts: 1}}}}
"""
USE = "{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: again}}"
Start = Callable[..., Proxy]


def get(path: str = "/", method: str = "GET", *more: tuple[str, str]) -> Fields:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.test"), *more]


WEBSOCKET: Fields = [(":method", "CONNECT"), (":protocol", "websocket"), *get("/chat")[1:]]


@pytest.fixture
async def upstream() -> AsyncIterator[Http2Server]:
    async with Http2Server() as server:
        yield server


@pytest.fixture
def proxy(start_proxy: Start, upstream: Http2Server) -> Proxy:
    return start_proxy(RULES.format(protocol="h2c", port=upstream.port), "--idle-timeout", "1s")


async def test_trailers_of_a_tunnel_are_nobody_elses(proxy: Proxy, upstream: Http2Server) -> None:
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, WEBSOCKET, end=False))
    await client.read_until(HEADERS)
    (connection,) = upstream.connections
    connection.end(1, [(b"x-secret", b"1")])
    await client.read_message(1)
    other = await connect_http2(proxy.port)
    await other.send(other.head(1, get("/", "GET", ("host", "b.test"))))
    answer = await other.read_message(1)
    assert (answer.status, answer.trailers) == (400, [])


@pytest.mark.parametrize("protocol", ["h2c", "http1"])
async def test_a_tunnel_whose_client_ends_it_before_it_begins_is_reset(start_proxy: Start, protocol: str) -> None:
    async with Http2Server() as upstream, Echo() as echo:
        port = upstream.port if protocol == "h2c" else echo.port
        proxy = start_proxy(RULES.format(protocol=protocol, port=port))
        client = await connect_http2(proxy.port)
        await client.send(client.head(1, WEBSOCKET))
        found = await client.read_until(RST_STREAM)
        assert found is not None
        assert found.code == 8


async def test_a_tunnel_that_was_given_up_is_not_opened(proxy: Proxy, upstream: Http2Server) -> None:
    """The endpoint's SETTINGS are there with the first answer; the tunnel waits for the loop's next turn alone."""
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get()))
    await client.read_message(1)
    await client.send(client.head(3, WEBSOCKET, end=False), b"\0\0\4\3\0\0\0\0\3\0\0\0\x08")
    await client.send(client.head(5, get()))
    await client.read_message(5)
    await client.send(client.head(7, get()))
    await client.read_message(7)
    assert not upstream.open_streams


async def test_a_client_that_never_reads_an_answer_is_not_waited_for_for_ever(proxy: Proxy) -> None:
    client = await connect_http2(proxy.port, (INITIAL_WINDOW_SIZE, 0))
    await client.send(client.head(1, get("/size/1000")))
    found = await client.read_until(RST_STREAM, GOAWAY)
    assert found is not None
    assert (found.kind, found.code) == (RST_STREAM, 8)


async def test_a_refused_websocket_whose_client_goes_on_is_reset(proxy: Proxy, upstream: Http2Server) -> None:
    upstream.on_request = lambda connection, stream, request: connection.answer(stream, [(b":status", b"403")], b"no")
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, WEBSOCKET, end=False))
    assert (await client.read_message(1)).status == 403
    found = await client.read_until(RST_STREAM)
    assert found is not None
    assert found.code == 0


PIECE = bytes(16_384)
BEYOND_THE_WINDOW = CONNECTION_WINDOW_BYTES // len(PIECE) + 200


async def test_bodies_behind_malformed_heads_leave_the_windows_as_they_were(proxy: Proxy) -> None:
    client = await connect_http2(proxy.port)
    for number in range(1, 2 * BEYOND_THE_WINDOW, 2):
        malformed = client.head(number, get("/", "POST", ("host", "b.test")), end=False)
        await client.send(malformed + data(number, PIECE, end=True))
        assert (await client.read_message(number)).status == 400
    await client.send(client.head(number + 2, get("/echo", "POST"), end=False), data(number + 2, PIECE, end=True))
    assert len((await client.read_message(number + 2)).body) == len(PIECE)


async def test_bodies_behind_malformed_answers_leave_the_windows_as_they_were(
    proxy: Proxy, upstream: Http2Server
) -> None:
    upstream.on_request = lambda connection, stream, request: connection.answer(stream, [(b":status", b"999")], PIECE)
    client = await connect_http2(proxy.port)
    for number in range(1, 2 * BEYOND_THE_WINDOW, 2):
        await client.send(client.head(number, get()))
        assert (await client.read_message(number)).status == 502
    upstream.on_request = None
    await client.send(client.head(number + 2, get("/size/16384")))
    assert len((await client.read_message(number + 2)).body) == len(PIECE)


async def test_interim_answers_without_end_are_malformed(proxy: Proxy, upstream: Http2Server) -> None:
    def answer(connection: Connection, stream: int, request: Request) -> None:
        for number in range(1_000):
            connection.begin(stream, [(b":status", b"103"), (b"link", b"</%d>" % number)])

    upstream.on_request = answer
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get()))
    message = await client.read_message(1)
    assert (message.status, len(message.interim)) == (502, MAX_INTERIM)


async def test_an_upload_that_is_answered_before_it_is_taken_is_ended(proxy: Proxy, upstream: Http2Server) -> None:
    upstream.window = 0
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get()))  # with it comes the endpoint's window
    await client.read_message(1)
    await client.send(client.head(3, get("/", "POST"), end=False), data(3, PIECE, end=True))
    assert (await client.read_message(3)).status == 200
    await until(lambda: upstream.requests[1].reset == 8)


async def test_who_waits_for_an_endpoint_with_one_stream_a_connection_gets_another_connection(
    start_proxy: Start,
) -> None:
    async with Http2Server(max_streams=1) as upstream:
        proxy = start_proxy(RULES.format(protocol="h2c", port=upstream.port))
        client = await connect_http2(proxy.port)
        await client.send(client.head(1, get()))
        await client.read_message(1)
        await client.send(*[client.head(number, get("/wait")) for number in (3, 5, 7)])
        await until(lambda: upstream.open_streams == 3, 3)


async def test_the_head_of_a_grpc_answer_does_not_wait_while_the_client_may_wait_for_it(start_proxy: Start) -> None:
    async with Http2Server() as upstream:
        retrying = RULES.replace("{{name: all, backend", "{{name: all, filters: [{use}], backend") + POLICY
        proxy = start_proxy(retrying.format(protocol="h2c", port=upstream.port, use=USE))
        client = await connect_http2(proxy.port)
        await client.send(client.head(1, get("/echo", "POST", ("content-type", "application/grpc")), end=False))
        assert await client.read_until(HEADERS)
        await client.send(data(1, b"message"))
        found = await client.read_until(DATA)
        assert found is not None
        assert found.payload == b"message"


@pytest.mark.parametrize(
    ("more", "status", "name", "said"),
    [
        ([("host", "b.test")], "13", "INTERNAL", "host differs from :authority (DPE, request "),
        ([("x-large", "x" * 2_000)] * 40, "8", "RESOURCE_EXHAUSTED", "the request's head is too large (DPE, request "),
    ],
)
@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
async def test_a_call_that_is_refused_at_its_head_has_a_status_of_grpc(
    proxy: Proxy, more: Fields, status: str, name: str, said: str, content_type: str
) -> None:
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get("/a.B/C", "POST", ("content-type", content_type), *more), end=False))
    answer = await client.read_message(1)
    assert (answer.status, answer.get("grpc-status"), answer.body) == (200, status, b"")
    assert said in unquote(answer.get("grpc-message") or "")
    assert (await proxy.access(1))[0]["grpc_status"] == name


async def test_what_is_no_call_is_refused_as_before(proxy: Proxy) -> None:
    client = await connect_http2(proxy.port)
    for number, content_type in ((1, "application/grpc-web"), (3, "text/plain")):
        more = ("content-type", content_type), ("host", "b.test")
        await client.send(client.head(number, get("/", "POST", *more)))
        assert (await client.read_message(number)).status == 400


async def test_a_field_of_an_interim_answer_that_no_table_may_learn_is_not_learned(
    proxy: Proxy, upstream: Http2Server
) -> None:
    def answer(connection: Connection, stream: int, request: Request) -> None:
        never = hpack.NeverIndexedHeaderTuple(b"link", b"</secret>")
        connection.begin(stream, [(b":status", b"103"), never])
        connection.answer(stream, [(b":status", b"200")])

    upstream.on_request = answer
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get()))
    found = await client.read_until(HEADERS)
    assert found is not None
    assert ("link", "</secret>") in client.fields
    assert [field[0] for field in hpack.Decoder().decode(found.payload) if not field.indexable] == ["link"]


async def test_what_no_table_may_learn_is_learned_nowhere_also_where_all_else_is_known(
    proxy: Proxy, upstream: Http2Server
) -> None:
    """Messages that come again, word for word, but for what of them is never indexed: in heads and in trailers."""

    def mark(name: str, secrets: str) -> hpack.HeaderTuple:
        kind = hpack.NeverIndexedHeaderTuple if name in secrets.split() else hpack.HeaderTuple
        return kind(name.encode(), b"secret")

    def answer(connection: Connection, stream: int, request: Request) -> None:
        connection.use_no_table()
        names = request.get(b"x-want") or b""
        trailers = [mark(name, names.decode()) for name in ("x-sum", "x-cost")]
        head = [(b":status", b"200"), *[mark(name, names.decode()) for name in ("set-cookie", "x-key")]]
        connection.answer(stream, head, b"here", trailers)

    upstream.on_request = answer
    client = await connect_http2(proxy.port)
    client.use_no_table()
    secrets = ["", "x-a x-sum", "x-a x-b", "x-b x-cost", "x-request-id x-sum x-cost", "x-a x-b x-sum x-cost"]
    wanted = ["", "x-key", "set-cookie", "set-cookie x-key x-sum", "x-cost", "x-sum x-cost"]
    for at in range(40):
        came, want = secrets[at // 2 % 6], wanted[at // 3 % 6]
        stream = 2 * at + 1
        fields = [mark(name, came) for name in ("x-a", "x-b", "x-request-id")]
        trailers = [mark(name, came) for name in ("x-sum", "x-cost")]
        client.secrets.clear()
        await client.send(
            client.head(stream, [*get("/", "POST"), ("x-want", want), *fields], end=False),
            data(stream, b"x"),
            client.head(stream, trailers),
        )
        message = await client.read_message(stream)
        assert (message.status, message.body) == (200, b"here")
        assert sorted(client.secrets) == sorted(want.split())
        request = upstream.requests[-1]
        await until(lambda request=request: request.ended)
        assert sorted(request.secrets) == sorted(came.encode().split())


async def test_a_host_that_no_table_may_learn_is_learned_nowhere_as_an_authority(
    proxy: Proxy, upstream: Http2Server
) -> None:
    client = await connect_http2(proxy.port)
    client.use_no_table()
    host = hpack.NeverIndexedHeaderTuple(b"host", b"a.test")
    await client.send(client.head(1, [*get()[:3], host]))
    assert (await client.read_message(1)).status == 200
    (request,) = upstream.requests
    assert (request.get(b":authority"), request.get(b"host"), request.secrets) == (b"a.test", None, [b":authority"])


async def test_a_connection_that_the_endpoint_said_goaway_on_ends_with_its_last_stream(
    proxy: Proxy, upstream: Http2Server
) -> None:
    """Also if the endpoint never closes it."""

    def answer(connection: Connection, stream: int, request: Request) -> None:
        connection.say_goaway()
        connection.answer(stream, [(b":status", b"200")], b"the last")

    upstream.on_request = answer
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, get()))
    assert (await client.read_message(1)).body == b"the last"
    await until(lambda: upstream.connections[0].lost)


async def ask_and_look_away(port: int, size: int, *more: bytes) -> Http2Wire:
    """A client that takes all that it gets, but does not read it yet."""
    client = await connect_http2(port, (INITIAL_WINDOW_SIZE, 1 << 30))
    client.wire.writer.transport.pause_reading()
    await client.send(window(0, 1 << 30), client.head(1, get(f"/size/{size}")), *more)
    return client


async def test_the_end_of_a_connection_leaves_a_slow_client_the_time_to_read(start_proxy: Start) -> None:
    """Of whatever size the answer is: of some the last bytes are not with the kernel yet."""
    async with Http2Server() as upstream:
        proxy = start_proxy(RULES.format(protocol="h2c", port=upstream.port))
        sizes = range(1_000_000, 5_000_000, 100_000)
        clients = [await ask_and_look_away(proxy.port, size, frame(GOAWAY, payload=bytes(8))) for size in sizes]
        await asyncio.sleep(3 * LINGER_S)
        for client, size in zip(clients, sizes, strict=True):
            client.wire.writer.transport.resume_reading()
            assert len((await client.read_message(1, update=False)).body) == size


async def test_who_floods_and_does_not_read_leaves_no_trace(start_proxy: Start) -> None:
    async with Http2Server() as upstream:
        proxy = start_proxy(RULES.format(protocol="h2c", port=upstream.port))
        client = await ask_and_look_away(proxy.port, 64 << 20)
        await until(lambda: upstream.requests and upstream.connections[0].is_stalled(1))
        await client.send(*[frame(PING, payload=bytes(8))] * 1_100)

        async def is_ended() -> bool:
            return "turnout_http2_floods_total 1" in (await proxy.admin("/metrics"))[1]

        await until(is_ended)
        client.wire.writer.transport.resume_reading()
        assert len(await client.wire.read_rest()) < 64 << 20
        assert "Traceback" not in proxy.events()
