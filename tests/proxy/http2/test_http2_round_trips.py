"""Messages between our session and the `h2` library, in both roles, however the bytes are cut."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/x?y=1")]
RESPONSE = [(b":status", b"200")]
NAMES = st.from_regex(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True).map(lambda name: b"x-" + name)
VALUES = st.from_regex(rb"[\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff\t]{0,40}[\x21-\x7e\x80-\xff])?", fullmatch=True)
FIELDS = st.lists(st.tuples(NAMES, VALUES | st.just(b"")), max_size=8)
BODIES = st.binary(max_size=200) | st.integers(0, 100_000).map(lambda size: b"z" * size)
CUTS = st.lists(st.sampled_from([1, 2, 7, 9, 10, 100, 16_384, 100_000]), min_size=1, max_size=4)


@given(fields=FIELDS, body=BODIES, trailers=st.none() | FIELDS.filter(bool), cuts=CUTS)
def test_a_request_comes_as_it_was_sent(
    make_pair: Callable[..., Any], cut_at: Any, fields: Any, body: bytes, trailers: Any, cuts: list[int]
) -> None:
    pair = make_pair(server=True, cut=cut_at(cuts))
    pair.peer.h2.send_headers(1, REQUEST + fields)
    pair.send_from_peer(1, body, trailers)
    message = pair.ours.messages[1]
    assert (message.fields, message.body, message.trailers) == (REQUEST + fields, body, trailers)
    assert message.ended


@given(fields=FIELDS, body=BODIES, trailers=st.none() | FIELDS.filter(bool), cuts=CUTS, interim=st.booleans())
def test_an_answer_comes_as_it_was_sent(
    make_pair: Callable[..., Any], cut_at: Any, fields: Any, body: bytes, trailers: Any, cuts: list[int],
    interim: bool,
) -> None:  # fmt: skip
    pair = make_pair(server=False, cut=cut_at(cuts))
    assert pair.ours.session.open(REQUEST, end=True) == 1
    pair.run()
    hints = [(b":status", b"103"), (b"link", b"</a>")]
    if interim:
        pair.peer.h2.send_headers(1, hints)
    pair.peer.h2.send_headers(1, RESPONSE + fields)
    pair.send_from_peer(1, body, trailers)
    message = pair.ours.messages[1]
    assert (message.fields, message.body, message.trailers) == (RESPONSE + fields, body, trailers)
    assert message.interim == ([hints] if interim else [])
    assert (message.ended, message.code) == (True, 0)


@given(fields=FIELDS, pieces=st.lists(BODIES, max_size=4), trailers=st.none() | FIELDS.filter(bool))
def test_a_request_goes_out_as_it_was_made(
    make_pair: Callable[..., Any], fields: Any, pieces: list[bytes], trailers: Any
) -> None:
    pair = make_pair(server=False)
    session = pair.ours.session
    stream_id = session.open(REQUEST + fields, end=not pieces and trailers is None)
    send_body(session, stream_id, pieces, trailers)
    pair.run()
    message = pair.peer.messages[stream_id]
    assert (message.fields, message.body, message.trailers) == (REQUEST + fields, b"".join(pieces), trailers)
    assert message.ended


@given(fields=FIELDS, pieces=st.lists(BODIES, max_size=4), trailers=st.none() | FIELDS.filter(bool))
def test_an_answer_goes_out_as_it_was_made(
    make_pair: Callable[..., Any], fields: Any, pieces: list[bytes], trailers: Any
) -> None:
    pair = make_pair(server=True)
    pair.peer.h2.send_headers(1, REQUEST, end_stream=True)
    pair.run()
    session = pair.ours.session
    session.send_interim(1, [(b":status", b"100")])
    assert session.respond(1, RESPONSE + fields, end=not pieces and trailers is None)
    send_body(session, 1, pieces, trailers)
    pair.run()
    message = pair.peer.messages[1]
    assert (message.fields, message.body, message.trailers) == (RESPONSE + fields, b"".join(pieces), trailers)
    assert message.interim == [[(b":status", b"100")]]
    assert message.ended
    assert pair.ours.messages[1].code == 0


def send_body(session: Any, stream_id: int, pieces: list[bytes], trailers: Any) -> None:
    for at, piece in enumerate(pieces, 1):
        session.send(stream_id, piece, end=at == len(pieces) and trailers is None)
    if trailers is not None:
        session.send_trailers(stream_id, trailers)


@settings(max_examples=settings.default.max_examples // 3)  # up to eight streams in each
@given(
    messages=st.lists(st.tuples(FIELDS, BODIES), min_size=1, max_size=8),
    order=st.randoms(use_true_random=False),
    cuts=CUTS,
)
def test_streams_do_not_mix(
    make_pair: Callable[..., Any], cut_at: Any, messages: list[Any], order: Any, cuts: list[int]
) -> None:
    pair = make_pair(server=True, cut=cut_at(cuts))
    left = {}
    for at, (fields, body) in enumerate(messages):
        pair.peer.h2.send_headers(2 * at + 1, REQUEST + fields)
        left[2 * at + 1] = body
    while left:
        stream_id = order.choice(sorted(left))
        piece, left[stream_id] = left[stream_id][:5_000], left[stream_id][5_000:]
        sent = pair.peer.send_some(stream_id, piece)
        left[stream_id] = piece[sent:] + left[stream_id]
        if not left[stream_id]:
            pair.peer.h2.end_stream(stream_id)
            del left[stream_id]
        if order.random() < 0.5 or sent < len(piece):
            pair.run()
    pair.run()
    for at, (fields, body) in enumerate(messages):
        message = pair.ours.messages[2 * at + 1]
        assert (message.fields, message.body, message.ended) == (REQUEST + fields, body, True)


def test_a_small_message_is_told_in_one_call(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True)
    pair.peer.h2.send_headers(1, REQUEST)
    pair.peer.h2.send_data(1, b"body")
    pair.peer.h2.send_headers(1, [(b"x-sum", b"7")], end_stream=True)
    pair.peer.h2.send_headers(3, REQUEST)
    pair.peer.h2.send_data(3, b"body", end_stream=True)
    pair.peer.h2.send_headers(5, REQUEST)
    pair.peer.h2.send_headers(5, [(b"x-sum", b"8")], end_stream=True)
    pair.run()
    assert pair.ours.order == ["head 1", "head 3", "head 5"]
    assert [pair.ours.messages[number].trailers for number in (1, 3, 5)] == [
        [(b"x-sum", b"7")],
        None,
        [(b"x-sum", b"8")],
    ]


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1 << 20])
def test_a_body_of_any_size_is_framed_within_the_peers_limit(make_pair: Callable[..., Any], size: int) -> None:
    pair = make_pair(server=True)
    pair.peer.h2.send_headers(1, REQUEST, end_stream=True)
    pair.run()
    pair.ours.session.respond(1, RESPONSE, end=False)
    pair.ours.session.send(1, memoryview(b"x" * size), end=True)
    pair.run()
    assert pair.peer.messages[1].body == b"x" * size
    assert pair.peer.messages[1].ended
