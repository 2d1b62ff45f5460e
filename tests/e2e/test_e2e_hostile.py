"""Hostile clients and broken upstreams: what is not HTTP by the letter is refused, and nothing of it passes."""

import asyncio
import contextlib
import json

import pytest
from actors.lane import Lane

HEAD = "POST / HTTP/1.1\r\nHost: {host}\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"

REFUSED = {
    "length and coding": HEAD + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": HEAD + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + "Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
    "two equal lengths": HEAD + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "a list of lengths": HEAD + "Content-Length: 1, 1\r\n\r\na",
    "a length with a sign": HEAD + "Content-Length: +1\r\n\r\na",
    "a negative length": HEAD + "Content-Length: -1\r\n\r\n",
    "a length in hex": HEAD + "Content-Length: 0x1\r\n\r\na",
    "an empty length": HEAD + "Content-Length:\r\n\r\n",
    "a length beyond 64 bits": HEAD + "Content-Length: 18446744073709551617\r\n\r\na",
    "chunked is not last": HEAD + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "another coding": HEAD + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a coding with a tab in its name": HEAD + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab before the coding": HEAD + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": "POST / HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before the colon": HEAD + "Content-Length : 0\r\n\r\n",
    "a folded line": HEAD + "X-A: 1\r\n Content-Length: 5\r\n\r\n",
    "a line that begins with a space": "POST / HTTP/1.1\r\n Host: {host}\r\n\r\n",
    "a bare LF": "POST / HTTP/1.1\nHost: {host}\n\n",
    "a bare LF within": HEAD + "X-A: 1\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare CR": HEAD + "X-A: 1\rX-B: 2\r\n\r\n",
    "NUL in a value": HEAD + "X-A: 1\x002\r\n\r\n",
    "a control byte in a value": HEAD + "X-A: \x01\r\n\r\n",
    "a control byte in a name": HEAD + "X\x01A: 1\r\n\r\n",
    "a name of nothing": HEAD + ": 1\r\n\r\n",
    "a field without a colon": HEAD + "X-A\r\n\r\n",
    "no Host": "GET / HTTP/1.1\r\n\r\n",
    "two Hosts": HEAD + "Host: {host}\r\n\r\n",
    "Host is a list": "GET / HTTP/1.1\r\nHost: {host}, other\r\n\r\n",
    "Host has a path": "GET / HTTP/1.1\r\nHost: {host}/a\r\n\r\n",
    "Host has a user": "GET / HTTP/1.1\r\nHost: a@{host}\r\n\r\n",
    "Host has an impossible port": "GET / HTTP/1.1\r\nHost: {host}:x\r\n\r\n",
    "the target's authority is another": "GET http://other.test/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a target without a slash": "GET a HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a target of two words": "GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a fragment": "GET /a#b HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a backslash": "GET /a\\..\\b HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "asterisk without OPTIONS": "GET * HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a method that is no token": "G@T / HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a lower-case version": "GET / http/1.1\r\nHost: {host}\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

CHUNKED = HEAD + "Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "no size": CHUNKED + "\r\nabc\r\n0\r\n\r\n",
    "a size that is not hex": CHUNKED + "g\r\nabc\r\n0\r\n\r\n",
    "a size with a prefix": CHUNKED + "0x3\r\nabc\r\n0\r\n\r\n",
    "a negative size": CHUNKED + "-3\r\nabc\r\n0\r\n\r\n",
    "a size beyond 64 bits": CHUNKED + "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "a size that ends with LF": CHUNKED + "3\nabc\r\n0\r\n\r\n",
    "too much data": CHUNKED + "3\r\nabcd\r\n0\r\n\r\n",
    "no CRLF after the data": CHUNKED + "3\r\nabc0\r\n\r\n",
    "LF in an extension": CHUNKED + "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "a trailer with a space before the colon": CHUNKED + "0\r\nX-A : 1\r\n\r\n",
}


@pytest.mark.parametrize("what", REFUSED)
async def test_a_malformed_request_is_a_400_and_the_end_and_nothing_is_forwarded(lane: Lane, what: str) -> None:
    client = await lane.connect()
    await client.send((REFUSED[what] + SMUGGLED).format(host=lane.host).encode("latin-1"))
    answer = await client.read_response()
    assert (answer.status, answer.get("connection")) == (400, "close")
    error = json.loads(answer.body)["error"]
    assert (error["flag"], error["status"]) == ("DPE", 400)
    assert error["request_id"]
    assert await client.is_closed()
    assert lane.saw_nothing()


@pytest.mark.parametrize("what", BAD_CHUNKS)
async def test_a_malformed_body_never_completes_a_request(lane: Lane, what: str) -> None:
    client = await lane.connect()
    await client.send((BAD_CHUNKS[what] + SMUGGLED).format(host=lane.host).encode("latin-1"))
    answer = await client.read_response()
    assert (answer.status, answer.get("connection")) == (400, "close")
    assert await client.is_closed()
    if not lane.saw_nothing():
        upstream = await lane.accept()
        try:
            seen = await upstream.read_rest()
        except ConnectionResetError:
            return
        assert b"smuggled" not in seen
        assert not seen.endswith(b"0\r\n\r\n")


