"""What a second reader tried: clients that read nothing, heads that are dear to judge, ends at awkward moments."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable

import pytest
from actors.documents import predictor, route
from actors.echo import Echo
from actors.lane import Lane
from actors.proxy import Proxy, resident_kib, until
from actors.wire import Message, Wire, connect, soon
from free_ports import free_port

BLOCK = b"b" * 262_144
BIG = 128 * 1_048_576
MAX_CPU_S = 0.5
StartProxy = Callable[..., Proxy]


async def answer_without_end(wire: Wire, request: Message) -> None:
    """As much as is taken; over when the connection is."""
    wire.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BIG)
    for _ in range(BIG // len(BLOCK)):
        wire.writer.write(BLOCK)
        await wire.writer.drain()


async def worker_of(proxy: Proxy) -> int:
    (pid,) = await proxy.workers()
    return pid


def cpu_s(pid: int) -> float:
    """The processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Clients that read nothing


async def test_a_client_that_reads_nothing_is_cut_at_the_idle_timeout(hasty_lane: Lane) -> None:
    """A close that waits for a full buffer to be read would wait for ever."""
    hasty_lane.serve(answer_without_end)
    proxy = hasty_lane.proxy
    before = (await proxy.stats())["process"]["connections_active"]
    client = await hasty_lane.connect()
    client.writer.transport.pause_reading()
    await client.send(hasty_lane.request())

    async def is_active(number: int) -> bool:
        return (await proxy.stats())["process"]["connections_active"] == number

    await until(lambda: is_active(before + 1))
    await until(lambda: is_active(before), 5)


async def test_a_client_that_reads_nothing_is_cut_after_its_upstream_died(hasty_lane: Lane) -> None:
    proxy = hasty_lane.proxy
    before = (await proxy.stats())["process"]["connections_active"]
    client = await hasty_lane.connect()
    client.writer.transport.pause_reading()
    await client.send(hasty_lane.request())
    upstream = await hasty_lane.accept()
    await upstream.read_request()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await answer_without_end(upstream, Message("", []))
    upstream.reset()

    async def is_gone() -> bool:
        return (await proxy.stats())["process"]["connections_active"] == before

    await until(is_gone, 5)


async def test_a_pipelined_answer_waits_for_a_slow_reader_as_well(lane: Lane) -> None:
    """The connection was blocked before the second exchange began: nobody will tell it so once more."""
    lane.serve(answer_by_target)
    worker = await worker_of(lane.proxy)
    before = resident_kib(worker)
    client = await lane.connect()
    client.writer.transport.pause_reading()
    await client.send(lane.request("/small") * 500 + lane.request("/big"))
    assert await highest_kib(worker, 1.5) - before < 16_384
    client.reset()


async def answer_by_target(wire: Wire, request: Message) -> None:
    if request.target == "/big":
        await answer_without_end(wire, request)
    else:
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 32768\r\n\r\n" + BLOCK[:32_768])


async def highest_kib(pid: int, within_s: float) -> int:
    """The most memory that a process was seen with in that time."""
    highest = 0
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        highest = max(highest, resident_kib(pid))
        await asyncio.sleep(0.02)
    return highest


# Time


async def test_a_connection_on_which_a_request_timed_out_still_ends_when_idle(hasty_lane: Lane) -> None:
    client = await hasty_lane.connect()
    await client.send(hasty_lane.request("/request-timeout"))
    assert (await client.read_response()).status == 504
    assert await client.is_closed()


# Heads that are dear to judge


MANY_TOKENS = b"Connection: %b\r\n" % (b"t," * 15_000)


