"""A real proxy against the table of what a server must refuse or bear (RFC 9113, RFC 7541)."""

import pytest
from actors.http2_cases import CASES, FIRST, Case
from actors.http2_wire import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Frame,
    Http2Wire,
    connect_http2,
    frame,
    reset,
    settings,
    window,
)
from actors.lane import Lane, answer_ok
from actors.wire import Fields

MAX_STREAMS = 1_024
REFUSED_STREAM = 7
NEXT = 101
"""A stream beyond all of the cases."""


def fields_for(lane: Lane, method: str = "GET") -> Fields:
    return [(":method", method), (":scheme", "http"), (":path", "/"), (":authority", lane.host)]


async def come_to(state: str, http2: Http2Wire, lane: Lane) -> None:
    """Bring stream 1 to where the case begins."""
    if state == "idle":
        return
    await http2.send(http2.head(FIRST, fields_for(lane, "POST"), end=state in ("asked", "answered")))
    if state == "reset":
        await http2.send(reset(FIRST))
    elif state == "answered":
        assert (await http2.read_message(FIRST)).status == 200


async def find_answer(http2: Http2Wire) -> Frame | None:
    """The frame that refuses; None if none came. The answer to a PING may overtake others of its turn, so there are
    two."""
    answer = None
    for payload in (b"the end?", b"really??"):
        if answer is None or answer.kind == RST_STREAM:
            await http2.send(frame(PING, 0, 0, payload))
        while (found := await http2.read_until(RST_STREAM, GOAWAY, PING)) is not None:
            if found.kind == PING and found.payload == payload:
                break
            if found.kind != PING:
                answer = answer or found
            if found.kind == GOAWAY:
                return answer
    return answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_frame_is_answered_by_the_rule(lane: Lane, case: Case) -> None:
    if case.state != "asked":
        lane.serve(answer_ok)
    http2 = await connect_http2(lane.proxy.port)
    await come_to(case.state, http2, lane)
    await http2.send(case.build(http2, fields_for(lane)))
    answer = await find_answer(http2)
    if case.answer == "ignored":
        assert answer is None
    else:
        kinds = {"connection": [GOAWAY], "stream": [RST_STREAM]}.get(case.answer, [GOAWAY, RST_STREAM])
        assert answer is not None
        assert answer.kind in kinds
        assert answer.code in case.codes
    if answer is not None and answer.kind == GOAWAY:
        assert await http2.read_until() is None
    elif case.state != "asked":
        await http2.send(http2.head(NEXT, fields_for(lane)))
        assert (await http2.read_message(NEXT)).status == 200
    http2.close()


# What is more than one frame and its answer


async def test_settings_are_the_first_frame_of_the_proxy_and_those_of_the_client_are_acknowledged(lane: Lane) -> None:
    http2 = Http2Wire(await lane.connect())
    await http2.send(PREFACE, settings((INITIAL_WINDOW_SIZE, 100)))
    first = await http2.read()
    assert first is not None
    assert (first.kind, first.flags, first.stream) == (SETTINGS, 0, 0)
    while (found := await http2.read()) is not None and (found.kind, found.flags) != (SETTINGS, ACK):
        pass
    assert found == Frame(SETTINGS, ACK, 0, b"")


@pytest.mark.parametrize(
    "start",
    [
        b"INVALID CONNECTION PREFACE\r\n\r\n",
        PREFACE[:-3] + b"XX\r\n\r\n" + settings(),
        PREFACE + frame(PING, 0, 0, bytes(8)),
        PREFACE + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        PREFACE + frame(SETTINGS, ACK),
    ],
)
async def test_a_preface_that_is_none_ends_the_connection(lane: Lane, start: bytes) -> None:
    wire = await lane.connect()
    await wire.send(start)
    rest = await wire.read_rest()
    assert b" 200 " not in rest
    assert lane.saw_nothing()


