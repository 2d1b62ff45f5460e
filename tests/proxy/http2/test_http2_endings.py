"""How streams and connections end: resets, the GOAWAY of both sides, and what may still come behind them."""

from collections.abc import Callable
from typing import Any

import pytest

from turnout.proxy.http2.session import Error

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
RESPONSE = [(b":status", b"200")]
HEADERS, PING, GOAWAY = 1, 6, 7


def ask(pair: Any, stream_id: int) -> None:
    pair.peer.h2.send_headers(stream_id, REQUEST, end_stream=True)
    pair.run()


@pytest.mark.parametrize("code", [0, 2, 5, 7, 8, 11, 0xFFFF])
def test_a_reset_of_the_peer_closes_the_stream_with_its_code(make_pair: Callable[..., Any], code: int) -> None:
    pair = make_pair(server=True)
    ask(pair, 1)
    pair.peer.h2.reset_stream(1, code)
    pair.run()
    assert pair.ours.messages[1].code == code


@pytest.mark.parametrize("code", [Error.CANCEL, Error.INTERNAL_ERROR, Error.REFUSED_STREAM])
def test_our_reset_reaches_the_peer_and_closes_the_stream(make_pair: Callable[..., Any], code: Error) -> None:
    pair = make_pair(server=False)
    pair.ours.session.open(REQUEST, end=False)
    pair.ours.session.reset(1, code)
    pair.run()
    assert pair.ours.messages[1].code == code


def test_no_interim_head_is_sent_behind_the_answers(make_pair: Callable[..., Any]) -> None:
    """It would make the whole answer malformed (RFC 9113 §8.1)."""
    pair = make_pair(server=True)
    ask(pair, 1)
    pair.ours.session.respond(1, RESPONSE, end=False)
    pair.ours.session.send_interim(1, [(b":status", b"103")])
    pair.ours.session.send(1, b"body", end=True)
    pair.run()
    message = pair.peer.messages[1]
    assert (message.interim, message.body, message.ended) == ([], b"body", True)


def test_what_is_sent_to_a_stream_that_is_over_is_dropped(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True)
    ask(pair, 1)
    pair.peer.h2.reset_stream(1)
    pair.run()
    session = pair.ours.session
    assert not session.respond(1, RESPONSE, end=False)
    session.send_interim(1, [(b":status", b"103")])
    session.send(1, b"late", end=False)
    session.send_trailers(1, [(b"x-a", b"1")])
    session.reset(1, Error.CANCEL)
    assert pair.ours.take() == b""
    ask(pair, 3)
    assert pair.ours.messages[3].ended


