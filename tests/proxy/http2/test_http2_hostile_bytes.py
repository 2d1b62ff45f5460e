"""Bytes at random, and frames and header blocks that are almost right: nothing raises, nothing is told twice, nothing
depends on how the bytes were cut, and what goes on to HTTP/1 is one request that another parser reads alike."""

import contextlib
from collections.abc import Callable
from typing import Any

import h11
import ngh2
from http2_frames import BLOCKS, PREFACE, SETTINGS, STREAMS
from hypothesis import example, given
from hypothesis import strategies as st

from turnout.proxy.http.fields import MalformedError, RefusedError
from turnout.proxy.http1.encode import encode_request
from turnout.proxy.http2.request_head import RequestHeads
from turnout.proxy.http2.response_head import ResponseHeads

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/")]
MAX_OUT_BYTES = 1 << 20
MAX_HEAD_BYTES = 65_536


def run(make_log: Callable[..., Any], server: bool, raw: bytes, sizes: list[int]) -> Any:
    log = make_log(server=server)
    if not server:
        for _ in range(4):
            log.session.open(GET, end=False)
    out = len(log.take())
    at = turn = 0
    while at < len(raw):
        size = sizes[turn % len(sizes)]
        log.feed([raw[at : at + size]])
        out += len(log.take())
        if turn % 3 == 0:
            for stream_id, message in list(log.messages.items()):
                if server and message.ended and message.code is None:
                    log.session.respond(stream_id, [(b":status", b"200")], end=True)
        at, turn = at + size, turn + 1
    assert out < MAX_OUT_BYTES + 20 * len(raw)
    assert log.session.all_queued_bytes() >= 0
    return log


@given(raw=STREAMS, server=st.booleans(), sizes=st.lists(st.integers(1, 5_000), min_size=1, max_size=4))
@example(raw=b"", server=True, sizes=[1])
def test_no_frames_make_a_session_raise(
    make_log: Callable[..., Any], raw: bytes, server: bool, sizes: list[int]
) -> None:
    log = run(make_log, server, (PREFACE if server else b"") + SETTINGS + raw, sizes)
    for message in log.messages.values():
        assert message.fields or message.code is not None or message.interim


@given(raw=STREAMS, server=st.booleans(), size=st.integers(1, 50))
def test_how_bytes_are_cut_changes_nothing(make_log: Callable[..., Any], raw: bytes, server: bool, size: int) -> None:
    """But for the body of a stream that is ended: of that, what came before is told as it comes."""
    raw = (PREFACE if server else b"") + SETTINGS + raw
    logs = [make_log(server=server), make_log(server=server)]
    for log, piece in zip(logs, (len(raw), size), strict=True):
        if not server:
            log.session.open(GET, end=False)
            log.take()
        log.feed([raw[at : at + piece] for at in range(0, len(raw), piece)])
    told = [{number: (m.fields, m.trailers, m.ended) for number, m in log.messages.items() if m.fields} for log in logs]
    whole, cut = told
    if not logs[0].session.ended and not logs[1].session.ended:
        assert whole == cut
    else:  # the fault may be met before what stands before it in the same piece is told
        assert whole.items() <= cut.items() or all(cut[number][0] == whole[number][0] for number in whole)


@given(blocks=st.lists(BLOCKS, min_size=1, max_size=5))
def test_what_passes_to_http_1_is_one_request_that_others_read_alike(
    make_log: Callable[..., Any], blocks: list[bytes]
) -> None:
    log, heads = make_log(server=True), RequestHeads(MAX_HEAD_BYTES)
    log.feed([PREFACE + SETTINGS])
    for at, block in enumerate(blocks):
        block = b"\x82\x86\x84\x41\x06a.test" + block if at % 2 else block
        log.feed([len(block).to_bytes(3, "big") + b"\1\5" + (2 * at + 1).to_bytes(4, "big") + block])
    for message in log.messages.values():
        if message.fields:
            check_request(heads, tuple(message.fields))


NAMES = st.sampled_from([
    b":method", b":scheme", b":path", b":authority", b":protocol", b"host", b"te", b"cookie", b"content-length", b"x-a",
    b"expect", b"x-forwarded-for", b"traceparent", b"authorization", b"content-type",
])  # fmt: skip
VALUES = st.sampled_from([
    b"", b"GET", b"POST", b"CONNECT", b"OPTIONS", b"http", b"https", b"ftp", b"/", b"/a?b", b"*", b"/%00", b"/a/../b",
    b"a.test", b"a.test:80", b"b@a", b"[::1]", b"[::1", b"trailers", b"5", b"0", b"websocket", b"a=b", b"/\xe4",
]) | st.from_regex(rb"[!-~]{0,12}", fullmatch=True)  # fmt: skip


@given(fields=st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_field_lists_that_libnghttp2_lets_pass_are_safe(make_log: Callable[..., Any], fields: Any) -> None:
    """Its own client judges nothing of what it sends, so the server has to."""
    names = {name for name, _ in fields}
    pseudo = [field for field in GET if field[0] not in names]
    ordered = [*pseudo, *sorted(fields, key=lambda field: field[0][:1] != b":")]
    client, log = ngh2.Connection(ngh2.Role.CLIENT), make_log(server=True)
    client.initiate_connection()
    with contextlib.suppress(ngh2.NGH2Error, ValueError):
        client.send_request(ordered, end_stream=True)
        log.feed([client.data_to_send()])
    for message in log.messages.values():
        if message.fields:
            check_request(RequestHeads(MAX_HEAD_BYTES), tuple(message.fields))


def check_request(heads: RequestHeads, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    """A request is refused, or h11 reads it as we did."""
    try:
        head = heads.read(fields, end=True)
    except (MalformedError, RefusedError):
        return
    if head.length:
        return  # a body is to come, which is not there
    raw = encode_request(head, b"", True)
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(raw)
    request = peer.next_event()
    assert isinstance(request, h11.Request), raw
    assert (request.method, request.target) == (head.method, head.target)
    assert [value for name, value in request.headers if name == b"host"] == [head.authority]
    assert isinstance(peer.next_event(), h11.EndOfMessage)
    assert peer.trailing_data == (b"", False)


@given(fields=st.lists(st.tuples(NAMES | st.just(b":status"), VALUES | st.sampled_from([b"200", b"101"])), max_size=8))
def test_answers_of_any_fields_are_read_or_malformed(fields: Any) -> None:
    heads = ResponseHeads(MAX_HEAD_BYTES)
    with contextlib.suppress(MalformedError):
        head = heads.read(((b":status", b"200"), *fields), end=True)
        assert 100 <= head.status <= 599
