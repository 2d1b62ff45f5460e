"""What an HTTP/2 client says must not become another request, or two, for an HTTP/1 upstream (RFC 9113 §8, §10.3)."""

from typing import NamedTuple

import pytest
from actors.http2_wire import Http2Wire, Message, connect_http2, data
from actors.lane import OK, Lane, answer_ok
from actors.wire import Fields

SMUGGLED = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


class Lesson(NamedTuple):
    """Fields that replace those of a plain request or come behind them; None takes one away."""

    name: str
    changes: list[tuple[str, str | None]]
    body: bytes = b""


REFUSED = [
    Lesson("CR in a name", [("x-a\rx-b", "1")]),
    Lesson("CRLF in a name", [("x-a: 1\r\nx-b", "1")]),
    Lesson("LF in a value", [("x-a", "1\nx-b: 2")]),
    Lesson("CR in a value", [("x-a", "1\rx-b: 2")]),
    Lesson("CRLF and a request in a value", [("x-a", "1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")]),
    Lesson("NUL in a value", [("x-a", "1\0x-b: 2")]),
    Lesson("NUL in a name", [("x-a\0x-b", "1")]),
    Lesson("a control byte in a value", [("x-a", "1\x012")]),
    Lesson("DEL in a value", [("x-a", "1\x7f2")]),
    Lesson("a space before a value", [("x-a", " 1")]),
    Lesson("a tab behind a value", [("x-a", "1\t")]),
    Lesson("an upper-case name", [("X-A", "1")]),
    Lesson("a colon in a name", [("x:a", "1")]),
    Lesson("a colon behind a name", [("transfer-encoding:", "chunked")], SMUGGLED),
    Lesson("a space in a name", [("x a", "1")]),
    Lesson("a space before a name", [(" transfer-encoding", "chunked")], SMUGGLED),
    Lesson("a space behind a name", [("transfer-encoding ", "chunked")], SMUGGLED),
    Lesson("a byte above ASCII in a name", [("x-\xe4", "1")]),
    Lesson("an empty name", [("", "1")]),
    Lesson("Transfer-Encoding", [("transfer-encoding", "chunked")], SMUGGLED),
    Lesson("Connection", [("connection", "close")]),
    Lesson("Connection that names a field", [("connection", "x-request-id")]),
    Lesson("Proxy-Connection", [("proxy-connection", "close")]),
    Lesson("Keep-Alive", [("keep-alive", "timeout=9")]),
    Lesson("Upgrade", [("upgrade", "h2c")]),
    Lesson("TE with a coding", [("te", "gzip")]),
    Lesson("a Content-Length beyond the body", [("content-length", "500")], b"hello"),
    Lesson("a Content-Length short of the body", [("content-length", "0")], b"GET /smuggled HTTP/1.1\r\n\r\n"),
    Lesson("two Content-Lengths", [("content-length", "5"), ("content-length", "0")], b"hello"),
    Lesson("two Content-Lengths that agree", [("content-length", "5"), ("content-length", "5")], b"hello"),
    Lesson("a Content-Length with a sign", [("content-length", "+5")], b"hello"),
    Lesson("a list of Content-Lengths", [("content-length", "5, 5")], b"hello"),
    Lesson("an empty Content-Length", [("content-length", "")], b"hello"),
    Lesson("a Content-Length beyond 64 bits", [("content-length", "18446744073709551621")], b"hello"),
    Lesson("no :method", [(":method", None)]),
    Lesson("no :path", [(":path", None)]),
    Lesson("no :scheme", [(":scheme", None)]),
    Lesson("an empty :path", [(":path", "")]),
    Lesson("a :path without a slash", [(":path", "first")]),
    Lesson("an absolute :path", [(":path", "http://b/first")]),
    Lesson("an asterisk without OPTIONS", [(":path", "*")]),
    Lesson("LF in :path", [(":path", "/first\nx: y")]),
    Lesson("CRLF and a field in :path", [(":path", "/ HTTP/1.1\r\nx-a: 1\r\n")]),
    Lesson("a tab in :path", [(":path", "/fi\trst")]),
    Lesson("a space in :path", [(":path", "/first HTTP/1.1")]),
    Lesson("a space in a query", [(":path", "/first?a b")]),
    Lesson("a NUL in :path", [(":path", "/first\0")]),
    Lesson("a byte above ASCII in :path", [(":path", "/caf\xe9")]),
    Lesson("a byte above ASCII in a query", [(":path", "/first?caf\xe9")]),
    Lesson("a fragment in :path", [(":path", "/first#x")]),
    Lesson("a backslash in :path", [(":path", "/a\\..\\first")]),
    Lesson("an escaped NUL in :path", [(":path", "/first%00")]),
    Lesson("a NUL in :method", [(":method", "GET\0x")]),
    Lesson("a space in :method", [(":method", "GET /smuggled HTTP/1.1\r\n")]),
    Lesson("an empty :method", [(":method", "")]),
    Lesson("a :scheme with a URL", [(":scheme", "http://b/?")]),
    Lesson("a :scheme that is not ours", [(":scheme", "ftp")]),
    Lesson("LF in :authority", [(":authority", "a\nx: y")]),
    Lesson(":authority with a path", [(":authority", "a/b")]),
    Lesson(":authority with a user", [(":authority", "u@a")]),
    Lesson(":authority with a space", [(":authority", "a b")]),
    Lesson("an empty :authority and no Host", [(":authority", "")]),
    Lesson("neither :authority nor Host", [(":authority", None)]),
    Lesson("a Host that differs", [("host", "b")]),
    Lesson("two Hosts", [(":authority", None), ("host", "a"), ("host", "a")]),
    Lesson(":status in a request", [(":status", "200")]),
    Lesson("a pseudo-field that nobody defined", [(":x", "1")]),
    Lesson("CONNECT", [(":method", "CONNECT"), (":path", None), (":scheme", None)]),
    Lesson("CONNECT for something else than WebSocket", [(":method", "CONNECT"), (":protocol", "connect-udp")]),
    Lesson(":protocol without CONNECT", [(":protocol", "websocket")]),
]


