"""What must not become a request (RFC 9112, RFC 9110): refused with the right status, and nothing of it is told on."""

import pytest

NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes, line: bytes = b"POST /x HTTP/1.1") -> bytes:
    return b"\r\n".join((line, b"Host: a", *lines)) + b"\r\n\r\n"


def line(request_line: bytes) -> bytes:
    return head(line=request_line)


def chunked(body: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked") + body


LENGTHS = {
    "both Content-Length and Transfer-Encoding": head(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n",
    "both, the other way round": head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n",
    "both, with a zero length": head(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "two lengths that differ": head(b"Content-Length: 3", b"Content-Length: 5") + b"abcde",
    "two lengths that agree": head(b"Content-Length: 3", b"content-length: 3") + b"abc",
    "a list of lengths": head(b"Content-Length: 3, 3") + b"abc",
    "an empty length": head(b"Content-Length:"),
    "a length with a sign": head(b"Content-Length: +3") + b"abc",
    "a negative length": head(b"Content-Length: -3"),
    "a hexadecimal length": head(b"Content-Length: 0x3") + b"abc",
    "a fraction": head(b"Content-Length: 3.0") + b"abc",
    "an exponent": head(b"Content-Length: 3e0") + b"abc",
    "a space within": head(b"Content-Length: 1 2") + b"a" * 12,
    "an underscore within": head(b"Content-Length: 1_2") + b"a" * 12,
    "a digit of another alphabet": head(b"Content-Length: \xc2\xb2") + b"ab",
    "a length beyond 64 bits": head(b"Content-Length: 18446744073709551619") + b"abc",
    "a length beyond 63 bits": head(b"Content-Length: 9223372036854775808"),
    "a quoted length": head(b'Content-Length: "3"') + b"abc",
}

CODINGS = {
    "an unknown coding": head(b"Transfer-Encoding: cow") + SMUGGLED,
    "identity": head(b"Transfer-Encoding: identity"),
    "a coding before chunked": head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "chunked is not the last": head(b"Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n",
    "chunked twice in a list": head(b"Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "chunked in two fields": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "identity, then chunked": head(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked with a parameter": head(b"Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n",
    "chunked in quotes": head(b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n",
    "an empty element before": head(b"Transfer-Encoding: ,chunked") + b"0\r\n\r\n",
    "an empty coding": head(b"Transfer-Encoding:"),
    "a vertical tab before it": head(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "a control byte after it": head(b"Transfer-Encoding: chunked\x01") + b"0\r\n\r\n",
    "a no-break space after it": head(b"Transfer-Encoding: chunked\xa0") + b"0\r\n\r\n",
    "a longer word": head(b"Transfer-Encoding: chunkedchunked") + b"0\r\n\r\n",
    "a shorter word": head(b"Transfer-Encoding: chunke") + b"0\r\n\r\n",
    "chunked in HTTP/1.0": head(b"Transfer-Encoding: chunked", line=b"POST /x HTTP/1.0") + b"0\r\n\r\n",
}

FIELDS = {
    "a space before the colon": head(b"X-A : 1"),
    "a tab before the colon": head(b"Content-Length\t: 3") + b"abc",
    "a space in a name": head(b"Transfer Encoding: chunked") + b"0\r\n\r\n",
    "a control byte before a name": head(b"\x01Transfer-Encoding: chunked"),
    "a control byte behind a name": head(b"Transfer-Encoding\x0b: chunked"),
    "a byte above ASCII in a name": head(b"Transfer-Encoding\xa0: chunked"),
    "a NUL in a name": head(b"X\x00A: 1"),
    "a name that is none": head(b": 1"),
    "a line without a colon": head(b"X-A"),
    "a folded line": head(b"X-A: 1", b" 2"),
    "a folded line with a tab": head(b"X-A: 1", b"\t2"),
    "a folded Transfer-Encoding": head(b"Transfer-Encoding:", b" chunked") + b"0\r\n\r\n",
    "a space before the first field": b"POST /x HTTP/1.1\r\n Host: a\r\n\r\n",
    "a NUL in a value": head(b"X-A: 1\x002"),
    "a control byte in a value": head(b"X-A: 1\x012"),
    "a vertical tab in a value": head(b"X-A: 1\x0bTransfer-Encoding: chunked"),
    "DEL in a value": head(b"X-A: 1\x7f2"),
    "a bare CR in a value": head(b"X-A: 1\rTransfer-Encoding: chunked"),
    "a bare CR at the end of a value": head(b"X-A: 1\r"),
    "a bare LF ends a field": head(b"X-A: 1\nX-B: 2"),
    "a bare LF hides a field": head(b"X-A: 1\nTransfer-Encoding: chunked") + b"0\r\n\r\n",
    "bare LFs everywhere": b"GET /x HTTP/1.1\nHost: a\n\n",
    "a bare LF ends the head": b"GET /x HTTP/1.1\r\nHost: a\r\n\n",
    "a bare LF behind the request line": b"GET /x HTTP/1.1\nHost: a\r\n\r\n",
    "something between the last CR and LF": b"GET /x HTTP/1.1\r\nHost: a\r\n\r \n",
}

HOSTS = {
    "no Host": b"GET /x HTTP/1.1\r\nX-A: 1\r\n\r\n",
    "two Hosts that differ": head(b"Host: b"),
    "two Hosts that agree": head(b"HOST: a"),
    "an empty Host": b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    "a list of hosts with a space": b"GET /x HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "a host with a path": b"GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a host with a user": b"GET /x HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "a port that is none": b"GET /x HTTP/1.1\r\nHost: a:http\r\n\r\n",
    "two ports": b"GET /x HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
    "a bracket that stays open": b"GET /x HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "another host in the target": line(b"GET http://b/x HTTP/1.1"),
    "another port in the target": line(b"GET http://a:81/x HTTP/1.1"),
    "a user in the target": line(b"GET http://a@b/x HTTP/1.1"),
    "an empty host in the target": line(b"GET http:///x HTTP/1.1"),
    "an invalid Host in HTTP/1.0": b"GET /x HTTP/1.0\r\nHost: a b\r\n\r\n",
}

REQUEST_LINES = {
    "no target": line(b"GET HTTP/1.1"),
    "a tab for a space": line(b"GET\t/x\tHTTP/1.1"),
    "a space at the end": line(b"GET /x HTTP/1.1 "),
    "a space in the target": line(b"GET /x y HTTP/1.1"),
    "another request in the target": line(b"GET /x HTTP/1.1 GET /y HTTP/1.1"),
    "a bare CR within": line(b"GET /x\r HTTP/1.1"),
    "a NUL in the target": line(b"GET /x\x00y HTTP/1.1"),
    "a control byte in the target": line(b"GET /x\x01y HTTP/1.1"),
    "a byte above ASCII in the target": line(b"GET /caf\xc3\xa9 HTTP/1.1"),
    "an escaped NUL in the path": line(b"GET /x%00y HTTP/1.1"),
    "a fragment": line(b"GET /x#y HTTP/1.1"),
    "a fragment behind a query": line(b"GET /x?y#z HTTP/1.1"),
    "a backslash": line(b"GET /x\\..\\y HTTP/1.1"),
    "a target without a slash": line(b"GET x HTTP/1.1"),
    "an asterisk without OPTIONS": line(b"GET * HTTP/1.1"),
    "an asterisk and more": line(b"OPTIONS *x HTTP/1.1"),
    "another scheme": line(b"GET ftp://a/x HTTP/1.1"),
    "a method in lower case": line(b"get /x HTTP/1.1"),
    "a method that is none": line(b"G@T /x HTTP/1.1"),
    "a control byte before the method": line(b"\x0bGET /x HTTP/1.1"),
    "http in lower case": line(b"GET /x http/1.1"),
    "a minor version that does not exist": line(b"GET /x HTTP/1.2"),
    "a major version that does not exist": line(b"GET /x HTTP/9.9"),
    "a version without a dot": line(b"GET /x HTTP/11"),
    "a version of three parts": line(b"GET /x HTTP/1.1.1"),
    "a version in words": line(b"GET /x HTTP/one.one"),
    "CONNECT with a path": line(b"CONNECT /x HTTP/1.1"),
    "CONNECT without a port": line(b"CONNECT a HTTP/1.1"),
    "too many empty lines before it": b"\r\n" * 5 + line(b"GET /x HTTP/1.1"),
    "a bare LF before it": b"\n" + line(b"GET /x HTTP/1.1"),
    "a bare CR before it": b"\r" + line(b"GET /x HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
}

CHUNKS = {
    "an empty size": chunked(b"\r\n\r\n"),
    "a size with 0x": chunked(b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a size with a sign": chunked(b"+3\r\nabc\r\n0\r\n\r\n"),
    "a negative size": chunked(b"-1\r\nabc\r\n0\r\n\r\n"),
    "a size that is not hexadecimal": chunked(b"g\r\n\r\n0\r\n\r\n"),
    "a size beyond 64 bits": chunked(b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "a space before the size": chunked(b" 3\r\nabc\r\n0\r\n\r\n"),
    "a space behind the size": chunked(b"3 \r\nabc\r\n0\r\n\r\n"),
    "a size in quotes": chunked(b'"3"\r\nabc\r\n0\r\n\r\n'),
    "an underscore in the size": chunked(b"0_3\r\nabc\r\n0\r\n\r\n"),
    "a bare LF behind the size": chunked(b"3\nabc\r\n0\r\n\r\n"),
    "a bare CR behind the size": chunked(b"3\rabc\r\n0\r\n\r\n"),
    "a bare LF behind an extension": chunked(b"3;x\nabc\r\n0\r\n\r\n"),
    "a NUL in an extension": chunked(b"3;\x00\r\nabc\r\n0\r\n\r\n"),
    "a bare CR in an extension": chunked(b"3;x\ry\r\nabc\r\n0\r\n\r\n"),
    "an extension without end": chunked(b"3;" + b"x" * 5_000),
    "more data than the size says": chunked(b"3\r\nabcd\r\n0\r\n\r\n"),
    "less data than the size says": chunked(b"3\r\nab\r\n0\r\n\r\n"),
    "data and a bare LF": chunked(b"3\r\nabc\n0\r\n\r\n"),
    "data and nothing": chunked(b"3\r\nabc0\r\n\r\n"),
    "two bytes between the data and the line end": chunked(b"3\r\nabcXX0\r\n\r\n"),
    "a bare LF behind the last size": chunked(b"0\n\r\n"),
    "a bare LF as the end": chunked(b"0\r\n\n"),
    "a trailer without a colon": chunked(b"0\r\nX\r\n\r\n"),
    "a trailer with a space before the colon": chunked(b"0\r\nX : 1\r\n\r\n"),
    "a folded trailer": chunked(b"0\r\nX: 1\r\n 2\r\n\r\n"),
    "a control byte in a trailer": chunked(b"0\r\nX: \x01\r\n\r\n"),
    "a NUL in a trailer": chunked(b"0\r\nX: \x00\r\n\r\n"),
    "a bare LF in a trailer": chunked(b"0\r\nX: 1\nY: 2\r\n\r\n"),
    "a request for a trailer": chunked(b"0\r\n" + SMUGGLED),
    "a trailer without end": chunked(b"0\r\n" + b"X: 1\r\n" * 6_000),
}

REFUSED = {**LENGTHS, **CODINGS, **FIELDS, **HOSTS, **REQUEST_LINES, **CHUNKS}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_malformed_requests_are_400_and_no_request_is_ever_complete(raw, read_requests, cuttings):
    for pieces in cuttings(raw):
        log = read_requests(pieces)
        assert (log.status, log.complete) == (400, [])


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_what_comes_behind_a_malformed_request_is_not_read(raw, read_requests, cuttings):
    for pieces in cuttings(raw + NEXT):
        log = read_requests(pieces)
        assert (log.status, log.complete) == (400, [])
        assert log.kept_bytes == 0


HEAD_FAULTS = {**LENGTHS, **CODINGS, **FIELDS, **HOSTS, **REQUEST_LINES}


@pytest.mark.parametrize("raw", HEAD_FAULTS.values(), ids=HEAD_FAULTS)
def test_nothing_is_told_on_of_a_request_with_a_malformed_head(raw, read_requests, cuttings):
    for pieces in cuttings(raw):
        assert read_requests(pieces).messages == []


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_a_good_request_before_a_malformed_one_is_told_on_alone(raw, read_requests, cuttings):
    for pieces in cuttings(NEXT + raw):
        log = read_requests(pieces)
        assert [message.head.target for message in log.complete] == [b"/next"]
        assert log.status == 400


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /x HTTP/2.0", 505),
        (b"GET /x HTTP/0.9", 505),
        (b"CONNECT a:443 HTTP/1.1", 501),
    ],
)
def test_versions_and_methods_that_are_not_spoken_have_their_own_status(request_line, status, read_requests, cuttings):
    for pieces in cuttings(line(request_line)):
        log = read_requests(pieces)
        assert (log.status, log.messages) == (status, [])


def test_a_fault_in_a_head_is_refused_before_the_head_is_complete(read_requests):
    assert read_requests([b"GET /x HTTP/1.1\r\nHost: a\r\nX A: 1\r\n"]).status == 400
    assert read_requests([b"\x16\x03\x01"]).status == 400


@pytest.mark.parametrize("path", [b"/" + b"a" * 70_000, b"/x"], ids=["a long target", "a long field"])
def test_a_head_over_the_limit_is_431_with_or_without_its_end(path, read_requests):
    raw = b"GET %b HTTP/1.1\r\nHost: a\r\nX-A: %b" % (path, b"b" * 70_000)
    for pieces in ([raw], [raw + b"\r\n\r\n"], [raw[at : at + 1_000] for at in range(0, len(raw), 1_000)]):
        log = read_requests(pieces)
        assert (log.status, log.messages) == (431, [])


def test_a_head_may_be_as_large_as_the_limit_and_not_a_byte_larger(read_requests, cuttings):
    raw = head(b"X-A: " + b"b" * 200)
    for pieces in cuttings(raw):
        assert len(read_requests(pieces, max_head_bytes=len(raw)).complete) == 1
        assert read_requests(pieces, max_head_bytes=len(raw) - 1).status == 431


def test_a_body_does_not_count_as_head(read_requests):
    raw = head(b"Content-Length: 5000")
    log = read_requests([raw[:20], raw[20:] + b"a" * 5_000], max_head_bytes=len(raw))
    assert log.complete[0].body == b"a" * 5_000


def test_a_fault_in_a_later_chunk_ends_the_request_without_completing_it(read_requests):
    log = read_requests([chunked(b"3\r\nabc\r\n"), b"xyz\r\n"])
    assert [(message.body, message.ended) for message in log.messages] == [(b"abc", False)]
    assert log.status == 400