async def test_two_spaces_in_a_request_line_are_refused_or_one(lane: Lane) -> None:
    """RFC 9112 §3 lets a server split the line at white space; then what is forwarded has one space."""
    seen = lane.serve()
    client = await lane.connect()
    await client.send(f"GET  /a HTTP/1.1\r\nHost: {lane.host}\r\n\r\n".encode())
    assert (await client.read_response()).status in (200, 400)
    assert [request.start for request in seen] in ([], ["GET /a HTTP/1.1"])


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9"])
async def test_other_versions_are_refused(lane: Lane, version: str) -> None:
    client = await lane.connect()
    await client.send(f"GET / {version}\r\nHost: {lane.host}\r\n\r\n".encode())
    assert (await client.read_response()).status in (400, 505)
    assert await client.is_closed()
    assert lane.saw_nothing()


async def test_connect_is_refused(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(f"CONNECT {lane.host}:80 HTTP/1.1\r\nHost: {lane.host}:80\r\n\r\n".encode())
    assert (await client.read_response()).status == 501
    assert await client.is_closed()
    assert lane.saw_nothing()


@pytest.mark.parametrize("end", ["", "\r\n\r\n"])
async def test_a_head_over_64_kib_is_a_431(lane: Lane, end: str) -> None:
    client = await lane.connect()
    fields = "".join(f"X-{n}: {'a' * 1000}\r\n" for n in range(70))
    await client.send(f"GET / HTTP/1.1\r\nHost: {lane.host}\r\n{fields[:-2]}{end}".encode())
    answer = await client.read_response()
    assert (answer.status, answer.get("connection")) == (431, "close")
    assert lane.saw_nothing()


async def test_a_head_just_below_64_kib_passes(lane: Lane) -> None:
    seen = lane.serve()
    assert (await lane.ask("/", "GET", *(f"X-{n}: {'a' * 1000}" for n in range(60)))).status == 200
    assert len(seen[0].get("x-59") or "") == 1000


async def test_good_requests_before_a_bad_one_are_answered_first(lane: Lane) -> None:
    seen = lane.serve()
    client = await lane.connect()
    bad = (REFUSED["length and coding"] + SMUGGLED).format(host=lane.host).encode()
    await client.send(lane.request("/1") + lane.request("/2") + bad)
    assert [(await client.read_response()).status for _ in range(3)] == [200, 200, 400]
    assert await client.is_closed()
    assert [request.target for request in seen] == ["/1", "/2"]


async def test_the_end_of_a_body_is_where_the_head_says(lane: Lane) -> None:
    """A body that looks like a request stays a body."""
    seen = lane.serve()
    body = SMUGGLED.format(host=lane.host).encode()
    await lane.ask("/1", "POST", body=body)
    await lane.ask("/2", "GET", body=body)
    assert [(request.target, request.body) for request in seen] == [("/1", body), ("/2", body)]


async def test_a_slow_head_is_a_408(hasty_lane: Lane) -> None:
    client = await hasty_lane.connect()
    await client.send(b"GET / HTTP/1.1\r\nHost:")

    async def drip() -> None:
        while True:
            await client.send(b" ")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    answer = await client.read_response()
    dripping.cancel()
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (408, "SI")
    assert hasty_lane.saw_nothing()


async def test_a_body_that_stops_coming_is_a_408(hasty_lane: Lane) -> None:
    client = await hasty_lane.connect()
    await client.send(hasty_lane.request("/", "POST", "Content-Length: 10") + b"123")
    upstream = await hasty_lane.accept()
    answer = await client.read_response()
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (408, "SI")
    with contextlib.suppress(ConnectionResetError):
        assert (await upstream.read_rest()).endswith(b"\r\n\r\n123")


async def test_an_answer_that_stops_coming_is_a_504(hasty_lane: Lane) -> None:
    client = await hasty_lane.connect()
    await client.send(hasty_lane.request())
    await hasty_lane.accept()
    answer = await client.read_response()
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (504, "SI")


MALFORMED_ANSWERS = {
    "no HTTP": "220 smtp ready\r\n",
    "no HTTP in pieces": "\x15\x03\x01",
    "HTTP/2": "HTTP/2 200 OK\r\n\r\n",
    "no status": "HTTP/1.1\r\n\r\n",
    "a status of two digits": "HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a status that is none": "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok",
    "a folded line": "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
    "length and coding": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a malformed length": "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "another coding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a bare LF": "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "NUL in a value": "HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 2\r\n\r\nok",
    "a coding in HTTP/1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "204 with a body": "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    "a bad first chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "an endless head": "HTTP/1.1 200 OK\r\n" + "X-A: " + "a" * 70_000,
    "endless interim answers": "HTTP/1.1 102 Processing\r\n\r\n" * 1_000,
}


@pytest.mark.parametrize("what", MALFORMED_ANSWERS)
async def test_a_malformed_answer_is_a_502_and_never_passed_on(lane: Lane, what: str) -> None:
    client = await lane.connect()
    await client.send(lane.request())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(MALFORMED_ANSWERS[what].encode("latin-1"))
    answer = await client.read_response()
    while answer.status == 102:
        answer = await client.read_response()
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (502, "UPE")
    assert "x-a" not in answer.names
    assert await upstream.is_closed()


async def test_a_broken_chunk_later_on_cuts_the_answer(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await client.read_head()
    assert await client.read_chunk() == b"abc"
    await upstream.send(b"zz\r\n")
    assert await client.is_closed()


async def test_malformed_requests_are_counted(lane: Lane) -> None:
    async def malformed() -> int:
        return (await lane.proxy.stats())["process"]["malformed_total"]

    before = await malformed()
    client = await lane.connect()
    await client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert await client.read_rest()
    assert await malformed() == before + 1