@pytest.mark.parametrize(
    ("what", "head"),
    [
        ("many tokens of Connection and many fields", MANY_TOKENS + b"a:\r\n" * 8_000),
        ("one field many times", b"a:b\r\n" * 12_000),
        ("many fields that steer", b"".join(b"x-envoy-%d:\r\n" % number for number in range(4_000))),
        ("many forwarding fields", b"x-forwarded-for:b\r\n" * 3_200),
        ("many dot segments", b""),
    ],
)
async def test_a_head_of_64_kib_costs_no_more_than_its_bytes(lane: Lane, what: str, head: bytes) -> None:
    lane.serve()
    worker = await worker_of(lane.proxy)
    target = b"/" + b"a/../" * 12_000 if what == "many dot segments" else b"/"
    client = await lane.connect()
    before = cpu_s(worker)
    await client.send(b"GET %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, lane.host.encode(), head))
    assert (await client.read_response()).status == 200
    assert cpu_s(worker) - before < MAX_CPU_S, what


async def test_trailers_and_many_tokens_of_connection_cost_no_more_than_their_bytes(lane: Lane) -> None:
    lane.serve()
    worker = await worker_of(lane.proxy)
    client = await lane.connect()
    before = cpu_s(worker)
    await client.send(
        b"POST / HTTP/1.1\r\nHost: %b\r\n%bTransfer-Encoding: chunked\r\n\r\n0\r\n%b\r\n"
        % (lane.host.encode(), MANY_TOKENS, b"a:\r\n" * 8_000)
    )
    assert (await client.read_response()).status == 200
    assert cpu_s(worker) - before < MAX_CPU_S


# Connections that outlive what they were opened for

LISTENER = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: turnout
  listeners: [{{name: {name}, port: {port}, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route}}
spec:
  parentRefs: [{{name: front}}]
  rules: [{{backendRefs: [{{name: {backend}}}]}}]
"""


async def test_a_kept_connection_of_a_renamed_listener_goes_by_the_new_rules(start_proxy: StartProxy) -> None:
    """Or is closed after its next answer: in no case may it be ruled by the old ones for as long as it lasts."""
    async with Echo("v1") as v1, Echo("v2") as v2:
        predictors, port = predictor("v1", v1.port) + predictor("v2", v2.port), free_port()
        proxy = start_proxy(predictors + LISTENER.format(name="a", port=port, backend="v1"))
        client = await connect(port)
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).body == b"v1"
        await proxy.reload(predictors + LISTENER.format(name="b", port=port, backend="v2"))
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        first = await client.read_response()
        assert first.body == b"v2" or first.get("connection") == "close"


async def test_a_kept_connection_of_a_removed_listener_ends(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        port, other = free_port(), free_port()
        proxy = start_proxy(predictor("v1", v1.port) + LISTENER.format(name="a", port=port, backend="v1"))
        client = await connect(port)
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).body == b"v1"
        await proxy.reload(predictor("v1", v1.port) + LISTENER.format(name="b", port=other, backend="v1"))
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).get("connection") == "close"


# Ends at awkward moments


async def test_clients_that_leave_while_we_connect_leave_no_connection_in_the_gauge(start_proxy: StartProxy) -> None:
    """A connection whose making is cancelled just when it is there is told made, but by uvloop never lost."""
    async with Echo("v1") as v1:
        v1.fields = ["connection: close"]
        proxy = start_proxy(predictor("v1", v1.port) + route("{rules: [{backendRefs: [{name: v1}]}]}"))
        for _ in range(20):
            clients = [await connect(proxy.port) for _ in range(10)]
            for client in clients:
                client.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            for client in clients:
                client.reset()

        async def are_gone() -> bool:
            stats = await proxy.stats()
            (endpoint,) = stats["endpoints"]
            return stats["process"]["connections_active"] == endpoint["active"] == endpoint["connections_active"] == 0

        await until(are_gone, 8)


async def test_an_answer_that_comes_before_an_upload_ends_is_passed_on_though_the_upstream_closes(lane: Lane) -> None:
    """As a server does that refuses a body for its size: answer, then close with bytes unread."""
    client = await lane.connect()
    client.writer.write(lane.request("/", "POST", body=b"x" * 8_000_000))
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    upstream.close()
    assert (await client.read_response()).status == 413


UPGRADE = ("Connection: upgrade", "Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_the_last_bytes_of_a_tunnel_arrive_though_their_sender_has_closed(lane: Lane, who: str) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "GET", *UPGRADE))
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(SWITCH)
    await client.read_head()
    sender, reader = (client, upstream) if who == "client" else (upstream, client)
    reader.writer.transport.pause_reading()
    sending = asyncio.create_task(sender.send(BLOCK * 40))
    await asyncio.sleep(0.2)
    reader.writer.transport.resume_reading()
    received = asyncio.create_task(soon(reader.reader.read(-1)))
    await sending
    sender.close()
    assert len(await received) == len(BLOCK) * 40
