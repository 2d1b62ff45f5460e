"""What is a request: told on with its method, target and body, and another parser reads the same of what goes out."""

import pytest

from turnout.proxy.http1.encode import encode_request

HOST = b"Host: a\r\n\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST
SIZED = b"POST /x HTTP/1.1\r\nContent-Length: %b\r\n" + HOST

ONE_REQUEST = {
    "a plain GET": (b"GET /x HTTP/1.1\r\n" + HOST, b"GET", b"/x", b""),
    "a body of known length": (SIZED % b"3" + b"abc", b"POST", b"/x", b"abc"),
    "a zero length": (b"POST /x HTTP/1.1\r\nContent-Length: 0\r\n" + HOST, b"POST", b"/x", b""),
    "a length with leading zeros": (SIZED % b"003" + b"abc", b"POST", b"/x", b"abc"),
    "a GET with a body": (b"GET /x HTTP/1.1\r\nContent-Length: 3\r\n" + HOST + b"abc", b"GET", b"/x", b"abc"),
    "a body that looks like a request": (
        b"POST /x HTTP/1.1\r\nContent-Length: 19\r\n" + HOST + b"GET /y HTTP/1.1\r\n\r\n", b"POST", b"/x",
        b"GET /y HTTP/1.1\r\n\r\n",
    ),
    "chunks": (
        CHUNKED + b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
        b"POST", b"/x", b"abc0123456789",
    ),
    "no chunk but the last": (CHUNKED + b"0\r\n\r\n", b"POST", b"/x", b""),
    "Chunked in mixed case": (
        b"POST /x HTTP/1.1\r\ntransfer-ENCODING: ChUnKeD\r\n" + HOST + b"1\r\na\r\n0\r\n\r\n", b"POST", b"/x", b"a",
    ),
    "a size with leading zeros": (
        CHUNKED + b"0003\r\nabc\r\n000\r\n\r\n", b"POST", b"/x", b"abc",
    ),
    "chunk extensions": (
        CHUNKED + b'3;a=1;b="2 3"\r\nabc\r\n0 ; c\r\n\r\n', b"POST", b"/x", b"abc",
    ),
    "tabs and no space before values": (b"GET /x HTTP/1.1\r\nHost:a\r\nX-A:\t\t1\r\n\r\n", b"GET", b"/x", b""),
    "space behind a length": (SIZED % b"3 \t" + b"abc", b"POST", b"/x", b"abc"),
    "space behind a coding": (
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked \r\n" + HOST + b"0\r\n\r\n", b"POST", b"/x", b"",
    ),
    "space behind a host": (b"GET /x HTTP/1.1\r\nHost: a \r\n\r\n", b"GET", b"/x", b""),
    "an empty value": (b"GET /x HTTP/1.1\r\nX-A:\r\n" + HOST, b"GET", b"/x", b""),
    "a query": (b"GET /x?a=1&b=/../?&c HTTP/1.1\r\n" + HOST, b"GET", b"/x?a=1&b=/../?&c", b""),
    "an empty query": (b"GET /x? HTTP/1.1\r\n" + HOST, b"GET", b"/x?", b""),
    "dot segments": (b"GET /a/./b/../c HTTP/1.1\r\n" + HOST, b"GET", b"/a/c", b""),
    "escaped dot segments": (b"GET /a/%2e%2E/c HTTP/1.1\r\n" + HOST, b"GET", b"/c", b""),
    "an escaped slash": (b"GET /a%2Fb HTTP/1.1\r\n" + HOST, b"GET", b"/a%2Fb", b""),
    "absolute-form": (b"GET http://a/x?y HTTP/1.1\r\n" + HOST, b"GET", b"/x?y", b""),
    "absolute-form without a path": (b"GET HTTP://A HTTP/1.1\r\n" + HOST, b"GET", b"/", b""),
    "asterisk-form": (b"OPTIONS * HTTP/1.1\r\n" + HOST, b"OPTIONS", b"*", b""),
    "HTTP/1.0 without Host": (b"GET /x HTTP/1.0\r\n\r\n", b"GET", b"/x", b""),
    "HTTP/1.0 with a body": (b"POST /x HTTP/1.0\r\nContent-Length: 3\r\n" + HOST + b"abc", b"POST", b"/x", b"abc"),
    "empty lines before it": (b"\r\n\r\nGET /x HTTP/1.1\r\n" + HOST, b"GET", b"/x", b""),
    "PATCH": (b"PATCH /x HTTP/1.1\r\nContent-Length: 1\r\n" + HOST + b"a", b"PATCH", b"/x", b"a"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "method", "target", "body"), ONE_REQUEST.values(), ids=ONE_REQUEST)
def test_a_request_is_told_on_once_and_reads_the_same_at_the_upstream(
    raw, method, target, body, read_requests, cuttings, forward
):
    for pieces in cuttings(raw):
        log = read_requests(pieces)
        assert log.status is None
        assert [message.ended for message in log.messages] == [True]
        forwarded = forward(log.messages[0])
        assert (*forwarded.start, forwarded.body) == (method, target, body)


