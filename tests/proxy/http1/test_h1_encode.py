"""What goes out is framed by us alone, so that nobody can read another boundary into it."""

import pytest

from turnout.proxy.http.head import CHUNKED, UNTIL_CLOSE, ResponseHead
from turnout.proxy.http1.encode import encode_chunk, encode_response


def response(status: int = 200, length: int = 0, *, bodyless: bool = False) -> ResponseHead:
    head = ResponseHead([(b"x-a", b"1")], status)
    head.length = length
    head.bodyless = bodyless
    return head


@pytest.mark.parametrize(
    ("data", "end", "wire"),
    [
        (b"", False, b""),
        (b"", True, b"0\r\n\r\n"),
        (b"a" * 26, False, b"1a\r\n" + b"a" * 26 + b"\r\n"),
        (b"a", True, b"1\r\na\r\n0\r\n\r\n"),
    ],
)
def test_an_empty_piece_is_no_chunk_unless_it_is_the_end(data, end, wire):
    assert encode_chunk(data, end, []) == wire


def test_trailers_come_behind_the_last_chunk_and_only_there():
    trailers = [(b"x-a", b"1"), (b"x-b", b"")]
    assert encode_chunk(b"a", False, trailers) == b"1\r\na\r\n"
    assert encode_chunk(b"a", True, trailers) == b"1\r\na\r\n0\r\nx-a: 1\r\nx-b: \r\n\r\n"


@pytest.mark.parametrize(
    ("head", "data", "end", "wire"),
    [
        (response(200, 2), b"ok", True, b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 2\r\n\r\nok"),
        (response(200, 5), b"ok", False, b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 5\r\n\r\nok"),
        (response(200, 0), b"", True, b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n"),
        (response(200, CHUNKED), b"", False, b"HTTP/1.1 200 OK\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
        (response(304, CHUNKED, bodyless=True), b"", True,
         b"HTTP/1.1 304 Not Modified\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
        (response(200, UNTIL_CLOSE), b"ok", False, b"HTTP/1.1 200 OK\r\nx-a: 1\r\n\r\nok"),
        (response(204), b"", True, b"HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n"),
        (response(103), b"", True, b"HTTP/1.1 103 Early Hints\r\nx-a: 1\r\n\r\n"),
        (response(299, 0), b"", True, b"HTTP/1.1 299 \r\nx-a: 1\r\ncontent-length: 0\r\n\r\n"),
    ],
)  # fmt: skip
def test_each_framing_of_an_answer_on_the_wire(head, data, end, wire):
    assert encode_response(head, data, end, b"") == wire


def test_connection_is_what_this_hop_says():
    assert b"\r\nconnection: close\r\n" in encode_response(response(200, 0), b"", True, b"close")
    switching = response(101)
    switching.upgrade = b"websocket"
    wire = encode_response(switching, b"", True, b"upgrade")
    assert b"\r\nconnection: upgrade\r\n" in wire
    assert b"\r\nupgrade: websocket\r\n" in wire
    assert b"content-length" not in wire
