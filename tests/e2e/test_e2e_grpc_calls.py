"""grpcio through the proxy: all kinds of calls, messages of every size, metadata, statuses, and whom a call reaches."""

import asyncio
import json
import struct
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import sqrt
from typing import Any

import grpc
import grpc.aio
import h2.config
import h2.connection
import pytest
from actors.grpc_calls import CALLS, Calls, check_streams, models, predictor, proxied, route, to
from free_ports import free_port
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SIZES = [0, 1, 5, 16_379, 65_535, 262_144, 1 << 20]


def rules(a: int, b: int, c: int, dead: int) -> str:
    return "".join(
        [
            predictor("a", a), predictor("b", b), predictor("dead", dead),
            predictor("evenly", a, b, c, spec="loadBalancing: {policy: Random}"),
            predictor("default", a, b, c),
            to("a"), to("a", "echo"), to("dead"), to("evenly"), to("default"),
            route(
                "models",
                "[{matches: [{headers: [{name: x-gateway-model-name, value: bert}, "
                "{name: x-gateway-model-version, value: '2'}]}], backendRefs: [{name: b}]}, "
                "{backendRefs: [{name: a}]}]",
                "HTTPRoute",
            ),
            route(
                "split",
                "[{matches: [{method: {service: test.Calls, method: Name}, headers: [{name: x-canary, value: 'yes'}]}],"
                " backendRefs: [{name: b}]},"
                "{matches: [{method: {service: test.Calls, method: Name}}], backendRefs: [{name: a, weight: 80}, "
                "{name: b, weight: 20}]}]",
            ),
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    with models("a", "b", "c") as servers:
        text = rules(*(model.port for model in servers.values()), free_port())
        with proxied(tmp_path_factory.mktemp("calls"), text, servers) as made:
            yield made


# The four kinds, by both of grpcio's clients


async def test_all_four_kinds_of_calls(calls: Calls) -> None:
    async with calls.channel("echo") as channel:
        assert await channel.unary_unary(f"{CALLS}Echo")(b"one") == b"one"
        assert await channel.stream_unary(f"{CALLS}Join")([b"a", b"", b"bc"]) == b"abc"
        await check_streams(channel)


async def test_all_four_kinds_of_calls_of_the_blocking_client(calls: Calls) -> None:
    def ask() -> None:
        with calls.sync_channel("echo") as channel:
            assert channel.unary_unary(f"{CALLS}Echo")(b"one") == b"one"
            assert [len(m) for m in channel.unary_stream(f"{CALLS}Expand")(b"[1, 2]")] == [1, 2]
            assert channel.stream_unary(f"{CALLS}Join")(iter([b"a", b"b"])) == b"ab"
            assert [*channel.stream_stream(f"{CALLS}Talk")(iter([b"x", b"y"]))] == [b"x", b"y"]

    await asyncio.to_thread(ask)


async def test_all_four_kinds_of_calls_to_a_blocking_server(calls: Calls, tmp_path: Any) -> None:
    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return {
                "/s/Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
                "/s/Many": grpc.unary_stream_rpc_method_handler(lambda request, context: iter([request] * 3)),
                "/s/Join": grpc.stream_unary_rpc_method_handler(lambda requests, context: b"".join(requests)),
                "/s/Talk": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
            }[details.method]

    server = grpc.server(ThreadPoolExecutor(4), (Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with proxied(tmp_path, predictor("s", port) + to("s"), {}) as own:
            async with own.channel("s") as channel:
                assert await channel.unary_unary("/s/Unary")(b"1") == b"1"
                assert [m async for m in channel.unary_stream("/s/Many")(b"2")] == [b"2"] * 3
                assert await channel.stream_unary("/s/Join")([b"3", b"4"]) == b"34"
                assert [m async for m in channel.stream_stream("/s/Talk")([b"5", b"6"])] == [b"5", b"6"]
    finally:
        server.stop(None)


@pytest.mark.parametrize("size", SIZES)
async def test_messages_of_all_sizes_go_both_ways(calls: Calls, size: int) -> None:
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with calls.channel("echo") as channel:
        assert await channel.unary_unary(f"{CALLS}Echo")(message) == message


async def test_64_mib_go_both_ways_while_small_calls_go_on_beside_them(calls: Calls) -> None:
    async with calls.channel("echo") as channel:
        message = bytes(64 << 20)
        large = asyncio.ensure_future(channel.unary_unary(f"{CALLS}Echo")(message))
        beside = 0
        while not large.done():
            assert await channel.unary_unary(f"{CALLS}Echo")(b"small") == b"small"
            beside += 1
        assert await large == message
        assert beside > 1


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_pass_as_they_are(calls: Calls, compression: grpc.Compression) -> None:
    async with calls.channel("echo") as channel:
        echo = channel.unary_unary(f"{CALLS}Echo")
        name = f"sized-{compression.name.lower()}"
        assert await echo(bytes(100_000), compression=compression, metadata=[("x-request-id", name)]) == bytes(100_000)
    (line,) = await calls.proxy.access(1, request_id=name)
    assert line["bytes_received"] < 1_000


# Metadata and statuses


async def test_metadata_goes_both_ways_also_binary_repeated_and_odd(calls: Calls) -> None:
    sent = (
        ("x-text", "plain"), ("x-twice", "1"), ("x-twice", "2"), ("x-raw-bin", b"\x00\x01\xfe\xff"), ("x-raw-bin", b""),
        ("x-odd", "a,b; c=\"d\" ~"),
    )  # fmt: skip
    async with calls.channel("echo") as channel:
        call = channel.unary_unary(f"{CALLS}Tell")(b"", metadata=sent)
        got = [tuple(pair) for pair in json.loads(await call)]
        for name, value in sent:
            assert (name, value.hex() if isinstance(value, bytes) else value) in got
        assert [value for name, value in got if name == "x-twice"] == ["1", "2"]
        assert ("server", "a") in list(await call.initial_metadata())
        assert ("x-bin-bin", b"\x00\xffend") in list(await call.trailing_metadata())


@pytest.mark.parametrize("head_first", [False, True])
@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
async def test_every_status_comes_as_it_was_given(calls: Calls, code: grpc.StatusCode, head_first: bool) -> None:
    metadata = [("code", code.name), ("details", "see"), *([("head-first", "1")] if head_first else [])]
    async with calls.channel("echo") as channel:
        call = channel.unary_unary(f"{CALLS}Fail")(b"", metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
    assert (failed.value.code(), failed.value.details()) == (code, "see")
    assert ("x-why", "asked") in list(failed.value.trailing_metadata() or ())


async def test_statuses_are_counted_and_stand_in_the_access_log(calls: Calls) -> None:
    before = await grpc_count(calls, "a", "ABORTED")
    async with calls.channel("a") as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(f"{CALLS}Fail")(b"", metadata=[("code", "ABORTED")])
    assert await grpc_count(calls, "a", "ABORTED") == before + 1
    lines = await calls.proxy.access(1, host="a.test", grpc_status="ABORTED")
    assert (lines[0]["status"], lines[0]["flag"]) == (200, "-")


async def grpc_count(calls: Calls, cluster: str, status: str) -> int:
    """What the metrics count of it."""
    wanted = "turnout_grpc_requests_total{", f'grpc_status="{status}"', f'predictor="default/{cluster}"'
    lines = (await calls.proxy.admin("/metrics"))[1].splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if all(part in line for part in wanted))


async def test_an_unknown_method_is_the_servers_to_say(calls: Calls) -> None:
    async with calls.channel("echo") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/no.Such/Thing")(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "NR" not in (failed.value.details() or "")


async def test_a_call_without_a_route_is_unimplemented(calls: Calls) -> None:
    async with calls.channel("nobody") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(f"{CALLS}Echo")(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "no route matches this request (NR, request " in str(failed.value.details())


async def test_a_dead_server_is_unavailable(calls: Calls) -> None:
    async with calls.channel("dead") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(f"{CALLS}Echo")(b"")
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "(UF, request " in str(failed.value.details())


# Whom a call reaches


async def ask_names(channel: grpc.aio.Channel, count: int, **metadata: str) -> Counter[str]:
    name = channel.unary_unary(f"{CALLS}Name")
    names: Counter[str] = Counter()
    for _ in range(0, count, 20):
        told = await asyncio.gather(*(name(b"", metadata=[*metadata.items()]) for _ in range(20)))
        names.update(one.decode() for one in told)
    return names


async def test_calls_of_one_channel_are_balanced_evenly_by_the_random_policy(calls: Calls) -> None:
    """Without a proxy all of them would go to one replica; each has a third, within 4 sigma."""
    count = 3_000
    async with calls.channel("evenly") as channel:
        names = await ask_names(channel, count)
    sigma = sqrt(count * 1 / 3 * 2 / 3)
    assert set(names) == {"a", "b", "c"}
    assert all(abs(got - count / 3) < 4 * sigma for got in names.values()), names


async def test_calls_of_one_channel_reach_all_replicas_by_the_default_policy(calls: Calls) -> None:
    """Peak EWMA prefers who answers faster, so there are no even shares."""
    async with calls.channel("default") as channel:
        names = await ask_names(channel, 600)
    assert set(names) == {"a", "b", "c"}


async def test_a_grpc_route_splits_by_weight_and_matches_metadata_and_methods(calls: Calls) -> None:
    count = 1_000
    async with calls.channel("split") as channel:
        names = await ask_names(channel, count)
        assert abs(names["b"] - count * 0.2) < 4 * sqrt(count * 0.2 * 0.8), names
        assert await ask_names(channel, 20, **{"x-canary": "yes"}) == {"b": 20}
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary(f"{CALLS}Echo")(b"")
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


def infer_request() -> Any:
    """ModelInferRequest of the Open Inference Protocol, as far as it matters, from a descriptor of our own."""
    file = descriptor_pb2.FileDescriptorProto(name="oip.proto", package="inference", syntax="proto3")
    tensor = file.message_type.add(name="InferInputTensor")
    tensor.field.add(name="name", number=1, type=9, label=1)
    tensor.field.add(name="datatype", number=2, type=9, label=1)
    tensor.field.add(name="shape", number=3, type=3, label=3)
    request = file.message_type.add(name="ModelInferRequest")
    for number, name in enumerate(("model_name", "model_version", "id"), 1):
        request.field.add(name=name, number=number, type=9, label=1)
    request.field.add(name="inputs", number=5, type=11, label=3, type_name=".inference.InferInputTensor")
    request.field.add(name="raw_input_contents", number=7, type=12, label=3)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelInferRequest"))


@pytest.mark.parametrize(
    ("model", "version", "expected"), [("bert", "2", b"b"), ("bert", "1", b"a"), ("bert", "", b"a"), ("t5", "2", b"a")]
)
@pytest.mark.parametrize("size", [0, 1 << 20])
async def test_inference_calls_go_by_the_model_they_name(
    calls: Calls, model: str, version: str, expected: bytes, size: int
) -> None:
    request = infer_request()(
        model_name=model, model_version=version, id="7",
        inputs=[{"name": "x", "datatype": "FP32", "shape": [1, size // 4]}],
        raw_input_contents=[bytes(size)],
    )  # fmt: skip
    async with calls.channel("models") as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer", request_serializer=lambda told: told.SerializeToString()
        )
        assert await infer(request) == expected


async def test_a_message_in_single_bytes_is_the_same_message(calls: Calls) -> None:
    """What a client cuts into many DATA frames, as one of h2 may."""
    reader, writer = await asyncio.open_connection("127.0.0.1", calls.proxy.port)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    connection.initiate_connection()
    connection.send_headers(
        1,
        [
            (":method", "POST"), (":scheme", "http"), (":path", f"{CALLS}Echo"), (":authority", "echo.test"),
            ("content-type", "application/grpc"), ("te", "trailers"),
        ],
    )  # fmt: skip
    for byte in struct.pack(">BI", 0, 5) + b"hello":
        connection.send_data(1, bytes((byte,)))
    connection.end_stream(1)
    writer.write(connection.data_to_send())
    body, trailers = b"", None
    while trailers is None:
        for event in connection.receive_data(await reader.read(65_536)):
            kind = type(event).__name__
            if kind == "DataReceived":
                body += event.data
            elif kind == "TrailersReceived":
                trailers = dict(event.headers)
        writer.write(connection.data_to_send())
    writer.close()
    assert (body, trailers[b"grpc-status"]) == (b"\0\0\0\0\x05hello", b"0")
