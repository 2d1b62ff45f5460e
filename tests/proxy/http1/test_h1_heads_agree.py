"""What llhttp reads in a head is what goes on of it, however odd the head: a head has one reading."""

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnout.proxy.http.names import REQUEST_MARKS, RESPONSE_MARKS

PIECES = st.lists(
    st.sampled_from([
        b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b": ", b"::", b",", b";", b"\r\n ", b"\r\n\t", b"\x00", b"\x0b",
        b"\x0c", b"\x7f", b"\x85", b"\xa0", b"a", b"x-b", b"Host", b"1", b"GET", b" HTTP/1.1", b"/", b"\r\nx: y",
        b"\r\nX-Y:", b"\r\nx-y: \t a \t", b"\r\nExpect: x", b"\r\nHost-x: 1", b"\r\nX-Host: 1", b"\r\nConnection: x",
        b"\r\nConnection:x-y,close", b"\r\nKeep-Alive: 1", b"\r\nupgrade:", b"\r\nTE: x", b"\r\nX-Request-Id: 1",
        b"\r\nTransfer-Encoding: chunked", b"\r\nContent-Length: 3", b"\r\nContent-Length-x: 3", b"\r\nX-Envoy-A: 1",
    ]),
    max_size=10,
).map(b"".join)  # fmt: skip


class Told:
    """What llhttp tells of a head."""

    def __init__(self, of_response: bool, head: bytes) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.good = True
        parser = (httptools.HttpResponseParser if of_response else httptools.HttpRequestParser)(self)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self.good = False

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def end_to_end(self, marks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
        """Without fields that are ours to write, and without those that Connection names."""
        named = b",".join(value for name, value in self.fields if name == b"connection").lower().split(b",")
        return plain(self.fields, {*marks, *(token.strip() for token in named)})


def plain(fields: list[tuple[bytes, bytes]], without: dict[bytes, int] | set[bytes]) -> list[tuple[bytes, bytes]]:
    found = [(name.lower(), value) for name, value in fields]
    return sorted((field for field in found if field[0] not in without), key=lambda field: field[0])


def whole_head(start: bytes, pieces: bytes) -> bytes:
    raw = start + pieces + b"\r\nx-last: 1\r\n\r\n"
    return raw[: raw.find(b"\r\n\r\n") + 4]


@pytest.mark.parametrize("start", [b"POST /a?b HTTP/1.1\r\nHost: h", b"GET "])
@given(pieces=PIECES)
@example(pieces=b"\r\nx: a\r\n b")
@example(pieces=b"/ HTTP/1.1\r\nHost: h")
def test_what_llhttp_reads_of_a_request_is_what_goes_on(read_requests, forward, start, pieces):
    head = whole_head(start, pieces)
    log = read_requests([head], wait=True)
    if not log.messages:
        assert log.failures
        return
    told = Told(False, head)
    assert told.good
    (message,) = log.messages
    if message.ended:
        got = forward(message)
        assert got.start[1] == told.target
        assert plain(got.fields, REQUEST_MARKS) == told.end_to_end(REQUEST_MARKS)


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK", b"HTTP/1.1 20"])
@given(pieces=PIECES)
@example(pieces=b"\r\nx: a\r\n b")
@example(pieces=b"4\r\nx:")
def test_what_llhttp_reads_of_an_answer_is_what_goes_on(read_response, pass_on, start, pieces):
    head = whole_head(start, pieces)
    log = read_response([head], b"HEAD")
    if log.message is None:
        assert log.error or log.interim
        return
    told = Told(True, head)
    assert told.good
    got = pass_on(log.message, b"HEAD")
    assert plain(got.fields, RESPONSE_MARKS) == told.end_to_end(RESPONSE_MARKS)