@pytest.mark.parametrize(("raw", "method", "target", "body"), ONE_REQUEST.values(), ids=ONE_REQUEST)
def test_pipelined_requests_are_told_on_one_by_one(raw, method, target, body, read_requests, cuttings, forward):
    behind = b"GET /behind HTTP/1.1\r\n" + HOST
    for pieces in cuttings(raw + behind + raw):
        log = read_requests(pieces)
        first, second, third = map(forward, log.complete)
        assert first == third
        assert (*first.start, first.body) == (method, target, body)
        assert second.start == (b"GET", b"/behind")
        assert log.kept_bytes == 0


@pytest.mark.parametrize(("raw", "method", "target", "body"), ONE_REQUEST.values(), ids=ONE_REQUEST)
def test_no_beginning_of_a_request_is_complete_or_refused(raw, method, target, body, read_requests):
    for size in range(len(raw)):
        log = read_requests([raw[:size]])
        assert (log.status, log.complete) == (None, [])


def test_white_space_around_a_value_is_not_part_of_it(read_requests):
    log = read_requests([b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: \t 1  2 \t \r\nX-B: \t\r\n\r\n"])
    assert log.complete[0].head.fields == [(b"x-a", b"1  2"), (b"x-b", b"")]


def test_values_pass_byte_for_byte(read_requests, forward):
    value = bytes(byte for byte in range(0x21, 0x100) if byte != 0x7F)
    log = read_requests([b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: %b\r\n\r\n" % value])
    assert forward(log.complete[0]).fields == [(b"host", b"a"), (b"x-a", value)]


def test_every_character_of_a_token_may_be_in_a_name(read_requests, forward):
    name = b"x!#$%&'*+-.^_`|~09AZaz"
    log = read_requests([b"GET /x HTTP/1.1\r\nHost: a\r\n%b: 1\r\n\r\n" % name])
    assert forward(log.complete[0]).fields == [(b"host", b"a"), (name.lower(), b"1")]


@pytest.mark.parametrize("name", [b"x-a", b"x-forwarded-for", b"x-turnout-a"])
def test_fields_of_one_name_keep_their_order_and_their_number(name, read_requests):
    lines = b"".join(b"%b: %d\r\n" % (name.title() if number % 2 else name, number) for number in range(6))
    head = read_requests([b"GET /x HTTP/1.1\r\nHost: a\r\n%b\r\n" % lines]).complete[0].head
    assert head.fields == [(name, b"%d" % number) for number in range(6)]
    assert head.get(name) == b"0,1,2,3,4,5"


def test_fields_of_one_name_keep_their_order_when_no_name_can_be_learned_any_more(read_requests):
    log = read_requests([b"GET /x HTTP/1.1\r\nHost: a\r\nX-A: 0\r\n\r\n"])
    for number in range(60):
        strange = b"".join(b"x%d-%d: 1\r\n" % (number, field) for field in range(60))
        log.decoder.feed(b"GET /x HTTP/1.1\r\nHost: a\r\n%b\r\n" % strange)
    log.decoder.feed(b"GET /x HTTP/1.1\r\nHost: a\r\nx-a: 1\r\nX-A: 2\r\nx-A: 3\r\nContent-LENGTH: 0\r\n\r\n")
    assert log.complete[-1].head.fields == [(b"x-a", b"1"), (b"x-a", b"2"), (b"x-a", b"3")]


def test_the_authority_is_forwarded_as_host_and_comes_first(read_requests, forward):
    log = read_requests([b"GET http://EXAMPLE.com:8080/x HTTP/1.1\r\nX: 1\r\nHost: example.COM:8080\r\n\r\n"])
    message = log.complete[0]
    assert message.head.host == "example.com"
    assert forward(message).fields[0][0] == b"host"
    assert forward(message).fields[0][1].lower() == b"example.com:8080"


def test_an_http_1_0_request_in_absolute_form_needs_no_host_field(read_requests, forward):
    log = read_requests([b"GET http://b:81/x HTTP/1.0\r\n\r\n"])
    assert log.complete[0].head.host == "b"
    assert forward(log.complete[0]).fields == [(b"host", b"b:81")]


def test_what_goes_out_is_http_1_1_whatever_came_in(read_requests):
    log = read_requests([b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n"])
    assert log.complete[0].head.minor == 0
    assert log.complete[0].encode_pieces(encode_request).startswith(b"GET /x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"Close", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.1", b"close, keep-alive", False),
        (b"1.1", b"x-a", True),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
        (b"1.0", b"keep-alive, close", False),
    ],
)
def test_whether_the_client_wants_to_keep_the_connection(version, connection, keep_alive, read_requests):
    field = b"Connection: %b\r\n" % connection if connection else b""
    log = read_requests([b"GET /x HTTP/%b\r\n%b%b" % (version, field, HOST)])
    assert log.complete[0].head.keep_alive is keep_alive


def test_good_trailers_pass_and_those_that_frame_or_route_do_not(read_requests, cuttings, forward):
    raw = (
        b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
        + HOST
        + b"1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\nHost: b\r\nTE: x\r\nConnection: x\r\nAuthorization: y\r\nx-Last:\t2 \r\n\r\n"
    )
    for pieces in cuttings(raw):
        (message,) = read_requests(pieces).complete
        assert forward(message).trailers == [(b"x-sum", b"1"), (b"x-last", b"2")]
