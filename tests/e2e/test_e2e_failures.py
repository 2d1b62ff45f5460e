"""The table of failures: what the client gets, and that the access log and the counters say the same."""

import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from actors.lane import OK, RULES, Lane
from actors.proxy import Proxy, until
from actors.wire import Message, Wire, connect


async def check(lane: Lane, flag: str, status: int, answer: Message | None, rule: str = "plain") -> None:
    """Body, access log and counters agree on one request of this lane."""
    line = (await lane.proxy.access(1, host=lane.host))[0]
    assert (line["flag"], line["status"], line["route"]) == (flag, status, f"default/{lane.name}/{rule}")
    code_class = f"{status // 100}xx" if status else "none"
    assert await lane.proxy.count(route=line["route"], flag=flag, code_class=code_class) == 1
    assert await lane.proxy.count(route=line["route"]) == 1
    if answer is not None:
        assert answer.status == status
        assert answer.get("content-type") == "application/json"
        error = json.loads(answer.body)["error"]
        assert (error["flag"], error["status"], error["request_id"]) == (flag, status, line["request_id"])
        assert error["message"]


async def start(lane: Lane, target: str = "/") -> tuple[Wire, Wire]:
    """A request that has arrived: the client's wire and the upstream's."""
    client = await lane.connect()
    await client.send(lane.request(target))
    upstream = await lane.accept()
    await upstream.read_request()
    return client, upstream


async def test_no_route(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(b"GET /a HTTP/1.1\r\nHost: no-%b\r\n\r\n" % lane.host.encode())
    answer = await client.read_response()
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (404, "NR")
    line = (await lane.proxy.access(1, host=f"no-{lane.host}"))[0]
    assert (line["flag"], line["status"], line["route"], line["predictor"]) == ("NR", 404, "", "")
    assert await lane.proxy.count(route="", flag="NR", code_class="4xx") >= 1
    lane.serve()
    await client.send(lane.request())
    assert (await client.read_response()).status == 200  # the connection stays


async def test_a_predictor_that_does_not_exist(lane: Lane) -> None:
    await check(lane, "NC", 500, await lane.ask("/missing"), "missing")


async def test_a_rule_without_a_backend(lane: Lane) -> None:
    await check(lane, "NC", 500, await lane.ask("/empty"), "empty")


async def test_connection_refused(lane: Lane) -> None:
    lane.refuse()
    await check(lane, "UF", 503, await lane.ask())


async def test_a_predictor_whose_name_resolves_to_nothing(start_proxy: Callable[..., Proxy]) -> None:
    rules = RULES.format(name="lost", port=80, idle="4s").replace("127.0.0.1", "no-such-host.invalid")
    proxy = start_proxy(rules)
    client = await connect(proxy.port)
    await client.send(b"GET / HTTP/1.1\r\nHost: lost.test\r\n\r\n")
    answer = await client.read_response()
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (503, "UH")
    assert (await proxy.access(1))[0]["flag"] == "UH"
    client.close()


@pytest.fixture
async def full_lane(lane: Lane) -> AsyncIterator[Lane]:
    """A lane whose upstream takes no more connections: its queue is full, so that the system drops new ones."""
    lane.refuse()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", lane.upstream_port))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", lane.upstream_port))
        yield lane


async def test_a_connection_that_takes_too_long(full_lane: Lane) -> None:
    answer = await full_lane.ask("/connect")
    assert "0.15 s" in json.loads(answer.body)["error"]["message"]
    await check(full_lane, "UF", 503, answer, "connect")


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_upstream_that_closes_before_it_answers(lane: Lane, how: str) -> None:
    client, upstream = await start(lane)
    getattr(upstream, how)()
    await check(lane, "UC", 503, await client.read_response())


async def test_an_upstream_that_closes_within_its_head(lane: Lane) -> None:
    client, upstream = await start(lane)
    await upstream.send(b"HTTP/1.1 200 OK\r\nX-Half:")
    upstream.close()
    await check(lane, "UC", 503, await client.read_response())


@pytest.mark.parametrize("rule", ["request-timeout", "backend-timeout"])
async def test_an_answer_that_does_not_come_in_time(lane: Lane, rule: str) -> None:
    client, upstream = await start(lane, f"/{rule}")
    answer = await client.read_response()
    assert await upstream.is_closed()  # it may still compute, but its answer is for nobody
    await check(lane, "UT", 504, answer, rule)
    lane.serve()
    await client.send(lane.request())
    assert (await client.read_response()).status == 200