def change(fields: Fields, changes: list[tuple[str, str | None]]) -> Fields:
    """Pseudo-fields are replaced where they stand, so that their order is right; new ones come behind the others."""
    pseudo = dict(fields)
    behind = []
    for name, value in changes:
        if not name.startswith(":"):
            behind.append((name, str(value)))
        elif value is None:
            del pseudo[name]
        else:
            pseudo[name] = value
    return [*pseudo.items(), *behind]


def plain(lane: Lane, method: str = "POST") -> Fields:
    return [(":method", method), (":scheme", "http"), (":authority", lane.host), (":path", "/first")]


async def send(http2: Http2Wire, fields: Fields, body: bytes = b"") -> Message:
    encoded = http2.head(1, fields, end=not body)
    await http2.send(encoded, *([data(1, body, end=True)] if body else []))
    return await http2.read_message(1)


@pytest.mark.parametrize("lesson", REFUSED, ids=lambda lesson: lesson.name)
async def test_what_is_unsafe_does_not_reach_an_upstream(lane: Lane, lesson: Lesson) -> None:
    seen = lane.serve(answer_ok)
    http2 = await connect_http2(lane.proxy.port)
    answer = await send(http2, change(plain(lane), lesson.changes), lesson.body)
    assert answer.reset == 1 or answer.status in (400, 501)
    assert seen == []
    http2.close()


async def test_a_plain_request_goes_on(lane: Lane) -> None:
    seen = lane.serve(answer_ok)
    answer = await send(await connect_http2(lane.proxy.port), plain(lane, "GET"))
    assert (answer.status, answer.body) == (200, b"ok")
    assert (seen[0].start, seen[0].get("host")) == ("GET /first HTTP/1.1", lane.host)
    assert not {"transfer-encoding", "content-length", "connection"} & set(seen[0].names)


async def test_a_host_stands_for_an_authority_that_is_not_there(lane: Lane) -> None:
    seen = lane.serve(answer_ok)
    fields = change(plain(lane), [(":authority", None), ("host", lane.host)])
    assert (await send(await connect_http2(lane.proxy.port), fields)).status == 200
    assert seen[0].all("host") == [lane.host]


async def test_a_host_that_says_the_same_goes_on_once(lane: Lane) -> None:
    seen = lane.serve(answer_ok)
    fields = change(plain(lane), [("host", lane.host.upper())])
    assert (await send(await connect_http2(lane.proxy.port), fields)).status == 200
    assert seen[0].all("host") == [lane.host]


async def test_an_asterisk_goes_on_with_options(lane: Lane) -> None:
    seen = lane.serve(answer_ok)
    answer = await send(await connect_http2(lane.proxy.port), change(plain(lane, "OPTIONS"), [(":path", "*")]))
    assert answer.status == 200
    assert [message.start for message in seen] == ["OPTIONS * HTTP/1.1"]


