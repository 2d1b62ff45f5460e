"""What one read of a connection brings is told message by message: a head waits for what follows of it in the same
bytes, and no longer."""

from collections.abc import Callable
from typing import Any

import pytest

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
TRAILERS = [(b"grpc-status", b"0")]
WINDOW_UPDATE = b"\0\0\4\x08\0\0\0\0\0" + b"\0\0\0\1"


@pytest.fixture
def pair(make_pair: Callable[..., Any]) -> Any:
    """A client, and our session, which is a server."""
    return make_pair(server=True)


def test_messages_whose_frames_alternate_are_one_event_each(pair: Any) -> None:
    for stream_id in (1, 3, 5):
        pair.peer.h2.send_headers(stream_id, REQUEST)
    for stream_id in (3, 1, 5):
        pair.peer.h2.send_data(stream_id, b"%d" % stream_id, end_stream=stream_id == 3)
    for stream_id in (1, 5):
        pair.peer.h2.send_headers(stream_id, TRAILERS, end_stream=True)
    pair.run()
    assert pair.ours.order == ["head 3", "head 1", "head 5"]
    messages = pair.ours.messages
    assert [messages[number].body for number in (1, 3, 5)] == [b"1", b"3", b"5"]
    assert [messages[number].trailers for number in (1, 3, 5)] == [TRAILERS, None, TRAILERS]


def test_a_head_does_not_wait_for_the_next_read(pair: Any) -> None:
    pair.peer.h2.send_headers(1, REQUEST)
    pair.peer.h2.send_headers(3, REQUEST)
    pair.peer.h2.send_data(3, b"some")
    pair.run()
    assert pair.ours.order == ["head 1", "head 3"]
    assert (pair.ours.messages[3].body, pair.ours.messages[3].ended) == (b"some", False)
    pair.peer.h2.send_data(1, b"all", end_stream=True)
    pair.peer.h2.send_headers(3, TRAILERS, end_stream=True)
    pair.run()
    assert pair.ours.order[2:] == ["data 1", "trailers 3"]


def test_of_several_pieces_the_first_comes_with_the_head(pair: Any) -> None:
    pair.peer.h2.send_headers(1, REQUEST)
    for piece in (b"a", b"b", b"c"):
        pair.peer.h2.send_data(1, piece, end_stream=piece == b"c")
    pair.run()
    assert pair.ours.order == ["head 1", "data 1", "data 1"]
    assert pair.ours.messages[1].body == b"abc"


def test_a_head_is_told_before_the_end_of_its_stream(pair: Any) -> None:
    pair.peer.h2.send_headers(1, REQUEST)
    pair.peer.h2.send_data(1, b"some")
    pair.peer.h2.reset_stream(1, 8)
    pair.run()
    message = pair.ours.messages[1]
    assert (message.body, message.ended, message.code) == (b"some", False, 8)


def test_what_came_with_a_flood_is_not_begun(pair: Any) -> None:
    pair.peer.h2.send_headers(1, REQUEST)
    pair.ours.feed([pair.peer.h2.data_to_send() + WINDOW_UPDATE * 2_100])
    assert (pair.ours.order, pair.ours.abuses) == ([], ["control frames"])


@pytest.mark.parametrize("trailers", [[], TRAILERS])
def test_a_whole_answer_is_what_its_parts_would_be(pair: Any, trailers: list[tuple[bytes, bytes]]) -> None:
    pair.peer.h2.send_headers(1, REQUEST, end_stream=True)
    pair.run()
    pair.ours.session.respond_whole(1, [(b":status", b"200")], b"body", trailers)
    pair.run()
    answer = pair.peer.messages[1]
    assert (answer.fields, answer.body, answer.ended) == ([(b":status", b"200")], b"body", True)
    assert (answer.trailers or []) == trailers