@pytest.mark.parametrize("rule", ["request-timeout", "backend-timeout"])
async def test_an_answer_that_does_not_end_in_time_is_cut(lane: Lane, rule: str) -> None:
    client, upstream = await start(lane, f"/{rule}")
    await upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
    assert (await client.read_head()).status == 200
    assert await client.read_chunk() == b"a"
    assert await client.is_closed()
    assert await upstream.is_closed()
    line = (await lane.proxy.access(1, host=lane.host))[0]
    assert (line["flag"], line["status"]) == ("UT", 200)


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_goes_away_ends_the_upstreams_work(lane: Lane, begun: bool) -> None:
    client, upstream = await start(lane)
    if begun:
        await upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome")
        await client.read_head()
    client.close()
    assert await upstream.is_closed()
    await check(lane, "DC", 200 if begun else 0, None)


async def test_a_client_that_goes_away_while_we_connect(full_lane: Lane) -> None:
    client = await full_lane.connect()
    await client.send(full_lane.request())

    async def is_active() -> bool:
        rows = (await full_lane.proxy.stats())["endpoints"]
        return any(row["active"] for row in rows if row["predictor"] == f"default/{full_lane.name}")

    await until(is_active)
    client.close()
    await check(full_lane, "DC", 0, None)
    assert not await is_active()


HALVES = {
    "by length": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    "in chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "within a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf",
    "before the last CRLF": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("half", HALVES)
async def test_an_upstream_that_dies_in_mid_body_leaves_an_answer_that_is_not_complete(
    lane: Lane, half: str, how: str
) -> None:
    client, upstream = await start(lane)
    await upstream.send(HALVES[half])
    head = await client.read_head()
    if head.get("content-length"):
        assert await client.read(4) == b"half"
    else:
        assert await client.read_chunk() == b"half"
    getattr(upstream, how)()
    assert await client.is_closed()  # no last chunk, and not all of the length
    line = (await lane.proxy.access(1, host=lane.host))[0]
    assert (line["flag"], line["status"], line["bytes_sent"]) == ("UC", 200, 4)


@pytest.mark.parametrize("half", HALVES)
async def test_a_client_of_http_1_0_can_not_take_half_for_all(lane: Lane, half: str) -> None:
    client = await lane.connect()
    await client.send(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % lane.host.encode())
    upstream = await lane.accept()
    await upstream.read_request()
    await upstream.send(HALVES[half])
    head = await client.read_head()
    assert await client.read(4) == b"half"
    upstream.close()
    if head.get("content-length"):
        assert await client.is_closed()
    else:
        with pytest.raises(ConnectionResetError):  # where the close is the end, only a reset is none
            await client.read_rest()


async def test_an_answer_until_close_that_ends_with_a_reset_is_not_complete(lane: Lane) -> None:
    client, upstream = await start(lane)
    await upstream.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    await client.read_head()
    assert await client.read_chunk() == b"half"
    upstream.reset()
    assert await client.is_closed()


async def test_an_answer_before_the_whole_request_closes_both_sides(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "POST", "Content-Length: 100000") + b"begin")
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
    answer = await client.read_response()
    assert (answer.status, answer.get("connection")) == (413, "close")
    assert await client.is_closed()
    with contextlib.suppress(ConnectionResetError):
        assert (await upstream.read_rest()) == b"begin"


async def test_a_request_that_its_client_breaks_off_never_completes(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "POST", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
    upstream = await lane.accept()
    await upstream.read_head()
    assert await upstream.read_chunk() == b"abc"
    client.close()
    assert await upstream.is_closed()


async def test_an_error_of_the_upstream_is_passed_on_as_it_is(lane: Lane) -> None:
    client, upstream = await start(lane)
    await upstream.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\ncontent-length: 4\r\n\r\nbusy")
    answer = await client.read_response()
    assert (answer.status, answer.body, answer.get("retry-after")) == (503, b"busy", "1")
    line = (await lane.proxy.access(1, host=lane.host))[0]
    assert (line["flag"], line["status"]) == ("-", 503)


async def test_a_failing_upstream_does_not_disturb_the_others(lane: Lane) -> None:
    client, upstream = await start(lane)
    other, other_upstream = await start(lane)
    upstream.reset()
    assert (await client.read_response()).status == 503
    await other_upstream.send(OK)
    assert (await other.read_response()).status == 200
