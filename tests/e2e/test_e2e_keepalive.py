"""Connections that are kept: downstream with pipelining, upstream in a pool with one request at a time on each."""

import asyncio

import pytest
from actors.lane import OK, Lane, answer_ok
from actors.proxy import until
from actors.wire import Message, Wire


async def test_requests_of_one_connection_are_answered_one_after_the_other(lane: Lane) -> None:
    seen = lane.serve()
    client = await lane.connect()
    for number in range(5):
        await client.send(lane.request(f"/{number}"))
        assert (await client.read_response()).body == b"ok"
    assert [request.target for request in seen] == ["/0", "/1", "/2", "/3", "/4"]


async def test_an_upstream_connection_is_used_again(lane: Lane) -> None:
    lane.serve()
    for number in range(5):
        await lane.ask(f"/{number}")
    assert lane.connections == 1


async def test_pipelined_requests_are_answered_in_their_order(lane: Lane) -> None:
    async def later_is_faster(wire: Wire, request: Message) -> None:
        body = request.target.encode()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    seen = lane.serve(later_is_faster)
    client = await lane.connect()
    await client.send(b"".join(lane.request(f"/{n}", "POST", body=b"x" * n) for n in range(20)))
    assert [(await client.read_response()).body for _ in range(20)] == [b"/%d" % n for n in range(20)]
    assert [len(request.body) for request in seen] == list(range(20))


async def test_a_pipelined_request_waits_until_the_one_before_it_is_answered(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/first") + lane.request("/second"))
    upstream = await lane.accept()
    assert (await upstream.read_request()).target == "/first"
    assert not upstream.reader._buffer  # type: ignore[attr-defined]
    await upstream.send(OK)
    assert (await upstream.read_request()).target == "/second"
    await upstream.send(OK)
    assert [(await client.read_response()).status for _ in range(2)] == [200, 200]


async def test_pipelined_requests_arrive_byte_by_byte(lane: Lane) -> None:
    lane.serve()
    client = await lane.connect()
    for byte in lane.request("/a", "POST", body=b"abc") + lane.request("/b"):
        await client.send(bytes([byte]))
    assert [(await client.read_response()).status for _ in range(2)] == [200, 200]


async def test_concurrent_requests_never_share_an_upstream_connection(lane: Lane) -> None:
    in_flight: dict[Wire, int] = {}
    gate = asyncio.Event()

    async def check(wire: Wire, request: Message) -> None:
        in_flight[wire] = in_flight.get(wire, 0) + 1
        assert in_flight[wire] == 1
        await gate.wait()
        assert not wire.reader._buffer  # type: ignore[attr-defined]
        in_flight[wire] = 0
        await answer_ok(wire, request)

    seen = lane.serve(check)
    asked = [asyncio.create_task(lane.ask(f"/{n}")) for n in range(8)]
    await until(lambda: len(seen) == 8)
    gate.set()
    assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 8
    assert lane.connections == 8
    for _ in range(3):
        await asyncio.gather(*(lane.ask() for _ in range(4)))
    assert lane.connections == 8


async def test_a_client_that_says_close_gets_its_answer_and_the_end(lane: Lane) -> None:
    lane.serve()
    client = await lane.connect()
    await client.send(lane.request("/", "GET", "Connection: close"))
    answer = await client.read_response()
    assert (answer.status, answer.get("connection")) == (200, "close")
    assert await client.is_closed()


async def test_an_upstream_that_says_close_is_not_used_again_but_the_client_stays(lane: Lane) -> None:
    async def close(wire: Wire, request: Message) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")

    lane.serve(close)
    client = await lane.connect()
    for _ in range(3):
        await client.send(lane.request())
        answer = await client.read_response()
        assert (answer.status, answer.get("connection")) == (200, None)
    assert lane.connections == 3


async def test_an_upstream_that_closed_an_idle_connection_gets_a_new_one(lane: Lane) -> None:
    client = await lane.connect()
    for _ in range(3):
        await client.send(lane.request())
        upstream = await lane.accept()
        await upstream.read_request()
        await upstream.send(OK)
        assert (await client.read_response()).status == 200
        upstream.close()
        await until(lambda: no_connection(lane))


async def no_connection(lane: Lane) -> bool:
    endpoints = (await lane.proxy.stats())["endpoints"]
    return not any(e["connections_active"] for e in endpoints if e["predictor"] == f"default/{lane.name}")


async def test_bytes_that_no_request_asked_for_end_an_idle_connection(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(OK)
    await client.read_response()
    await upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")
    assert await upstream.is_closed()
    lane.serve()
    await client.send(lane.request())
    assert (await client.read_response()).body == b"ok"


POISON = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", OK),
        ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(POISON)),
    ],
    ids=["by length", "in chunks", "204", "304", "HEAD"],
)
async def test_what_follows_an_answer_is_not_taken_for_the_next_one(lane: Lane, method: str, answer: bytes) -> None:
    client = await lane.connect()
    await client.send(lane.request("/1", method) + lane.request("/2"))
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(answer + POISON)
    assert (await client.read_response(method)).status == int(answer[9:12])
    lane.serve()  # on a connection of its own
    assert (await client.read_response()).body == b"ok"
    assert await upstream.is_closed()


async def test_an_idle_upstream_connection_is_closed_before_the_upstream_would(hasty_lane: Lane) -> None:
    client = await hasty_lane.connect()
    await client.send(hasty_lane.request())
    upstream = await hasty_lane.accept()
    await upstream.read_request()
    await upstream.send(OK)
    await client.read_response()
    assert await upstream.is_closed()  # by the predictor's idleTimeout of 300 ms


@pytest.mark.parametrize("announced", ["timeout=1", "max=5, timeout=1"])
async def test_the_time_that_an_upstream_announces_is_kept(lane: Lane, announced: str) -> None:
    client = await lane.connect()
    await client.send(lane.request())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(b"HTTP/1.1 200 OK\r\nkeep-alive: %b\r\ncontent-length: 0\r\n\r\n" % announced.encode())
    answer = await client.read_response()
    assert answer.get("keep-alive") is None
    async with asyncio.timeout(1):
        assert await upstream.is_closed()


async def test_an_idle_client_is_closed_without_a_word(hasty_lane: Lane) -> None:
    hasty_lane.serve()
    client = await hasty_lane.connect()
    await client.send(hasty_lane.request())
    await client.read_response()
    assert await client.is_closed()
    silent = await hasty_lane.connect()
    assert await silent.is_closed()
