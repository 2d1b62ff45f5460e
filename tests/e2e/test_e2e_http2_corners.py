"""What few clients and endpoints do over HTTP/2, and any may: nobody else may suffer from it, and it must end."""

from collections.abc import AsyncIterator, Callable

import pytest
from actors.http2_server import Http2Server
from actors.http2_wire import HEADERS, connect_http2
from actors.proxy import Proxy
from actors.wire import Fields

RULES = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: model}}
spec: {{protocol: {protocol}, endpoints: [{{address: 127.0.0.1, port: {port}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: all}}
spec: {{rules: [{{name: all, backendRefs: [{{name: model}}]}}]}}
"""
Start = Callable[..., Proxy]


def get(path: str = "/", method: str = "GET", *more: tuple[str, str]) -> Fields:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.test"), *more]


WEBSOCKET: Fields = [(":method", "CONNECT"), (":protocol", "websocket"), *get("/chat")[1:]]


@pytest.fixture
async def upstream() -> AsyncIterator[Http2Server]:
    async with Http2Server() as server:
        yield server


@pytest.fixture
def proxy(start_proxy: Start, upstream: Http2Server) -> Proxy:
    return start_proxy(RULES.format(protocol="h2c", port=upstream.port), "--idle-timeout", "500ms")


async def test_trailers_of_a_tunnel_are_nobody_elses(proxy: Proxy, upstream: Http2Server) -> None:
    client = await connect_http2(proxy.port)
    await client.send(client.head(1, WEBSOCKET, end=False))
    await client.read_until(HEADERS)
    (connection,) = upstream.connections
    connection.end(1, [(b"x-secret", b"1")])
    await client.read_message(1)
    other = await connect_http2(proxy.port)
    await other.send(other.head(1, get("/", "GET", ("host", "b.test"))))
    answer = await other.read_message(1)
    assert (answer.status, answer.trailers) == (400, [])
