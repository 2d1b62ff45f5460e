"""Answers of an upstream that are valid: their framing (RFC 9112 §6.3), and what of them goes on to the client."""

import pytest

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import UNTIL_CLOSE
from turnout.proxy.http1.encode import encode_response
from turnout.proxy.http1.response import ResponseDecoder
from turnout.proxy.http1.response_head import ResponseHeads

OK = b"HTTP/1.1 200 OK\r\n"

FRAMED = {
    "a known length": (b"GET", OK + b"Content-Length: 3\r\n\r\nabc", 200, b"abc"),
    "a zero length": (b"GET", OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "chunks": (b"GET", OK + b"Transfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200, b"abcde"),
    "no chunk but the last": (b"GET", OK + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", 200, b""),
    "an answer to HEAD with a length": (b"HEAD", OK + b"Content-Length: 3\r\n\r\n", 200, b""),
    "an answer to HEAD in chunks": (b"HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", 200, b""),
    "an answer to HEAD without framing": (b"HEAD", OK + b"\r\n", 200, b""),
    "204": (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "204 with a zero length": (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b""),
    "304": (b"GET", b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    "304 with the length of what it stands for": (
        b"GET",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
        304,
        b"",
    ),
    "304 with a coding": (b"GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, b""),
    "HTTP/1.0": (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "an empty reason": (b"GET", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "no reason at all": (b"GET", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "a status that nobody knows": (b"GET", b"HTTP/1.1 299 Hm\r\nContent-Length: 2\r\n\r\nok", 299, b"ok"),
    "space behind a length": (b"GET", OK + b"Content-Length: 2 \r\n\r\nok", 200, b"ok"),
    "space behind a coding": (b"GET", OK + b"Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n", 200, b""),
}


@pytest.mark.parametrize(("method", "raw", "status", "body"), FRAMED.values(), ids=FRAMED)
def test_an_answer_ends_where_its_framing_says(method, raw, status, body, read_response, cuttings, pass_on):
    for pieces in cuttings(raw):
        log = read_response(pieces, method)
        assert log.error is None
        assert (log.answer.head.status, log.answer.body, log.answer.ended) == (status, body, True)
        passed = pass_on(log.answer, method)
        assert (passed.start, passed.body) == ((status,), body)
        assert not log.decoder.feed_eof()


@pytest.mark.parametrize(("method", "raw", "status", "body"), FRAMED.values(), ids=FRAMED)
def test_no_beginning_of_an_answer_is_complete(method, raw, status, body, read_response):
    for size in range(len(raw)):
        log = read_response([raw[:size]], method)
        assert log.error is None
        assert log.message is None or not log.message.ended
        assert not log.decoder.feed_eof()


@pytest.mark.parametrize(("method", "raw", "status", "body"), FRAMED.values(), ids=FRAMED)
def test_bytes_behind_the_end_are_an_error_and_not_part_of_the_answer(
    method, raw, status, body, read_response, cuttings
):
    for pieces in cuttings(raw + OK + b"Content-Length: 0\r\n\r\n"):
        log = read_response(pieces, method)
        assert log.error is not None
        assert (log.answer.body, log.answer.ended) == (body, True)


@pytest.mark.parametrize(("method", "raw", "status", "body"), FRAMED.values(), ids=FRAMED)
def test_a_connection_is_good_for_the_next_answer(method, raw, status, body, read_response):
    log = read_response([raw], method)
    log.message = None
    log.decoder.expect(method)
    log.feed([raw])
    assert (log.error, log.answer.body, log.answer.ended) == (None, body, True)


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"], ids=["no Connection", "keep-alive"])
def test_what_connection_names_in_one_answer_is_not_named_in_the_next(connection, read_response):
    log = read_response([OK + b"Connection: x-a\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n"])
    log.message = None
    log.decoder.expect(b"GET")
    log.feed([OK + connection + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: 2\r\n\r\n"])
    assert log.answer.head.trailers == [(b"x-a", b"2")]


class EagerPool:
    """Sends the next request from within the end of an answer, if the decoder then is in the state of a clean end."""

    def __init__(self, clean_end):
        self.decoder = ResponseDecoder(self, ResponseHeads(), 65_536)
        self.decoder.expect(b"GET")
        self.bodies = [b""]
        self._clean_end = clean_end

    def on_response(self, head, data, end):
        self.on_response_body(data, end)

    def on_response_body(self, data, end):
        self.bodies[-1] += data
        if end and self.decoder.state == self._clean_end:
            self.bodies.append(b"")
            self.decoder.expect(b"GET")


@pytest.mark.parametrize(
    "answer",
    [OK + b"Content-Length: 2\r\n\r\nok", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
    ids=["of known length", "in chunks"],
)
@pytest.mark.parametrize("early", [0, 1, 4], ids=["in one piece", "end in a second piece", "more in a second piece"])
def test_bytes_behind_an_answer_never_answer_a_request_that_is_sent_at_its_end(answer, early, read_response):
    clean_end = read_response([OK + b"Content-Length: 0\r\n\r\n"]).decoder.state
    pool = EagerPool(clean_end)
    raw = answer + OK + b"Content-Length: 4\r\n\r\nevil"
    cut = len(answer) - early if early else 0
    if cut:
        pool.decoder.feed(raw[:cut])
    with pytest.raises(MalformedError):
        pool.decoder.feed(raw[cut:])
    assert pool.bodies[0] == b"ok"
    assert b"evil" not in b"".join(pool.bodies)


def test_an_answer_without_framing_ends_with_the_connection(read_response, cuttings, pass_on):
    for pieces in cuttings(OK + b"X-A: 1\r\n\r\nabc" + OK):
        log = read_response(pieces)
        assert not log.answer.ended
        assert not log.answer.head.keep_alive
        assert log.answer.head.length == UNTIL_CLOSE
        assert log.decoder.feed_eof()
        assert (log.answer.body, log.answer.ended) == (b"abc" + OK, True)
        assert pass_on(log.answer).body == b"abc" + OK
        assert not log.decoder.feed_eof()


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"Content-Length: 3\r\n\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        OK,
        b"",
        b"HTTP",
    ],
)
def test_a_close_does_not_complete_an_answer_that_has_a_framing(raw, read_response):
    log = read_response([raw])
    assert not log.decoder.feed_eof()
    assert log.message is None or not log.message.ended


def test_interim_answers_are_told_as_they_come(read_response, cuttings):
    raw = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nok"
    )
    for pieces in cuttings(raw):
        log = read_response(pieces)
        assert [head.status for head in log.interim] == [100, 103]
        assert log.interim[1].fields == [(b"link", b"</a>")]
        assert (log.answer.head.status, log.answer.body) == (200, b"ok")


def test_interim_answers_come_before_an_answer_to_head_too(read_response):
    log = read_response([b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n"], b"HEAD")
    assert (len(log.interim), log.answer.ended) == (1, True)


def test_behind_a_101_bytes_are_no_answer_any_more(read_response, cuttings):
    raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n" + OK + b"\r\n"
    for pieces in cuttings(raw):
        log = read_response(pieces)
        (head,) = log.interim
        assert (head.status, head.upgrade, head.fields) == (101, b"websocket", [])
        assert (log.tunnelled, log.message) == (OK + b"\r\n", None)


def test_an_answer_that_is_not_101_offers_no_upgrade_to_the_client(read_response, pass_on):
    log = read_response([OK + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok"])
    assert pass_on(log.answer).fields == [(b"content-length", b"2")]


@pytest.mark.parametrize(
    ("raw", "keep_alive", "keep_alive_s"),
    [
        (OK, True, None),
        (OK + b"Connection: close\r\n", False, None),
        (OK + b"Connection: X, CLOSE\r\n", False, None),
        (OK + b"Connection: keep-alive, close\r\n", False, None),
        (OK + b"Keep-Alive: timeout=5, max=100\r\n", True, 5.0),
        (OK + b"Connection: keep-alive\r\nKeep-Alive: max=1,Timeout=7\r\n", True, 7.0),
        (OK + b"Keep-Alive: timeout=x\r\n", True, None),
        (b"HTTP/1.0 200 OK\r\n", False, None),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True, None),
    ],
)
def test_whether_and_how_long_the_upstream_keeps_the_connection(raw, keep_alive, keep_alive_s, read_response):
    head = read_response([raw + b"Content-Length: 0\r\n\r\n"]).answer.head
    assert (head.keep_alive, head.keep_alive_s) == (keep_alive, keep_alive_s)
    assert head.fields == []


def test_hop_by_hop_fields_of_an_answer_stay_here(read_response, pass_on):
    raw = (
        OK + b"Connection: X-R\r\nConnection: x-q\r\nX-R: 1\r\nX-Q: 1\r\nX-S: 2\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Connection: a\r\nUpgrade: h2c\r\nContent-Length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nok"
    )
    log = read_response([raw])
    assert log.answer.head.fields == [(b"x-s", b"2"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    assert pass_on(log.answer).fields[:3] == log.answer.head.fields


def test_trailers_of_an_answer_pass_except_those_that_frame_and_those_connection_names(
    read_response, cuttings, pass_on
):
    raw = (
        OK + b"Connection: x-r\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nX-R: 1\r\nContent-Length: 9\r\nX-Sum: 2\r\n\r\n"
    )
    for pieces in cuttings(raw):
        assert pass_on(read_response(pieces).answer).trailers == [(b"x-sum", b"2")]


def test_the_length_of_what_is_not_sent_is_kept_for_head_and_304(read_response):
    for method, status in ((b"HEAD", b"200 OK"), (b"GET", b"304 Not Modified")):
        log = read_response([b"HTTP/1.1 %b\r\nContent-Length: 500\r\n\r\n" % status], method)
        out = log.answer.encode_pieces(lambda *first: encode_response(*first, b""))
        assert out == b"HTTP/1.1 %b\r\ncontent-length: 500\r\n\r\n" % status


def test_a_204_goes_out_without_a_length(read_response):
    log = read_response([b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"])
    out = log.answer.encode_pieces(lambda *first: encode_response(*first, b""))
    assert out == b"HTTP/1.1 204 No Content\r\n\r\n"


def test_data_is_told_as_it_comes(read_response):
    log = read_response([OK + b"Transfer-Encoding: chunked\r\n\r\n"])
    for count in range(1, 100):
        log.feed([b"5\r\ndata\n\r\n"])
        assert log.answer.body == b"data\n" * count