async def test_a_ping_comes_back_as_it_is(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    await http2.send(frame(PING, 0, 0, b"payload!"))
    assert await http2.read_until(PING) == Frame(PING, ACK, 0, b"payload!")


async def test_more_streams_than_are_allowed_end_the_connection_of_who_knows(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    await http2.send(*[http2.head(number, fields_for(lane)) for number in range(1, 2 * MAX_STREAMS + 2, 2)])
    found = await http2.read_until(RST_STREAM, GOAWAY)
    assert found is not None
    assert (found.kind, found.code) == (GOAWAY, 1)


async def test_more_streams_than_are_allowed_are_refused_to_who_cannot_know_yet(lane: Lane) -> None:
    lane.serve(answer_ok)
    http2 = Http2Wire(await lane.connect())
    heads = [http2.head(number, fields_for(lane)) for number in range(1, 2 * MAX_STREAMS + 2, 2)]
    await http2.send(PREFACE, settings(), *heads)
    found = await http2.read_until(RST_STREAM, GOAWAY)
    assert found is not None
    assert (found.kind, found.stream, found.code) == (RST_STREAM, 2 * MAX_STREAMS + 1, REFUSED_STREAM)
    await http2.read_ends(MAX_STREAMS)
    await http2.send(http2.head(2 * MAX_STREAMS + 3, fields_for(lane)))
    assert (await http2.read_message(2 * MAX_STREAMS + 3)).status == 200


async def test_no_more_is_sent_than_the_window_has_room_for(lane: Lane) -> None:
    lane.serve(answer_ok)
    http2 = await connect_http2(lane.proxy.port, (INITIAL_WINDOW_SIZE, 1))
    await http2.send(http2.head(FIRST, fields_for(lane)))
    found = await http2.read_until(DATA)
    assert found is not None
    assert (found.payload, found.ends) == (b"o", False)
    await http2.send(window(FIRST, 1))
    assert await http2.read_until(DATA) == Frame(DATA, END_STREAM, FIRST, b"k")


async def test_a_new_initial_window_holds_for_streams_that_are_open(lane: Lane) -> None:
    lane.serve(answer_ok)
    http2 = await connect_http2(lane.proxy.port, (INITIAL_WINDOW_SIZE, 0))
    await http2.send(http2.head(FIRST, fields_for(lane)))
    assert await http2.read_until(HEADERS) is not None
    await http2.send(settings((INITIAL_WINDOW_SIZE, 1)))
    assert await http2.read_until(DATA) == Frame(DATA, 0, FIRST, b"o")


async def test_a_window_may_become_negative_and_is_counted_so(lane: Lane) -> None:
    lane.serve(answer_ok)
    http2 = await connect_http2(lane.proxy.port, (INITIAL_WINDOW_SIZE, 1))
    await http2.send(http2.head(FIRST, fields_for(lane)))
    assert await http2.read_until(DATA) == Frame(DATA, 0, FIRST, b"o")
    await http2.send(settings((INITIAL_WINDOW_SIZE, 0)), window(FIRST, 1), frame(PING, 0, 0, bytes(8)))
    found = await http2.read_until(DATA, PING)
    assert found is not None
    assert found.kind == PING
    await http2.send(window(FIRST, 1))
    assert await http2.read_until(DATA) == Frame(DATA, END_STREAM, FIRST, b"k")


async def test_of_a_setting_that_comes_twice_the_last_holds(lane: Lane) -> None:
    lane.serve(answer_ok)
    http2 = await connect_http2(lane.proxy.port, (INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1))
    await http2.send(http2.head(FIRST, fields_for(lane)))
    found = await http2.read_until(DATA)
    assert found is not None
    assert found.payload == b"o"


async def test_an_unknown_error_code_in_goaway_is_no_reason_to_end_what_is_under_way(lane: Lane) -> None:
    lane.serve(answer_ok)
    http2 = await connect_http2(lane.proxy.port)
    await http2.send(http2.head(FIRST, fields_for(lane)), frame(GOAWAY, 0, 0, bytes(4) + b"\0\0\1\1"))
    assert (await http2.read_message(FIRST)).body == b"ok"
