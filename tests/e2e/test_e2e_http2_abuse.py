"""Clients that cost an HTTP/2 server more than it costs them: the proxy says GOAWAY, counts it, keeps its memory."""

from collections.abc import AsyncIterator, Callable, Iterable

import pytest
from actors.http2_wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    Frame,
    Http2Wire,
    connect_http2,
    data,
    frame,
    reset,
    settings,
    window,
)
from actors.lane import Lane, answer_ok
from actors.proxy import resident_kib, until
from actors.wire import Fields

ENHANCE_YOUR_CALM = 11
MAX_GROWTH_KIB = 16_384
PRIORITY_UPDATE = 0x10
BATCH = 200
LITERAL = b"\x00\x01a\x01b"
"""The field `a: b`, not indexed."""

Attack = Callable[[Http2Wire, Fields], Iterable[bytes]]


def head_without_end(http2: Http2Wire, fields: Fields) -> bytes:
    return frame(HEADERS, END_STREAM, 1, http2.block(fields))


def again(piece: bytes, count: int = 5_000) -> Attack:
    return lambda http2, fields: [piece] * count


def on_stream(piece: bytes, count: int = 5_000) -> Attack:
    """The same, on a stream that stays open."""
    return lambda http2, fields: [http2.head(1, fields, end=False), *[piece] * count]


def reset_at_once(http2: Http2Wire, fields: Fields) -> Iterable[bytes]:
    for number in range(1, 6_001, 2):
        yield http2.head(number, fields) + reset(number)


def bomb(http2: Http2Wire, fields: Fields) -> Iterable[bytes]:
    """One large field, and then its index, again and again: 4 KB becomes 40 MB."""
    large = ("x-bomb", "a" * 3_900)
    block = http2.block([*fields, large])
    yield frame(HEADERS, END_HEADERS | END_STREAM, 1, block + http2.block([large]) * 10_000)


ATTACKS: dict[str, Attack] = {
    "rapid resets": reset_at_once,
    "a head without an end": lambda h, f: [head_without_end(h, f), *[frame(CONTINUATION, 0, 1, LITERAL * 10)] * 3_000],
    "a head of empty frames": lambda h, f: [head_without_end(h, f), *[frame(CONTINUATION, 0, 1)] * 3_000],
    "a head that grows when it is decoded": bomb,
    "a head of tiny fields": lambda h, f: [frame(HEADERS, 5, 1, h.block(f) + LITERAL * 3_000)],
    "settings": again(settings((4, 65_535))),
    "empty settings": again(settings()),
    "pings": again(frame(PING, 0, 0, bytes(8))),
    "answers to pings": again(frame(PING, ACK, 0, bytes(8))),
    "windows": again(window(0, 1)),
    "windows of a stream": on_stream(window(1, 1)),
    "empty data": on_stream(data(1, b"")),
    "data of padding alone": on_stream(frame(DATA, PADDED, 1, b"\0")),
    "priorities": again(frame(PRIORITY, 0, 3, bytes(5)), 15_000),
    "new priorities": again(frame(PRIORITY_UPDATE, 0, 0, (1).to_bytes(4, "big") + b"u=1")),
    "frames of no known type": again(frame(0x77, 0, 0, b"x"), 15_000),
    "heads on a stream that is over": lambda h, f: [h.head(1, f) + reset(1), *[h.head(1, f) for _ in range(15_000)]],
    "resets of a stream that is over": lambda h, f: [h.head(1, f) + reset(1), *[reset(1)] * 15_000],
}


async def floods(lane: Lane) -> float:
    lines = (await lane.proxy.admin("/metrics"))[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("turnout_http2_floods_total"))


async def send_all(http2: Http2Wire, frames: Iterable[bytes]) -> None:
    """As far as the proxy takes it."""
    batch = []
    try:
        for piece in frames:
            batch.append(piece)
            if len(batch) == BATCH:
                await http2.send(*batch)
                batch.clear()
        await http2.send(*batch)
    except (ConnectionError, TimeoutError):
        return


@pytest.fixture
async def flooded(lane: Lane) -> AsyncIterator[tuple[Lane, Http2Wire, Fields]]:
    """What a flood needs; behind it one was counted, no memory is left taken, and others are served."""
    lane.serve(answer_ok)
    (worker,) = await lane.proxy.workers()
    before, memory = await floods(lane), resident_kib(worker)
    http2 = await connect_http2(lane.proxy.port)
    yield lane, http2, [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", lane.host)]
    http2.close()
    assert await floods(lane) == before + 1
    assert resident_kib(worker) - memory < MAX_GROWTH_KIB
    assert (await lane.ask()).status == 200


Flooded = tuple[Lane, Http2Wire, Fields]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_a_flood_is_ended_by_a_goaway_that_reaches_the_client(flooded: Flooded, attack: Attack) -> None:
    _, http2, fields = flooded
    await send_all(http2, attack(http2, fields))
    found = await http2.read_until(GOAWAY)
    assert found is not None
    assert found.code == ENHANCE_YOUR_CALM
    assert await http2.read_until(GOAWAY) is None


async def test_who_makes_the_proxy_reset_streams_without_end_is_a_flood_too(flooded: Flooded) -> None:
    """CVE-2025-8671: a stream that counts no more, while the work for it goes on."""
    _, http2, fields = flooded
    number, found = 1, Frame(RST_STREAM, 0, 0, b"")
    while found.kind == RST_STREAM and number < 6_001:
        head = http2.head(number, [*fields, ("content-length", "5")], end=False)
        await send_all(http2, [head + data(number, b"x", end=True)])
        found = await http2.read_until(RST_STREAM, GOAWAY) or found
        number += 2
    assert found.kind == GOAWAY
    assert found.code == ENHANCE_YOUR_CALM
    assert number > 1_001


async def test_requests_that_are_given_up_now_and_then_are_no_flood(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", lane.host)]
    for number in range(1, 1_001, 2):
        await http2.send(http2.head(number, fields), reset(number))
    lane.serve(answer_ok)
    await http2.send(http2.head(2_001, fields))
    assert (await http2.read_message(2_001)).status == 200


async def test_a_client_that_reads_nothing_makes_the_proxy_stop_answering_pings(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    (worker,) = await lane.proxy.workers()
    memory = resident_kib(worker)
    await send_all(http2, again(frame(PING, 0, 0, bytes(8)), 100_000)(http2, []))
    assert await http2.read_until(SETTINGS + 100, GOAWAY) is not None
    assert resident_kib(worker) - memory < MAX_GROWTH_KIB


async def test_what_a_flood_had_asked_for_is_dropped_upstream(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", lane.host)]
    await send_all(http2, [http2.head(1, fields)])
    upstream = await lane.accept()
    await upstream.read_request()
    await send_all(http2, [frame(PING, 0, 0, bytes(8))] * 5_000)
    assert await upstream.is_closed()

    async def is_logged() -> bool:
        return bool(await lane.proxy.access(1, host=lane.host, flag="DC"))

    assert await until(is_logged)