async def test_cookie_crumbs_become_one_cookie(lane: Lane) -> None:
    seen = lane.serve(answer_ok)
    fields = [*plain(lane), ("cookie", "a=b"), ("x-a", "1"), ("cookie", "c=d"), ("cookie", "e=f")]
    assert (await send(await connect_http2(lane.proxy.port), fields)).status == 200
    assert seen[0].all("cookie") == ["a=b; c=d; e=f"]


async def test_a_body_without_a_length_goes_on_in_chunks_and_cannot_end_early(lane: Lane) -> None:
    seen = lane.serve(answer_ok)
    assert (await send(await connect_http2(lane.proxy.port), plain(lane), SMUGGLED)).status == 200
    assert [message.body for message in seen] == [SMUGGLED]
    assert seen[0].get("transfer-encoding") == "chunked"


async def test_a_body_with_its_length_goes_on_with_it(lane: Lane) -> None:
    seen = lane.serve(answer_ok)
    fields = [*plain(lane), ("content-length", "5")]
    assert (await send(await connect_http2(lane.proxy.port), fields, b"hello")).status == 200
    assert (seen[0].body, seen[0].get("content-length"), seen[0].get("transfer-encoding")) == (b"hello", "5", None)


async def test_a_length_that_is_not_kept_cuts_the_upstream_off(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    await http2.send(http2.head(1, [*plain(lane), ("content-length", "9")], end=False), data(1, b"hello"))
    upstream = await lane.accept()
    assert (await upstream.read_head()).get("content-length") == "9"
    await http2.send(data(1, b"", end=True))
    assert (await http2.read_message(1)).reset == 1
    assert await upstream.read_rest() == b"hello"


async def test_trailers_that_frame_or_route_are_dropped_and_others_go_on(lane: Lane) -> None:
    seen = lane.serve(answer_ok)
    http2 = await connect_http2(lane.proxy.port)
    trailers = [("x-sum", "7"), ("host", "b"), ("x-envoy-retry-on", "5xx"), ("cookie", "a=b")]
    await http2.send(http2.head(1, plain(lane), end=False), data(1, b"body"), http2.head(1, trailers))
    assert (await http2.read_message(1)).status == 200
    assert (seen[0].body, seen[0].trailers) == (b"body", [("x-sum", "7")])


@pytest.mark.parametrize(
    "trailers",
    [
        [("x-a\r\nx-b", "1")],
        [("x-a", "1\r\nx-b: 2")],
        [("transfer-encoding", "chunked")],
        [("", "1")],
        [(":path", "/")],
        [(":x", "/")],
        [("x-a", "1\0")],
    ],
)
async def test_trailers_that_are_unsafe_end_the_request(lane: Lane, trailers: Fields) -> None:
    http2 = await connect_http2(lane.proxy.port)
    await http2.send(http2.head(1, plain(lane), end=False), data(1, b"body"))
    upstream = await lane.accept()
    await upstream.read_head()
    await http2.send(http2.head(1, trailers))
    answer = await http2.read_message(1)
    assert answer.reset == 1 or answer.status == 400
    assert await upstream.read_rest() == b"4\r\nbody\r\n"


# And back


async def test_hop_by_hop_fields_of_an_answer_stay_behind(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    await http2.send(http2.head(1, plain(lane)))
    upstream = await lane.accept()
    await upstream.read_request()
    fields = b"Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\n"
    await upstream.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n")
    answer = await http2.read_message(1)
    assert (answer.body, answer.trailers) == (b"ok", [("x-sum", "7")])
    names = {name for name, _ in answer.fields}
    assert "x-kept" in names
    assert not {"connection", "x-hop", "keep-alive", "transfer-encoding"} & names
    assert all(name == name.lower() for name in names)


async def test_an_answer_that_is_cut_short_is_a_reset(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    await http2.send(http2.head(1, plain(lane)))
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    upstream.close()
    answer = await http2.read_message(1)
    assert (answer.status, answer.body, answer.reset) == (200, b"half", 2)


async def test_interim_answers_and_expectations_pass(lane: Lane) -> None:
    http2 = await connect_http2(lane.proxy.port)
    await http2.send(http2.head(1, [*plain(lane), ("expect", "100-continue"), ("content-length", "4")], end=False))
    upstream = await lane.accept()
    assert (await upstream.read_head()).get("expect") == "100-continue"
    await upstream.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    await http2.send(data(1, b"body", end=True))
    assert await upstream.read(4) == b"body"
    await upstream.send(OK)
    answer = await http2.read_message(1)
    assert answer.interim == [[(":status", "100")], [(":status", "103"), ("link", "</a>")]]
    assert answer.status == 200
