"""Active checks over real connections, to servers that answer all sorts of things."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from turnout.proxy.supervisor.health.probes import Prober
from turnout.proxy.supervisor.options import Address
from turnout.rules.resilience import HealthCheck, Probe


class Upstream:
    """Answers each connection's first request with the same bytes, and keeps what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def start(self) -> None:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.address = Address(*self.server.sockets[0].getsockname())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self.asked.append(head + await reader.readexactly(int(length or 0)))
            writer.write(self.answer)
            if self.answer:
                await writer.drain()
                writer.close()
            else:
                await reader.read()  # until the other side has enough
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def start_upstream() -> AsyncIterator[Callable[..., Any]]:
    servers = []

    async def start(answer: bytes) -> Upstream:
        upstream = Upstream(answer)
        await upstream.start()
        servers.append(upstream.server)
        return upstream

    yield start
    for server in servers:
        server.close()


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    made = Prober()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "passed"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end of the connection", "passed"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "refused"),
        (b"HTTP/1.1 503 Loading\r\nContent-Length: 0\r\n\r\n", "refused"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "refused"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut", "unanswered"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", "passed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n", "unanswered"),
        (b"\x00\x01\x02 nothing of HTTP\r\n\r\n", "unanswered"),
        (b"HTTP/1.1 999999 What\r\n\r\n", "unanswered"),
    ],
)
async def test_an_answer_is_passed_refused_or_none(start_upstream, prober, answer, outcome):
    upstream = await start_upstream(answer)
    result = await prober.check(HealthCheck(http=(Probe("/v2/health/ready"),)), upstream.address)
    assert (result.outcome, result.detail.startswith("/v2/health/ready")) == (outcome, True)


async def test_a_request_says_what_was_asked_for(start_upstream, prober):
    upstream = await start_upstream(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    probe = Probe("/a%2Fb?x=1", "POST", "iris.local", (("X-Key", "k"),), '{"a":1}', ((200, 300),))
    assert (await prober.ask(probe, upstream.address, 5)).passed
    head, _, body = upstream.asked[0].partition(b"\r\n\r\n")
    line, *fields = head.lower().split(b"\r\n")
    assert line == b"post /a%2fb?x=1 http/1.1"
    assert {b"host: iris.local", b"x-key: k", b"content-type: application/json"} <= set(fields)
    assert body == b'{"a":1}'


async def test_all_requests_of_a_check_have_to_pass(start_upstream, prober):
    upstream = await start_upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    probes = (Probe("/ready"), Probe("/model", expect=((204, 205),)), Probe("/never"))
    result = await prober.check(HealthCheck(http=probes), upstream.address)
    assert (result.outcome, result.detail) == ("refused", "/model: status 200")
    assert len(upstream.asked) == 2


async def test_no_answer_within_the_timeout_is_none(start_upstream, prober):
    upstream = await start_upstream(b"")
    result = await prober.check(HealthCheck(http=(Probe("/ready"),), timeout_s=0.05), upstream.address)
    assert (result.outcome, result.detail) == ("unanswered", "/ready: no answer within 0.05 s")


async def test_without_requests_a_connection_is_enough(start_upstream, prober, unused_tcp_port):
    upstream = await start_upstream(b"")
    assert (await prober.check(HealthCheck(), upstream.address)).passed
    result = await prober.check(HealthCheck(), Address("127.0.0.1", unused_tcp_port))
    assert result.outcome == "unanswered"


@pytest.mark.parametrize("probe", [Probe("/", headers=(("a", "b\r\nc: d"),)), Probe("/", "GE T"), Probe("no path")])
async def test_what_cannot_be_sent_is_no_answer(start_upstream, prober, probe):
    upstream = await start_upstream(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
    assert not (await prober.ask(probe, upstream.address, 5)).passed
