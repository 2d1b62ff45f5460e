"""Upgrade: WebSocket is tunnelled; anything else is not asked for, and not taken."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from actors.lane import OK, Lane
from aiohttp import web

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


@pytest.fixture
async def chat_lane(lane: Lane) -> AsyncIterator[Lane]:
    """A lane whose upstream is an aiohttp server that echoes."""
    lane.refuse()
    app = web.Application()
    app.router.add_get("/chat", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", lane.upstream_port, reuse_port=True).start()
    yield lane
    await runner.cleanup()


async def test_a_websocket_works_through_the_proxy(chat_lane: Lane) -> None:
    lane = chat_lane
    async with aiohttp.ClientSession() as session:
        url, fields = f"http://127.0.0.1:{lane.proxy.port}/chat", {"Host": lane.host}
        async with session.ws_connect(url, headers=fields) as socket:
            for text in ("one", "two"):
                await socket.send_str(text)
                assert await socket.receive_str() == text
            await socket.send_bytes(big := b"x" * 1_000_000)
            assert await socket.receive_bytes() == big
    line = (await lane.proxy.access(1, host=lane.host))[0]
    assert (line["status"], line["flag"]) == (101, "-")
    assert line["bytes_received"] > 1_000_000
    assert line["bytes_sent"] > 1_000_000


async def test_the_upgrade_is_passed_on_and_then_all_bytes(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "GET", *UPGRADE) + b"\x00early")
    upstream = await lane.accept()
    head = await upstream.read_head()
    assert (head.get("connection"), head.get("upgrade")) == ("upgrade", "websocket")
    assert head.get("sec-websocket-key") == "AAAA"
    await upstream.send(SWITCH + b"\r\n\r\nHTTP/1.1 no")
    answer = await client.read_head()
    assert (answer.status, answer.get("upgrade")) == (101, "websocket")
    assert await client.read(15) == b"\r\n\r\nHTTP/1.1 no"
    assert await upstream.read(6) == b"\x00early"
    await client.send(b"\xffmore")
    assert await upstream.read(5) == b"\xffmore"


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_tunnel_ends_when_either_side_closes(lane: Lane, who: str) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "GET", *UPGRADE))
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(SWITCH)
    await client.read_head()
    assert (await lane.proxy.stats())["process"]["tunnels_active"] == 1
    closing, other = (client, upstream) if who == "client" else (upstream, client)
    await closing.send(b"last words")
    closing.close()
    assert await other.read(10) == b"last words"
    assert await other.is_closed()
    assert (await lane.proxy.stats())["process"]["tunnels_active"] == 0


async def test_a_refused_upgrade_is_an_ordinary_answer(lane: Lane) -> None:
    lane_answer = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n"
    client = await lane.connect()
    await client.send(lane.request("/", "GET", *UPGRADE))
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(lane_answer)
    assert (await client.read_response()).status == 426
    await client.send(lane.request("/next"))
    assert (await upstream.read_request()).target == "/next"
    await upstream.send(OK)
    assert (await client.read_response()).status == 200


async def test_h2c_is_not_asked_for(lane: Lane) -> None:
    seen = lane.serve()
    answer = await lane.ask("/", "GET", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
    assert answer.status == 200
    assert not {"connection", "upgrade", "http2-settings"} & set(seen[0].names)


@pytest.mark.parametrize("asked", [(), UPGRADE])
async def test_a_101_that_was_not_asked_for_is_a_502(lane: Lane, asked: tuple[str, ...]) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "GET", *asked))
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: Upgrade\r\n\r\nraw")
    answer = await client.read_response()
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (502, "UPE")
    assert await upstream.is_closed()


async def test_an_upgrade_with_a_body_is_no_way_around_the_framing(lane: Lane) -> None:
    """llhttp ends such a message before its body: what follows must not be read as a request."""
    seen = lane.serve()
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    client = await lane.connect()
    await client.send(lane.request("/", "POST", *UPGRADE, body=smuggled) + lane.request("/next"))
    assert [(await client.read_response()).status for _ in range(2)] == [200, 200]
    assert [(request.target, request.body) for request in seen] == [("/", smuggled), ("/next", b"")]
    assert seen[0].get("upgrade") is None


async def test_what_a_client_sends_early_is_no_request_if_the_upgrade_is_refused(lane: Lane) -> None:
    client = await lane.connect()
    await client.send(lane.request("/", "GET", *UPGRADE) + lane.request("/pipelined"))
    upstream = await lane.accept()
    await upstream.read_head()
    await upstream.send(OK)
    assert (await client.read_response()).body == b"ok"
    async with asyncio.timeout(5):
        assert (await upstream.read_request()).target == "/pipelined"
