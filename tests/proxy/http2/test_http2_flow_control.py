"""Windows: a stream whose reader waits stalls itself alone, and every byte is given back, whatever becomes of it."""

from collections.abc import Callable
from typing import Any

import pytest

from turnout.proxy.http2.session import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, Error

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
RESPONSE = [(b":status", b"200")]


def fill(pair: Any, stream_id: int) -> int:
    """Send on a stream as much as its window has room for."""
    sent = 0
    while more := pair.peer.send_some(stream_id, bytes(65_536)):
        sent += more
        pair.run()
    return sent


def test_a_stalled_stream_stalls_itself_alone(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True, slow=True)
    for stream_id in (1, 3):
        pair.peer.h2.send_headers(stream_id, REQUEST)
    assert fill(pair, 1) == STREAM_WINDOW_BYTES
    assert fill(pair, 3) == STREAM_WINDOW_BYTES
    pair.ours.session.acknowledge(3, STREAM_WINDOW_BYTES)
    pair.run()
    assert fill(pair, 3) == STREAM_WINDOW_BYTES
    assert fill(pair, 1) == 0


def test_the_connections_window_is_that_of_many_streams_and_no_more(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True, slow=True)
    streams = range(1, 2 * (CONNECTION_WINDOW_BYTES // STREAM_WINDOW_BYTES) + 3, 2)
    for stream_id in streams:
        pair.peer.h2.send_headers(stream_id, REQUEST)
    assert sum(fill(pair, stream_id) for stream_id in streams) == CONNECTION_WINDOW_BYTES
    assert not pair.ours.session.ended


@pytest.mark.parametrize("who", ["we", "the peer"])
def test_what_came_on_a_stream_that_was_reset_is_given_back(make_pair: Callable[..., Any], who: str) -> None:
    """Else the connection's window would get smaller, stream by stream, until all stand still."""
    pair = make_pair(server=True, slow=True)
    before = pair.peer.h2.outbound_flow_control_window
    for stream_id in range(1, 2 * 2 * CONNECTION_WINDOW_BYTES // STREAM_WINDOW_BYTES, 2):
        pair.peer.h2.send_headers(stream_id, REQUEST)
        assert fill(pair, stream_id) == STREAM_WINDOW_BYTES
        if who == "we":
            pair.ours.session.reset(stream_id, Error.CANCEL)
        else:
            pair.peer.h2.reset_stream(stream_id)
        pair.run()
        pair.ours.session.acknowledge(stream_id, STREAM_WINDOW_BYTES)
        pair.run()
        if pair.ours.abuses:
            pytest.fail("taken for a flood")
    assert pair.peer.h2.outbound_flow_control_window > before / 2


def test_what_comes_behind_our_reset_is_given_back_by_itself(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True, slow=True)
    before = pair.peer.h2.outbound_flow_control_window
    for stream_id in range(1, 2 * 2 * CONNECTION_WINDOW_BYTES // STREAM_WINDOW_BYTES, 2):
        pair.peer.h2.send_headers(stream_id, REQUEST)
        pair.ours.feed([pair.peer.h2.data_to_send()])
        pair.ours.session.reset(stream_id, Error.CANCEL)
        out = pair.ours.take()
        assert pair.peer.send_some(stream_id, bytes(STREAM_WINDOW_BYTES)) == STREAM_WINDOW_BYTES
        pair.ours.feed([pair.peer.h2.data_to_send()])
        pair.peer.receive(out)
        pair.run()
        assert pair.ours.messages[stream_id].body == b""
    assert pair.peer.h2.outbound_flow_control_window > before / 2


def test_padding_is_given_back_by_itself(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True)
    pair.peer.h2.send_headers(1, REQUEST)
    for _ in range(4 * STREAM_WINDOW_BYTES // 256):
        pair.peer.h2.send_data(1, b"x", pad_length=255)
        pair.run()
    assert len(pair.ours.messages[1].body) == 4 * STREAM_WINDOW_BYTES // 256
    assert not pair.ours.session.ended


def test_what_the_peer_does_not_take_waits_and_is_counted(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True, slow_peer=True)
    pair.peer.h2.send_headers(1, REQUEST, end_stream=True)
    pair.peer.h2.send_headers(3, REQUEST, end_stream=True)
    pair.run()
    session = pair.ours.session
    session.respond(1, RESPONSE, end=False)
    session.send(1, bytes(100_000), end=True)
    pair.run()
    assert len(pair.peer.messages[1].body) == 65_535
    assert session.queued_bytes(1) == session.all_queued_bytes() == 100_000 - 65_535
    session.reset(1, Error.CANCEL)
    pair.run()
    assert session.all_queued_bytes() == 0
    pair.peer.h2.acknowledge_received_data(65_535, 1)  # the connection's window alone is left
    session.respond(3, RESPONSE, end=False)
    session.send(3, b"ok", end=True)
    pair.run()
    assert (pair.peer.messages[3].body, pair.peer.messages[3].ended) == (b"ok", True)


def test_acknowledging_more_than_came_breaks_nothing(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True, slow=True)
    pair.peer.h2.send_headers(1, REQUEST)
    pair.peer.h2.send_data(1, b"body")
    pair.run()
    pair.ours.session.acknowledge(1, 1 << 30)
    pair.ours.session.acknowledge(99, 10)
    pair.run()
    assert not pair.ours.session.ended
