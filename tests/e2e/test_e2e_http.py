"""What a proxy meets of HTTP/1.1: framing, bodyless answers, interim answers, trailers, HTTP/1.0, IPv6."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from actors.lane import OK, RULES, Lane, answer_ok
from actors.proxy import Proxy, until
from actors.wire import LIMIT_BYTES, Message, Wire, connect
from free_ports import free_port


async def exchange(lane: Lane, request: bytes, answer: bytes) -> tuple[Message, Message]:
    """What the upstream saw and what the client saw."""
    client = await lane.connect()
    await client.send(request)
    upstream = await lane.accept()
    seen = await upstream.read_request()
    await upstream.send(answer)
    return seen, await client.read_response(seen.method)


async def test_an_answer_to_head_has_a_length_and_no_body_and_the_connections_stay(lane: Lane) -> None:
    async def answer(wire: Wire, request: Message) -> None:
        body = b"" if request.method == "HEAD" else b"hello"
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + body)

    lane.serve(answer)
    client = await lane.connect()
    await client.send(lane.request("/", "HEAD") + lane.request("/"))
    head = await client.read_response("HEAD")
    assert (head.status, head.get("content-length")) == (200, "5")
    assert (await client.read_response()).body == b"hello"
    assert lane.connections == 1


async def test_our_own_answer_to_head_has_no_body(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/missing", "HEAD") + lane.request("/missing"))
    head = await client.read_response("HEAD")
    answer = await client.read_response()
    assert (head.status, head.body) == (500, b"")
    assert int(head.get("content-length") or 0) > 0
    assert answer.status == 500


@pytest.mark.parametrize(
    ("answer", "length"),
    [
        ("204 No Content\r\n", None),
        ("204 No Content\r\nContent-Length: 0\r\n", None),
        ('304 Not Modified\r\nContent-Length: 500\r\nETag: "a"\r\n', "500"),
        ("304 Not Modified\r\n", None),
        ("200 OK\r\nContent-Length: 0\r\n", "0"),
        ("205 Reset Content\r\nContent-Length: 0\r\n", "0"),
    ],
)
async def test_an_answer_without_a_body_keeps_both_connections(lane: Lane, answer: str, length: str | None) -> None:
    client = await lane.connect()
    await client.send(lane.request() + lane.request())
    upstream = await lane.accept()
    for _ in range(2):
        await upstream.read_request()
        await upstream.send(f"HTTP/1.1 {answer}\r\n".encode())
    for _ in range(2):
        message = await client.read_response()
        assert (message.status, message.get("content-length")) == (int(answer[:3]), length)
        assert message.get("transfer-encoding") is None


async def test_interim_answers_are_relayed_as_they_come(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    hints = await client.read_head()
    assert (hints.status, hints.fields) == (103, [("link", "</a>")])
    await upstream.send(b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    assert (await client.read_head()).status == 102
    assert (await client.read_response()).body == b"ok"


async def test_an_http_1_0_client_is_not_sent_interim_answers(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % lane.host.encode())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert (await client.read_response()).status == 200


async def test_the_upstream_decides_on_expect_100_continue(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "POST", "Content-Length: 4", "Expect: 100-continue"))
    upstream = await lane.accept()
    head = await upstream.read_head()
    assert (head.get("expect"), head.get("content-length")) == ("100-continue", "4")
    await upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert (await client.read_head()).status == 100
    await client.send(b"body")
    assert await upstream.read(4) == b"body"
    await upstream.send(OK)
    assert (await client.read_response()).status == 200


async def test_an_upstream_may_refuse_before_the_body(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "POST", "Content-Length: 4", "Expect: 100-continue"))
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n")
    answer = await client.read_response()
    assert (answer.status, answer.get("connection")) == (417, "close")
    assert await client.is_closed()
    assert await upstream.is_closed()  # the body never came: nothing else may follow on it


async def test_chunks_pass_in_both_directions_with_their_trailers(lane: Lane) -> None:
    request = lane.request("/", "POST", "Transfer-Encoding: chunked", "Trailer: X-Sum")
    body = b"3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Tokens: 42\r\n\r\n"
    seen, got = await exchange(lane, request + body, answer)
    assert (seen.body, seen.trailers) == (b"abc0123456789", [("x-sum", "7")])
    assert seen.get("content-length") is None
    assert (got.body, got.trailers) == (b"hi", [("x-tokens", "42")])


async def test_a_body_that_comes_while_the_upstream_is_connected_to_arrives_whole(lane: Lane) -> None:
    seen = lane.serve()
    body = bytes(range(256)) * 8_000
    assert (await lane.ask("/", "POST", body=body)).status == 200
    assert seen[0].body == body


async def test_trailers_that_frame_or_authenticate_are_not_passed_on(lane: Lane) -> None:
    request = lane.request("/", "POST", "Transfer-Encoding: chunked")
    body = b"1\r\na\r\n0\r\nContent-Length: 3\r\nHost: evil\r\nAuthorization: x\r\nX-Ok: 1\r\n\r\n"
    seen, _ = await exchange(lane, request + body, OK)
    assert seen.trailers == [("x-ok", "1")]


async def test_a_chunked_request_byte_by_byte(lane: Lane) -> None:
    seen = lane.serve()
    client = await lane.connect()
    for byte in lane.request("/", "POST", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n2\r\nde\r\n0\r\nX: 1\r\n\r\n":
        await client.send(bytes([byte]))
    assert (await client.read_response()).status == 200
    assert (seen[0].body, seen[0].trailers) == (b"abcde", [("x", "1")])


async def test_an_answer_that_ends_with_the_connection_is_chunked_to_the_client(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/1"))
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(b"HTTP/1.1 200 OK\r\n\r\nall of ")
    head = await client.read_head()
    assert head.get("transfer-encoding") == "chunked"
    assert await client.read_chunk() == b"all of "
    await upstream.send(b"it")
    upstream.close()
    assert await client.read_chunk() == b"it"
    assert await client.read_chunk() == b""
    assert await client.read(2) == b"\r\n"
    lane.serve()
    await client.send(lane.request("/2"))
    assert (await client.read_response()).body == b"ok"


async def test_an_answer_of_http_1_0_goes_on_as_1_1(lane: Lane) -> None:
    _, answer = await exchange(lane, lane.request(), b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (answer.start, answer.body) == ("HTTP/1.1 200 OK", b"ok")


async def test_a_client_of_http_1_0_is_closed_after_its_answer(lane: Lane) -> None:
    lane.serve()
    client = await lane.connect()
    await client.send(b"GET /old HTTP/1.0\r\nHost: %b\r\n\r\n" % lane.host.encode())
    answer = await client.read_response()
    assert (answer.body, answer.get("connection")) == (b"ok", "close")
    assert await client.is_closed()


async def test_a_client_of_http_1_0_may_ask_to_be_kept(lane: Lane) -> None:
    lane.serve()
    client = await lane.connect()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.0\r\nHost: %b\r\nConnection: keep-alive\r\n\r\n" % lane.host.encode())
        answer = await client.read_response()
        assert (answer.body, answer.get("connection")) == (b"ok", "keep-alive")


async def test_a_client_of_http_1_0_gets_a_chunked_answer_until_the_close(lane: Lane) -> None:
    request = b"GET / HTTP/1.0\r\nHost: %b\r\nConnection: keep-alive\r\n\r\n" % lane.host.encode()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n"
    _, answer = await exchange(lane, request, chunked)
    assert answer.get("transfer-encoding") is None
    assert (answer.body, answer.get("connection")) == (b"hi", "close")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_any_method_passes_with_and_without_a_body(lane: Lane, method: str) -> None:
    seen = lane.serve()
    await lane.ask("/", method)
    await lane.ask("/", method, body=b"{}")
    assert [(request.method, request.body) for request in seen] == [(method, b""), (method, b"{}")]
    assert seen[0].get("content-length") is None
    assert seen[0].get("transfer-encoding") is None


async def test_the_status_phrase_may_be_missing_or_unknown(lane: Lane) -> None:
    _, answer = await exchange(lane, lane.request(), b"HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n")
    assert answer.status == 299


async def test_listener_and_upstream_may_speak_ipv6(start_proxy: Callable[..., Proxy]) -> None:
    port = free_port("::1")
    proxy = start_proxy(RULES.format(name="six", port=port, idle="4s").replace("127.0.0.1", "'::1'"), host="::1")

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        request = await wire.read_request()
        assert request.get("x-forwarded-for") == "::1"
        await answer_ok(wire, request)

    async with await asyncio.start_server(on_connection, "::1", port, limit=LIMIT_BYTES):
        client = await connect(proxy.port, "::1")
        await client.send(b"GET / HTTP/1.1\r\nHost: six.test\r\n\r\n")
        assert (await client.read_response()).body == b"ok"
        await client.send(b"GET / HTTP/1.1\r\nHost: [::1]:%d\r\n\r\n" % proxy.port)
        assert (await client.read_response()).status == 404
        client.close()


async def test_what_an_endpoint_says_before_it_is_asked_is_no_answer(lane: Lane) -> None:
    """It tires of waiting just then: the worker, which was stopped, finds first the request and then the 408."""
    client = await lane.connect()
    await client.send(lane.request())
    first = await lane.accept()
    await first.read_request()
    await first.send(OK)
    assert (await client.read_response()).status == 200
    (worker,) = await lane.proxy.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        await until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        await client.send(lane.request("/", "POST", body=b"once"))
        await first.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    finally:
        os.kill(worker, signal.SIGCONT)
    second = await lane.accept()
    assert (await second.read_request()).body == b"once"
    await second.send(OK)
    assert (await client.read_response()).status == 200
    assert await first.is_closed()
