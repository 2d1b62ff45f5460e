"""Answers that are not valid HTTP: an error, and nothing complete is ever told (the client gets a 502)."""

import pytest

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

STATUS_LINES = {
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "an answer of HTTP/0.9": b"<html></html>\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http in lower case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "another protocol": b"RTSP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "a status above 599": b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
    "a status in words": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "two spaces before the status": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "a bare CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "empty lines before it": b"\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "a bare LF before it": b"\n" + OK + b"Content-Length: 0\r\n\r\n",
    "a bare LF behind it": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
}

FIELDS = {
    "a space before the colon": OK + b"X-A : b\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon of the length": OK + b"Content-Length : 2\r\n\r\nok",
    "a folded line": OK + b"X-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n",
    "a line without a colon": OK + b"X-A\r\nContent-Length: 0\r\n\r\n",
    "an empty name": OK + b": 1\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a value": OK + b"X-A: \x00\r\nContent-Length: 0\r\n\r\n",
    "a control byte in a value": OK + b"X-A: \x07\r\nContent-Length: 0\r\n\r\n",
    "a byte above ASCII in a name": OK + b"X-\xe9: 1\r\nContent-Length: 0\r\n\r\n",
    "a bare CR in a value": OK + b"X-A: 1\rX-B: 2\r\nContent-Length: 0\r\n\r\n",
    "a bare LF behind a field": OK + b"X-A: 1\nContent-Length: 0\r\n\r\n",
    "a bare LF as the end": OK + b"Content-Length: 0\r\n\n",
}

FRAMING = {
    "both Transfer-Encoding and Content-Length": OK
    + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "both, the other way round": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths that differ": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a list of lengths that differ": OK + b"Content-Length: 2, 3\r\n\r\nok",
    "a length with a sign": OK + b"Content-Length: +2\r\n\r\nok",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "an empty length": OK + b"Content-Length:\r\n\r\n",
    "a length beyond 63 bits": OK + b"Content-Length: 9223372036854775808\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: cow\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two fields": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked is not the last": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a control byte behind chunked": OK + b"Transfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    "204 in chunks": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "100 with a length": b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok",
    "101 that upgrades to nothing": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "101 without Connection": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\n\r\n",
    "101 in chunks": b"HTTP/1.1 101 Switching Protocols\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}

CHUNKS = {
    "a size that is none": CHUNKED + b"x\r\nabc\r\n0\r\n\r\n",
    "a size with 0x": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "an empty size": CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "a bare LF behind a size": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "more data than the size says": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "a bare LF behind the data": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "a size beyond 64 bits": CHUNKED + b"fffffffffffffffff\r\n",
    "a malformed trailer": CHUNKED + b"0\r\nX : 1\r\n\r\n",
    "a trailer without end": CHUNKED + b"0\r\n" + b"X: 1\r\n" * 6_000,
    "plain text": CHUNKED + b"Internal Server Error\r\n",
}

REFUSED = {**STATUS_LINES, **FIELDS, **FRAMING, **CHUNKS}
HEAD_FAULTS = {**STATUS_LINES, **FIELDS, **FRAMING}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_malformed_answers_are_errors_and_never_complete(raw, read_response, cuttings):
    for pieces in cuttings(raw):
        log = read_response(pieces)
        assert log.error is not None
        assert log.message is None or not log.message.ended


@pytest.mark.parametrize("raw", HEAD_FAULTS.values(), ids=HEAD_FAULTS)
def test_nothing_is_told_of_an_answer_with_a_malformed_head(raw, read_response, cuttings):
    for pieces in cuttings(raw):
        log = read_response(pieces)
        assert (log.message, log.interim, log.tunnelled) == (None, [], b"")


@pytest.mark.parametrize("raw", HEAD_FAULTS.values(), ids=HEAD_FAULTS)
def test_an_interim_answer_makes_no_malformed_answer_good(raw, read_response):
    log = read_response([b"HTTP/1.1 100 Continue\r\n\r\n" + raw])
    assert log.error is not None
    assert (len(log.interim), log.message) == (1, None)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_head_over_the_limit_is_an_error_with_or_without_its_end(method, read_response):
    raw = OK + b"X-A: " + b"a" * 70_000
    for pieces in ([raw], [raw + b"\r\n\r\n"], [raw[at : at + 1_000] for at in range(0, len(raw), 1_000)]):
        log = read_response(pieces, method)
        assert log.error is not None
        assert log.message is None


def test_a_head_may_be_as_large_as_the_limit_and_not_a_byte_larger(read_response, cuttings):
    raw = OK + b"X-A: " + b"a" * 200 + b"\r\nContent-Length: 0\r\n\r\n"
    for pieces in cuttings(raw):
        assert read_response(pieces, max_head_bytes=len(raw)).answer.ended
        assert read_response(pieces, max_head_bytes=len(raw) - 1).error is not None


def test_interim_answers_without_end_are_an_error(read_response):
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    few = read_response([interim * 10 + OK + b"Content-Length: 0\r\n\r\n"])
    assert few.answer.ended
    many = read_response([interim] * 1_000)
    assert many.error is not None
    assert len(many.interim) < 1_000


def test_bytes_before_any_request_are_an_error(read_response):
    log = read_response([OK + b"Content-Length: 0\r\n\r\n"])
    log.feed([b"\r\n"])
    assert log.error is not None


def test_what_is_no_answer_is_an_error_before_a_whole_line_of_it_came(read_response):
    assert read_response([b"SSH-2.0"]).error is not None
    assert read_response([b"\x15\x03\x01"]).error is not None


def test_a_fault_in_a_later_chunk_leaves_the_answer_incomplete(read_response):
    log = read_response([CHUNKED + b"3\r\nabc\r\n", b"zzz\r\n"])
    assert log.error is not None
    assert (log.answer.body, log.answer.ended) == (b"abc", False)
    assert not log.decoder.feed_eof()
