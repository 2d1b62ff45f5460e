"""What our retry policy decides, against what the real Envoy does with the same condition and the same failure.

Envoy is sent one request for each pair of condition and failure; how often it asked says whether it retries.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from actors.envoy import Envoy, require_envoy
from actors.proxy import free_port

from turnout.proxy import errors
from turnout.proxy.http.head import ResponseHead
from turnout.proxy.route.retry import RetryPolicy
from turnout.rules.resilience import Retry, RetryOn

CONDITIONS: tuple[RetryOn, ...] = (
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream", "retriable-4xx",
)  # fmt: skip
RETRIES = 3
PATIENCE_S = 30.0

ANSWERS = {
    "unavailable": ResponseHead([(b"content-length", b"0")], 503),
    "internal": ResponseHead([(b"content-length", b"0")], 500),
    "conflict": ResponseHead([(b"content-length", b"0")], 409),
    "too-many": ResponseHead([(b"content-length", b"0")], 429),
    "overloaded": ResponseHead([(b"content-length", b"0"), (b"x-envoy-overloaded", b"true")], 503),
    "ratelimited": ResponseHead([(b"content-length", b"0"), (b"x-envoy-ratelimited", b"true")], 503),
}
FAILURES = {
    "close": (errors.UPSTREAM_CLOSED, True),
    "garbage": (errors.UPSTREAM_MALFORMED, True),
    "silence": (errors.UPSTREAM_TIMEOUT, True),
    "dead": (errors.CONNECT_FAILED, False),
}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Do what the path asks for: `/<condition>/<what>`."""
    try:
        while True:
            line, *_ = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            what = line.split(" ")[1].split("/")[-1]
            if what == "close":
                return
            if what == "garbage":
                writer.write(b"nonsense\r\n\r\n")
            elif what in ANSWERS:
                head = ANSWERS[what]
                writer.write(b"HTTP/1.1 %d Status%b\r\n\r\n" % (head.status, head.block))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def cluster(name: str, port: int) -> dict[str, Any]:
    address = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_retries": 1000}]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": address}]}]},
    }


def route(condition: str, what: str) -> dict[str, Any]:
    policy = {"retry_on": condition, "num_retries": RETRIES, "retry_back_off": {"base_interval": "0.001s"}}
    if what == "silence":
        policy["per_try_timeout"] = "0.1s"
    action = {"cluster": "dead" if what == "dead" else "live", "timeout": "0s", "retry_policy": policy}
    return {"match": {"path": f"/{condition}/{what}"}, "route": action}


def bootstrap(listen: int, live: int, dead: int) -> str:
    routes = [route(condition, what) for condition in CONDITIONS for what in (*ANSWERS, *FAILURES)]
    extensions = "type.googleapis.com/envoy.extensions.filters"
    router = {"@type": f"{extensions}.http.router.v3.Router"}
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "retries",
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "include_attempt_count_in_response": True, "routes": routes}
            ]
        },
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    clusters = [cluster("live", live), cluster("dead", dead)]
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}})


@pytest.fixture
async def envoy_port(tmp_path: Path) -> AsyncIterator[int]:
    require_envoy()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    listen = free_port()
    envoy = Envoy(tmp_path, bootstrap(listen, server.sockets[0].getsockname()[1], free_port()))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await is_open(listen):
                assert envoy.process.poll() is None, envoy.events()
                await asyncio.sleep(0.05)
        yield listen
    finally:
        envoy.close()
        server.close()


async def is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def count_attempts(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: h.example\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    writer.close()
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    return int(fields["x-envoy-attempt-count"])


def would_retry(condition: RetryOn, what: str) -> bool:
    policy = RetryPolicy(Retry(on=(condition,)))
    return policy.on_answer(ANSWERS[what]) if what in ANSWERS else policy.on_failure(*FAILURES[what])


async def test_our_policy_retries_where_envoy_does_and_nowhere_else(envoy_port: int) -> None:
    pairs = [(condition, what) for condition in CONDITIONS for what in (*ANSWERS, *FAILURES)]
    counts = await asyncio.gather(*(count_attempts(envoy_port, f"/{condition}/{what}") for condition, what in pairs))
    envoys = dict(zip(pairs, counts, strict=True))
    ours = {pair: 1 + RETRIES if would_retry(*pair) else 1 for pair in pairs}
    assert ours == envoys
