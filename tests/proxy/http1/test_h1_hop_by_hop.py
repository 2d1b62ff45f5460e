"""Fields that belong to one hop (RFC 9110 §7.6.1, RFC 9112 §9.6), and Upgrade, which is for one hop too (§7.8)."""

import pytest

from turnout.proxy.filters.forwarded import append_forwarded
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.request_id import ensure_request_id


def request(*fields: bytes, body: bytes = b"", method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"%b /x HTTP/%b" % (method, version), b"Host: a", *fields)) + b"\r\n\r\n" + body


@pytest.fixture
def forwarded_fields(read_requests, forward):
    """The fields that an upstream gets of a request, without Host."""

    def get(raw: bytes) -> list[tuple[bytes, bytes]]:
        log = read_requests([raw])
        assert log.status is None, log.failures
        (message,) = log.complete
        return [field for field in forward(message).fields if field[0] != b"host"]

    return get


@pytest.mark.parametrize(
    "fields",
    [
        (b"Connection: x-A , X-b", b"X-a: 1", b"x-B: 2"),
        (b"Connection: x-a", b"Connection: x-b", b"X-a: 1", b"x-B: 2"),
        (b"X-a: 1", b"x-B: 2", b"CONNECTION: ,,x-b,\tX-A,"),
        (b"x-a: 1", b"Connection: close, x-a, x-b", b"X-A: 2", b"x-b: 3"),
    ],
    ids=["a list", "two fields", "named behind, with empty elements", "a field that comes twice"],
)
def test_fields_that_connection_names_stay_here(fields, forwarded_fields):
    assert forwarded_fields(request(*fields, b"X-C: 3")) == [(b"x-c", b"3")]


@pytest.mark.parametrize(
    "name", [b"Keep-Alive", b"Proxy-Connection", b"TE", b"HTTP2-Settings", b"Upgrade", b"Connection"]
)
def test_hop_by_hop_fields_stay_here_named_or_not(name, forwarded_fields):
    assert forwarded_fields(request(b"%b: x" % name, b"X-C: 3")) == [(b"x-c", b"3")]
    assert forwarded_fields(request(b"Connection: %b" % name, b"%b: x" % name, b"X-C: 3")) == [(b"x-c", b"3")]


def test_te_is_not_passed_on(forwarded_fields):
    assert forwarded_fields(request(b"TE: gzip, trailers", b"Connection: TE")) == []


def test_framing_and_host_can_not_be_taken_away_by_naming_them(read_requests, forward):
    named = b"Connection: host, content-length, transfer-encoding"
    (message,) = read_requests([request(named, b"Content-Length: 3", body=b"abc")]).complete
    assert forward(message).fields == [(b"host", b"a"), (b"content-length", b"3")]
    chunks = b"3\r\nabc\r\n0\r\n\r\n"
    (message,) = read_requests([request(named, b"Transfer-Encoding: chunked", body=chunks)]).complete
    assert forward(message).fields == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
    assert forward(message).body == b"abc"


def test_what_the_proxy_adds_itself_can_not_be_taken_away_by_naming_it(read_requests):
    named = b"Connection: x-forwarded-for, x-forwarded-proto, x-request-id"
    theirs = (b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Request-Id: 7")
    for fields in ((named,), (named, *theirs)):
        (message,) = read_requests([request(*fields)]).complete
        peer = Peer(b"127.0.0.2", trusted=False)
        append_forwarded(message.head, peer)
        ensure_request_id(message.head, peer)
        ours = dict(message.head.fields)
        assert ours[b"x-forwarded-for"] == b"127.0.0.2"
        assert ours[b"x-forwarded-proto"] == b"http"
        assert len(ours[b"x-request-id"]) == 32
        assert len(message.head.fields) == 3


def test_fields_that_connection_names_stay_here_in_trailers_too(read_requests, cuttings, forward):
    chunks = b"1\r\na\r\n0\r\nX-A: 1\r\nx-b: 2\r\n\r\n"
    for pieces in cuttings(request(b"Connection: x-a", b"Transfer-Encoding: chunked", body=chunks)):
        (message,) = read_requests(pieces).complete
        assert forward(message).trailers == [(b"x-b", b"2")]


def test_what_connection_names_in_one_request_is_not_named_in_the_next(read_requests, forward):
    first = request(b"Connection: x-a", b"X-A: 1")
    second = request(b"Transfer-Encoding: chunked", body=b"1\r\na\r\n0\r\nX-A: 2\r\n\r\n")
    message = read_requests([first + second]).complete[-1]
    assert forward(message).trailers == [(b"x-a", b"2")]


def test_what_only_looks_like_hop_by_hop_passes(forwarded_fields):
    fields = [(b"x-connection", b"close"), (b"x_under", b"1"), (b"range", b"bytes=0-1"), (b"trailer", b"x-sum")]
    assert forwarded_fields(request(*(b": ".join(field) for field in fields))) == fields


def test_close_speaks_of_this_connection_only(read_requests, forward):
    (message,) = read_requests([request(b"Connection: close")]).complete
    assert not message.head.keep_alive
    assert forward(message).fields == [(b"host", b"a")]


# Upgrade


@pytest.mark.parametrize(
    "fields",
    [
        (b"Connection: Upgrade", b"Upgrade: websocket"),
        (b"Connection: keep-alive, UPGRADE", b"Upgrade: WebSocket"),
        (b"Connection: upgrade", b"Upgrade: h2c, websocket"),
        (b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 0"),
    ],
    ids=["plain", "mixed case", "a list", "with a zero length"],
)
def test_an_upgrade_to_websocket_is_asked_of_the_upstream(fields, read_requests, forward):
    (message,) = read_requests([request(*fields, b"Sec-WebSocket-Key: k")]).complete
    got = forward(message).fields
    assert [value for name, value in got if name == b"upgrade"] == [b"websocket"]
    assert [value for name, value in got if name == b"connection"] == [b"upgrade"]
    assert (b"sec-websocket-key", b"k") in got


@pytest.mark.parametrize(
    "fields",
    [
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
        (b"Connection: Upgrade", b"Upgrade: TLS/1.0"),
        (b"Connection: Upgrade",),
        (b"Upgrade: websocket",),
        (b"Connection: x", b"Upgrade: websocket"),
    ],
    ids=["h2c", "TLS", "to nothing", "not in Connection", "something else in Connection"],
)
def test_other_upgrades_are_ignored_and_the_request_goes_on(fields, forwarded_fields):
    assert forwarded_fields(request(*fields, b"X-C: 3")) == [(b"x-c", b"3")]


def test_http_1_0_can_not_upgrade(forwarded_fields):
    assert forwarded_fields(request(b"Connection: Upgrade", b"Upgrade: websocket", version=b"1.0")) == []


@pytest.mark.parametrize(
    ("framing", "raw_body"),
    [
        (b"Content-Length: 31", b"GET /y HTTP/1.1\r\nHost: evil\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
    ],
    ids=["of known length", "in chunks"],
)
def test_an_upgrade_with_a_body_is_a_plain_request_and_its_body_is_no_request(
    framing, raw_body, read_requests, cuttings, forward
):
    raw = request(b"Connection: upgrade", b"Upgrade: websocket", framing, body=raw_body) + request(b"X-Second: 1")
    for pieces in cuttings(raw):
        first, second = read_requests(pieces).complete
        assert first.head.upgrade == b""
        assert forward(first).body in raw_body
        assert not {b"upgrade", b"connection"} & {name for name, _ in forward(first).fields}
        assert second.head.fields == [(b"x-second", b"1")]
