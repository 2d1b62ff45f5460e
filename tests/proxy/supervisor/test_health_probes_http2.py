"""Active checks over HTTP/2 and gRPC: to a real gRPC server, and to ones that answer all sorts of things."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import pytest

from turnout.proxy.supervisor.health.probes import MAX_BODY_BYTES, Prober
from turnout.proxy.supervisor.options import Address
from turnout.rules.resilience import GrpcCall, GrpcProbe, HealthCheck, Probe

OK = b"\0\0\0\0\2\x08\x01"
TRAILERS = [("grpc-status", "0")]
GRPC_HEAD = [(":status", "200"), ("content-type", "application/grpc")]


class Server:
    """An HTTP/2 server, by h2, that gives every request the same answer; `asked` are heads and bodies."""

    def __init__(self, head: list[tuple[str, str]], body: bytes, trailers: list[tuple[str, str]] | None) -> None:
        self._answer = head, body, trailers
        self.asked: list[tuple[dict[str, str], bytes]] = []
        self.connections = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address(*self.server.sockets[0].getsockname())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        head: dict[str, str] = {}
        body, unsent = b"", b""
        try:
            while True:
                writer.write(connection.data_to_send())
                data = await reader.read(65_536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        head = dict(event.headers)
                    elif isinstance(event, h2.events.DataReceived):
                        body += event.data
                        connection.acknowledge_received_data(event.flow_controlled_length, 1)
                    elif isinstance(event, h2.events.StreamEnded):
                        self.asked.append((head, body))
                        unsent = self._begin(connection)
                unsent = self._send(connection, unsent)
        except (ConnectionError, h2.exceptions.ProtocolError):
            return
        finally:
            writer.close()

    def _begin(self, connection: Any) -> bytes:
        fields, body, trailers = self._answer
        if not fields:
            connection.reset_stream(1, 8)
            return b""
        connection.send_headers(1, fields, end_stream=not body and trailers is None)
        if not body and trailers is not None:
            connection.send_headers(1, trailers, end_stream=True)
        return body

    def _send(self, connection: Any, unsent: bytes) -> bytes:
        while unsent and (room := min(connection.local_flow_control_window(1), 16_384)):
            piece, unsent = unsent[:room], unsent[room:]
            trailers = self._answer[2]
            connection.send_data(1, piece, end_stream=not unsent and trailers is None)
            if not unsent and trailers is not None:
                connection.send_headers(1, trailers, end_stream=True)
        return unsent


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    servers = []

    async def make(
        head: list[tuple[str, str]], body: bytes = b"", trailers: list[tuple[str, str]] | None = None
    ) -> Server:
        server = Server(head, body, trailers)
        await server.start()
        servers.append(server.server)
        return server

    yield make
    for server in servers:
        server.close()


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    made = Prober()
    yield made
    await made.close()


CHECK = GrpcProbe("health", "iris.Service")


@pytest.mark.parametrize(
    ("head", "body", "trailers", "outcome", "detail"),
    [
        (GRPC_HEAD, OK, TRAILERS, "passed", "SERVING"),
        (GRPC_HEAD, b"\0\0\0\0\2\x08\x02", TRAILERS, "refused", "NOT_SERVING"),
        (GRPC_HEAD, b"\0\0\0\0\2\x08\x63", TRAILERS, "refused", "status 99"),
        (GRPC_HEAD, b"\0\0\0\0\0", TRAILERS, "refused", "UNKNOWN"),
        (GRPC_HEAD, OK, [("grpc-status", "14")], "refused", "UNAVAILABLE"),
        ([*GRPC_HEAD, ("grpc-status", "12")], b"", None, "refused", "UNIMPLEMENTED"),
        ([(":status", "503")], b"", None, "refused", "UNAVAILABLE"),
        ([(":status", "200")], b"hello", None, "refused", "UNKNOWN"),
        (GRPC_HEAD, b"", TRAILERS, "unanswered", "the answer has no message"),
        (GRPC_HEAD, b"\1\0\0\0\2\x08\x01", TRAILERS, "unanswered", "the answer is compressed"),
        (GRPC_HEAD, OK * 2, TRAILERS, "unanswered", "the answer is not one message"),
        ([], b"", None, "unanswered", "stream reset: CANCEL"),
    ],
)
async def test_an_answer_of_the_health_service_is_passed_refused_or_none(
    start, prober, head, body, trailers, outcome, detail
) -> None:
    server = await start(head, body, trailers)
    result = await prober.check(HealthCheck(grpc=(CHECK,)), server.address)
    assert (result.outcome, result.detail) == (outcome, f"grpc.health.v1.Health/Check: {detail}")


async def test_a_call_says_what_was_asked_for(start, prober) -> None:
    server = await start(GRPC_HEAD, OK, TRAILERS)
    probe = GrpcProbe("health", "iris.Service", "iris.example", (("X-Key", "k"),))
    assert (await prober.ask(probe, server.address, 1.5)).passed
    ((head, body),) = server.asked
    assert head.pop("grpc-timeout").endswith("m")
    assert head == {
        ":method": "POST", ":scheme": "http", ":authority": "iris.example", ":path": "/grpc.health.v1.Health/Check",
        "content-type": "application/grpc", "te": "trailers", "user-agent": "turnout-health-check", "x-key": "k",
    }  # fmt: skip
    assert body == b"\0\0\0\0\x0e\x0a\x0ciris.Service"


async def test_the_protocols_own_calls_have_to_say_ready(start, prober) -> None:
    server = await start(GRPC_HEAD, OK, TRAILERS)
    probes = (GrpcProbe("server"), GrpcProbe("model", "iris"))
    assert (await prober.check(HealthCheck(grpc=probes), server.address)).detail.endswith("ModelReady: ready")
    service = "/inference.GRPCInferenceService"
    assert [(head[":path"], body[5:]) for head, body in server.asked] == [
        (f"{service}/ServerReady", b""), (f"{service}/ModelReady", b"\x0a\x04iris"),
    ]  # fmt: skip
    server = await start(GRPC_HEAD, b"\0\0\0\0\0", TRAILERS)
    result = await prober.check(HealthCheck(grpc=probes), server.address)
    assert (result.outcome, len(server.asked)) == ("refused", 1)
    assert result.detail == "inference.GRPCInferenceService/ServerReady: not ready"


async def test_a_warm_call_is_well_if_it_ends_with_ok(start, prober) -> None:
    message = bytes(range(256)) * 1_000
    check = HealthCheck(warm_call=GrpcCall("a.B/Infer", message), warm_timeout_s=5)
    server = await start(GRPC_HEAD, b"\0\0\0\0\3abc" * 100_000, TRAILERS)
    assert (await prober.warm(check, server.address)).passed
    ((head, body),) = server.asked
    assert (head[":path"], body[5:]) == ("/a.B/Infer", message)
    server = await start(GRPC_HEAD, b"", [("grpc-status", "9")])
    result = await prober.warm(check, server.address)
    assert (result.outcome, result.detail) == ("refused", "a.B/Infer: FAILED_PRECONDITION")


@pytest.mark.parametrize(("status", "outcome"), [("200", "passed"), ("503", "refused")])
async def test_a_request_in_http2_is_judged_by_its_status(start, prober, status: str, outcome: str) -> None:
    server = await start([(":status", status)], b"x" * 100_000)
    probe = Probe("/v2/health/ready?a=b", "POST", "h", (("X-Key", "k"),), '{"a":1}', http2=True)
    result = await prober.ask(probe, server.address, 5)
    assert (result.outcome, result.detail) == (outcome, f"/v2/health/ready?a=b: status {status}")
    ((head, body),) = server.asked
    assert body == b'{"a":1}'
    assert (head[":authority"], head[":path"], head["x-key"]) == ("h", "/v2/health/ready?a=b", "k")


async def test_an_answer_without_end_is_read_up_to_a_bound(start, prober) -> None:
    server = await start([(":status", "200")], bytes(MAX_BODY_BYTES + 1_000_000), [("x", "never read")])
    assert (await prober.ask(Probe("/", http2=True), server.address, 20)).passed


async def test_a_server_of_http1_is_no_answer(prober) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    for probe in (CHECK, Probe("/", http2=True)):
        result = await prober.ask(probe, Address(*server.sockets[0].getsockname()), 5)
        assert result.outcome == "unanswered"
    server.close()


async def test_no_answer_in_time_no_connection_and_a_close_are_none(prober, unused_tcp_port) -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = Address(*server.sockets[0].getsockname())
    result = await prober.check(HealthCheck(grpc=(CHECK,), timeout_s=0.05), address)
    assert (result.outcome, "no answer within" in result.detail) == ("unanswered", True)
    await asyncio.wait_for(closed.wait(), 5)
    result = await prober.ask(CHECK, Address("127.0.0.1", unused_tcp_port), 5)
    assert result.outcome == "unanswered"
    server.close()


@pytest.mark.parametrize("metadata", [(("x-ä", "b"),), (("x", "a\r\nb"),), (("x y", "b"),)])
async def test_what_can_not_be_sent_is_no_answer(start, prober, metadata) -> None:
    server = await start(GRPC_HEAD, OK, TRAILERS)
    assert not (await prober.ask(GrpcProbe(metadata=metadata), server.address, 1)).passed


async def test_a_real_grpc_server_is_asked_as_it_wants_to_be(prober) -> None:
    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            async def answer(request: bytes, context: Any) -> bytes:
                if request == b"\x0a\x04iris":
                    return b"\x08\x01"
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
                raise AssertionError

            known = details.method == "/grpc.health.v1.Health/Check"
            return grpc.unary_unary_rpc_method_handler(answer) if known else None

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    address = Address("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    details = [
        (await prober.ask(probe, address, 5)).detail.partition(": ")[2]
        for probe in (GrpcProbe("health", "iris"), GrpcProbe("health", "rose"), GrpcProbe("server"))
    ]
    assert details == ["SERVING", "NOT_FOUND", "UNIMPLEMENTED"]
    await server.stop(None)