def frames_of(data: bytes) -> list[tuple[int, int, bytes]]:
    """Type, stream and payload of each."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def test_a_shutdown_is_announced_and_then_done_and_what_came_between_is_served(make_pair: Callable[..., Any]) -> None:
    """The peer is only asked for bytes from the GOAWAY on: `h2` ends with it, and RFC 9113 §6.8 does not."""
    pair = make_pair(server=True)
    ours, session = pair.ours, pair.ours.session
    ask(pair, 1)
    session.announce_shutdown()
    announced = {kind: payload for kind, _, payload in frames_of(ours.take())}
    assert announced[GOAWAY] == b"\x7f\xff\xff\xff" + bytes(4)
    pair.peer.h2.send_headers(3, REQUEST, end_stream=True)  # on its way when the GOAWAY was
    ours.feed([pair.peer.h2.data_to_send(), b"\0\0\x08\6\1\0\0\0\0" + announced[PING]])
    assert ours.pings == 1
    session.shut_down()
    assert (GOAWAY, 0, (3).to_bytes(4, "big") + bytes(4)) in frames_of(ours.take())
    pair.peer.h2.send_headers(5, REQUEST, end_stream=True)
    ours.feed([pair.peer.h2.data_to_send()])
    assert 5 not in ours.messages
    for stream_id in (1, 3):
        assert session.respond(stream_id, RESPONSE, end=True)
    assert [(kind, stream) for kind, stream, _ in frames_of(ours.take())] == [(HEADERS, 1), (HEADERS, 3)]
    assert session.ended


def test_a_goaway_of_the_peer_lets_nothing_new_go_there(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=False)
    session = pair.ours.session
    assert (session.open(REQUEST, end=True), session.open(REQUEST, end=True)) == (1, 3)
    pair.run()
    pair.peer.h2.close_connection(last_stream_id=1)
    pair.ours.feed([pair.peer.h2.data_to_send()])
    assert pair.ours.goaways == [(1, 0)]
    assert pair.ours.messages[3].code == Error.REFUSED_STREAM
    assert 1 not in pair.ours.messages  # it may be answered yet
    assert not session.may_open
    assert session.open(REQUEST, end=True) == 0


def test_a_goaway_of_the_peer_is_no_flood_whatever_its_code(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True)
    pair.peer.h2.close_connection(error_code=Error.ENHANCE_YOUR_CALM)
    pair.run()
    assert pair.ours.abuses == []


def test_terminating_says_why_and_is_the_end(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True)
    ask(pair, 1)
    pair.ours.session.terminate(Error.ENHANCE_YOUR_CALM)
    last = pair.ours.take()
    assert last[-8:] == (1).to_bytes(4, "big") + (11).to_bytes(4, "big")
    assert pair.ours.session.ended
    pair.ours.feed([b"whatever"])
    assert pair.ours.take() == b""


def test_what_was_to_be_sent_is_let_go_with_the_connection(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True, slow_peer=True)
    ask(pair, 1)
    session = pair.ours.session
    session.respond(1, RESPONSE, end=False)
    session.send(1, bytes(100_000), end=True)
    pair.run()
    assert session.all_queued_bytes() > 0
    session.terminate(Error.ENHANCE_YOUR_CALM)
    assert not session.ended
    assert (session.all_queued_bytes(), session.queued_bytes(1)) == (0, 0)


@pytest.mark.parametrize("server", [True, False])
def test_bytes_that_are_no_frames_get_a_goaway(make_log: Callable[..., Any], server: bool) -> None:
    log = make_log(server=server)
    log.take()
    log.feed([b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"])
    last = log.take()
    assert log.session.ended
    if not server:
        assert last[3] == 7


def test_a_client_never_gets_more_streams_than_the_peer_allows(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=False)
    pair.peer.h2.update_settings({3: 2})
    pair.run()
    assert pair.ours.session.peer_max_streams == 2
    for _ in range(3):
        pair.ours.session.open(REQUEST, end=True)
    pair.run()
    assert sum(bool(message.fields) for message in pair.peer.messages.values()) == 2


@pytest.mark.parametrize("value", [0, 1])
def test_whether_the_peer_takes_tunnels_is_known_from_its_settings(make_pair: Callable[..., Any], value: int) -> None:
    pair = make_pair(server=False)
    pair.peer.h2.update_settings({8: value})
    pair.run()
    assert pair.ours.session.peer_takes_tunnels == bool(value)


def test_a_server_says_that_it_takes_tunnels(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True)
    assert pair.peer.h2.remote_settings.enable_connect_protocol == 1


def test_pushes_are_refused(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=False, validate=False)
    pair.ours.session.open(REQUEST, end=True)
    pair.run()
    block = b"\x82\x86\x84\x41\x01a"
    pair.ours.feed([(len(block) + 4).to_bytes(3, "big") + b"\5\4\0\0\0\1\0\0\0\2" + block])
    assert pair.ours.take()[-4:] == (1).to_bytes(4, "big") or pair.ours.session.ended


PING_FRAME = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)


def test_an_answer_in_front_of_a_flood_in_the_same_bytes_is_told(make_pair: Callable[..., Any]) -> None:
    """The library gives up within these bytes; what it had read by then is whole."""
    pair = make_pair(server=False)
    session = pair.ours.session
    assert (session.open(REQUEST, end=True), session.open(REQUEST, end=True)) == (1, 3)
    pair.run()
    pair.peer.h2.send_headers(1, RESPONSE)
    pair.peer.h2.send_data(1, b"whole", end_stream=True)
    pair.peer.h2.send_headers(3, RESPONSE)
    pair.ours.feed([pair.peer.h2.data_to_send() + PING_FRAME * 1_100])
    answer, begun = pair.ours.messages[1], pair.ours.messages[3]
    assert (answer.fields, answer.body, answer.ended, answer.code) == (RESPONSE, b"whole", True, 0)
    assert (begun.fields, begun.ended, begun.code) == (RESPONSE, False, None)
    assert (session.ended, len(pair.ours.abuses)) == (True, 1)
    assert pair.ours.take()[-4:] == (11).to_bytes(4, "big")


def test_empty_frames_in_front_of_a_flood_are_no_second_one(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=False)
    assert pair.ours.session.open(REQUEST, end=True) == 1
    pair.run()
    pair.peer.h2.send_headers(1, RESPONSE)
    pair.ours.feed([pair.peer.h2.data_to_send() + b"\0\0\0\0\0\0\0\0\1" * 3_000 + PING_FRAME * 1_100])
    assert pair.ours.session.ended
    assert pair.ours.take()[-4:] == (11).to_bytes(4, "big")


def test_requests_in_front_of_a_flood_in_the_same_bytes_are_not_begun(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True)
    pair.peer.h2.send_headers(1, REQUEST, end_stream=True)
    pair.ours.feed([pair.peer.h2.data_to_send() + PING_FRAME * 1_100])
    assert (pair.ours.order, pair.ours.session.ended) == ([], True)
