"""Calls of gRPC through real Envoy and `turnout proxy`, both with state-of-the-world and with delta ADS, on one control
plane: GRPCRoutes and h2c Predictors mean the same to all of them."""

import asyncio
import re
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha1
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import pytest_asyncio
from actors.echo import Echo
from actors.envoy import Envoy, require_envoy
from actors.grpc_named import GrpcModel, call_once, open_channel
from actors.interop import Request, Stage
from actors.interop_documents import DATA_PLANES, DataPlane
from actors.proxy import until
from actors.raw_http2 import call_fields, open_stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENTS = (Path(__file__).parent / "interop" / "grpc.yaml").read_text()
CANARY = ("x-canary", "true")
CALLS: list[tuple[str, tuple[tuple[str, str], ...], str]] = [
    ("/iris.Iris/Infer", (), "iris-v1"),
    ("/iris.Iris/Infer", (CANARY,), "iris-v2"),
    ("/iris.Iris/Infer", (("x-canary", "false"),), "iris-v1"),
    ("/iris.Iris/Other", (CANARY,), "UNIMPLEMENTED"),
    ("/iris.IrisToo/Infer", (), "UNIMPLEMENTED"),
    ("/oak.Oak/Any", (), "iris-v2"),
    ("/any.Service/Ready", (), "iris-v2"),
    ("/any.Service/ReadyToo", (), "UNIMPLEMENTED"),
    ("/wine.v7/GetOne", (), "iris-v1"),
    ("/wine.v/GetOne", (), "UNIMPLEMENTED"),
    ("/wine.v7/SetOne", (), "UNIMPLEMENTED"),
    ("/lost.Missing/Infer", (), "UNAVAILABLE"),
    ("/lost.Closed/Infer", (), "UNAVAILABLE"),
    ("/lost.Empty/Infer", (), "UNAVAILABLE"),
    ("/lost.None/Infer", (), "UNAVAILABLE"),
]
"""Method, metadata, and who answers, or with which status."""
SAMPLE = 400
EVERY_PLANE = pytest.mark.parametrize("plane", DATA_PLANES, ids=lambda plane: plane.name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    require_envoy()
    async with GrpcModel("iris-v1") as v1, GrpcModel("iris-v2") as v2, Echo("rest") as rest, web_socket() as socket:
        stage = Stage(tmp_path_factory.mktemp("grpc"), {8081: v1, 8082: v2, 8083: rest, 8084: socket})
        try:
            await stage.start(DOCUMENTS)
            yield stage
        finally:
            stage.close()


@asynccontextmanager
async def web_socket() -> AsyncIterator[SimpleNamespace]:
    """Takes every upgrade, says the first five bytes again, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"sec-websocket-key: (.*)\r\n", head, re.IGNORECASE)
        # Envoy makes none where HTTP/2 has none.
        accept = b64encode(sha1((key[1] if key else b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        fields = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: " + accept
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n\r\n")
        writer.write(await reader.readexactly(5))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield SimpleNamespace(name="socket", port=server.sockets[0].getsockname()[1], seen=[])


@asynccontextmanager
async def channel_to(stage: Stage, plane: DataPlane, host: str = "calls.test") -> AsyncIterator[Any]:
    async with open_channel(stage.ports[8080], host, plane.address) as channel:
        yield channel


@EVERY_PLANE
async def test_each_call_goes_where_the_rules_say(stage: Stage, plane: DataPlane) -> None:
    async with channel_to(stage, plane) as channel:
        got = [(method, metadata, await call_once(channel, method, *metadata)) for method, metadata, _ in CALLS]
    assert got == CALLS


@EVERY_PLANE
async def test_an_httproute_takes_calls_and_requests_of_both_protocols(stage: Stage, plane: DataPlane) -> None:
    async with channel_to(stage, plane, "plain.test") as channel:
        assert await call_once(channel, "/iris.Iris/Infer") == "iris-v1"
    answer = await stage.ask(plane, Request("GET", "/rest", "plain.test"))
    assert (answer.status, answer.predictor) == (200, "rest")
    stream = await open_stream(stage.ports[8080], plane.address)
    pseudo = ((":method", "GET"), (":scheme", "http"), (":path", "/rest"), (":authority", "plain.test"))
    await stream.send_head(pseudo, end=True)
    await stream.read_to_end()
    assert (stream.fields[":status"], stream.data) == ("200", b"rest")
    stream.close()


@EVERY_PLANE
async def test_all_four_kinds_of_calls_go_through_with_metadata(stage: Stage, plane: DataPlane) -> None:
    async def many() -> AsyncIterator[bytes]:
        for number in range(50):
            yield b"%d" % number

    model = stage.predictors[8082]
    async with channel_to(stage, plane) as channel:
        unary = channel.unary_unary("/oak.Oak/One")(b"x", timeout=10, metadata=(("x-a-bin", b"\x00\x01"),))
        assert await unary == b"iris-v2 x"
        assert dict(await unary.trailing_metadata()) == {"x-by": "iris-v2", "x-seal-bin": b"\x00\xff"}
        assert model.seen[-1].metadata["x-a-bin"] == b"\x00\x01"
        large = await channel.unary_unary("/oak.Oak/One")(b"x" * 3_000_000, timeout=20)
        assert len(large) == 3_000_008
        assert await channel.stream_unary("/oak.Oak/Collect")(many(), timeout=10) == b"iris-v2 50"
        served = channel.unary_stream("/oak.Oak/Each")(b"y", timeout=10)
        assert [message async for message in served] == [b"iris-v2 y"]
        # Each message is answered before the next one is sent.
        both = channel.stream_stream("/oak.Oak/Each")(timeout=10)
        for number in range(20):
            await both.write(b"%d" % number)
            assert await both.read() == b"iris-v2 %d" % number
        await both.done_writing()
        assert await both.read() is grpc.aio.EOF
        assert await both.code() == grpc.StatusCode.OK


@EVERY_PLANE
async def test_header_edits_hold_for_calls(stage: Stage, plane: DataPlane) -> None:
    async with channel_to(stage, plane) as channel:
        call = channel.unary_unary("/edit.Edit/Infer")(b"", timeout=10, metadata=(("x-tenant", "yours"),))
        await call
        assert dict(await call.initial_metadata())["x-answer"] == "edited"
    assert stage.predictors[8081].seen[-1].metadata["x-tenant"] == "mine"


@EVERY_PLANE
@pytest.mark.parametrize("host", ["calls.test", "plain.test"])
async def test_a_grpc_timeout_is_a_deadline(stage: Stage, plane: DataPlane, host: str) -> None:
    """A client that would wait for ever is answered, and the model is told that nobody waits any more: of a GRPCRoute
    and of an HTTPRoute."""
    model = stage.predictors[8081]
    stream = await open_stream(stage.ports[8080], plane.address)
    await stream.send_head(call_fields(host, "/iris.Iris/Wait", ("grpc-timeout", "300m")))
    await until(lambda: model.waiting == 1)
    await stream.read_to_end()
    assert (stream.fields[":status"], stream.fields["grpc-status"]) == ("200", "4")
    await until(lambda: model.waiting == 0)
    stream.close()


@EVERY_PLANE
async def test_what_is_unavailable_is_asked_elsewhere(stage: Stage, plane: DataPlane) -> None:
    model = stage.predictors[8081]
    model.fails = grpc.StatusCode.UNAVAILABLE
    before = len(model.seen)
    try:
        async with channel_to(stage, plane) as channel:
            assert {await call_once(channel, "/again.Again/Infer") for _ in range(20)} == {"iris-v2"}
            assert await call_once(channel, "/iris.Iris/Infer") == "UNAVAILABLE"
    finally:
        model.fails = None
    assert len(model.seen) > before + 1


@EVERY_PLANE
async def test_too_many_calls_are_resource_exhausted(stage: Stage, plane: DataPlane) -> None:
    async with channel_to(stage, plane) as channel:
        got = Counter([await call_once(channel, "/few.Few/Infer") for _ in range(10)])
    assert set(got) == {"iris-v1", "RESOURCE_EXHAUSTED"}
    assert got["iris-v1"] == 1


@EVERY_PLANE
async def test_calls_of_one_channel_are_split_by_the_weights(stage: Stage, plane: DataPlane) -> None:
    async with channel_to(stage, plane) as channel:
        calls = (call_once(channel, "/split.Split/Infer") for _ in range(SAMPLE))
        got = Counter(await asyncio.gather(*calls))
    assert set(got) == {"iris-v1", "iris-v2"}
    assert abs(got["iris-v2"] - SAMPLE / 4) <= 4 * sqrt(SAMPLE * 3 / 16)


@EVERY_PLANE
async def test_a_client_that_gives_up_ends_the_call_at_the_model(stage: Stage, plane: DataPlane) -> None:
    model = stage.predictors[8081]
    async with channel_to(stage, plane, "plain.test") as channel:
        call = channel.stream_stream("/iris.Iris/Wait")()
        await call.write(b"x")
        await until(lambda: model.waiting == 1)
        call.cancel()
        await until(lambda: model.waiting == 0)


@EVERY_PLANE
async def test_websocket_over_http2_is_let_through(stage: Stage, plane: DataPlane) -> None:
    """By extended CONNECT (RFC 8441), to an endpoint that speaks HTTP/1.1."""
    stream = await open_stream(stage.ports[8080], plane.address)
    assert stream.takes_websockets
    pseudo = ((":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/socket"))
    await stream.send_head((*pseudo, (":authority", "plain.test"), ("sec-websocket-version", "13")))
    await stream.send(b"hello")
    await stream.read_to_end()
    assert (stream.fields[":status"], stream.data) == ("200", b"hello")
    stream.close()


async def test_nothing_was_ever_refused(stage: Stage) -> None:
    await stage.settled()
    for process in stage.processes.values():
        if isinstance(process, Envoy):
            lines = process.events().splitlines()
            assert [line for line in lines if "global_downstream_max_connections" not in line] == []


async def test_all_follow_new_weights(stage: Stage) -> None:
    moved = DOCUMENTS.replace("{name: iris-v1, weight: 3}", "{name: iris-v1, weight: 0}")
    assert moved != DOCUMENTS
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_to(stage, plane)) for plane in DATA_PLANES]
        await stage.push(moved)
        for channel in channels:
            assert {await call_once(channel, "/split.Split/Infer") for _ in range(20)} == {"iris-v2"}
