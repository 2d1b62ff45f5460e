"""What our retry policy decides, against what the real Envoy does with the same condition and the same failure.

Envoy is sent one request for each pair of condition and failure; how often it asked says whether it retries. When it
asked says how long it waits.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pytest
from actors.envoy import Envoy, require_envoy
from free_ports import free_port

from turnout.proxy import errors
from turnout.proxy.http.head import ResponseHead
from turnout.proxy.route.retry import RetryPolicy
from turnout.rules.resilience import Retry, RetryOn

CONDITIONS: tuple[RetryOn, ...] = (
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream", "retriable-4xx",
)  # fmt: skip
RETRIES = 3
PATIENCE_S = 30.0
BACK_OFF_S = 0.2
WAITS = "/waits/unavailable"

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


Arrivals = dict[str, list[float]]
"""When each attempt of a request came, by the request's id."""


class RealEnvoy(NamedTuple):
    """Where it listens, and what came of it to its upstream."""

    port: int
    arrivals: Arrivals


async def serve(arrivals: Arrivals, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Do what the path asks for: `/<condition>/<what>`."""
    try:
        while True:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in lines if line)
            arrivals[fields["x-request-id"]].append(monotonic())
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


def route(condition: str, what: str, back_off_s: float = 0.001) -> dict[str, Any]:
    policy = {"retry_on": condition, "num_retries": RETRIES, "retry_back_off": {"base_interval": f"{back_off_s}s"}}
    if what == "silence":
        policy["per_try_timeout"] = "0.1s"
    action = {"cluster": "dead" if what == "dead" else "live", "timeout": "0s", "retry_policy": policy}
    return {"match": {"path": WAITS if back_off_s == BACK_OFF_S else f"/{condition}/{what}"}, "route": action}


def bootstrap(listen: int, live: int, dead: int) -> str:
    routes = [route(condition, what) for condition in CONDITIONS for what in (*ANSWERS, *FAILURES)]
    routes.append(route("5xx", "unavailable", BACK_OFF_S))
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
async def real_envoy(tmp_path: Path) -> AsyncIterator[RealEnvoy]:
    require_envoy()
    arrivals: Arrivals = defaultdict(list)
    server = await asyncio.start_server(partial(serve, arrivals), "127.0.0.1", 0)
    listen = free_port()
    envoy = Envoy(tmp_path, bootstrap(listen, server.sockets[0].getsockname()[1], free_port()))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await is_open(listen):
                assert envoy.process.poll() is None, envoy.events()
                await asyncio.sleep(0.05)
        yield RealEnvoy(listen, arrivals)
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


async def test_our_policy_retries_where_envoy_does_and_nowhere_else(real_envoy: RealEnvoy) -> None:
    pairs = [(condition, what) for condition in CONDITIONS for what in (*ANSWERS, *FAILURES)]
    counts = await asyncio.gather(
        *(count_attempts(real_envoy.port, f"/{condition}/{what}") for condition, what in pairs)
    )
    envoys = dict(zip(pairs, counts, strict=True))
    ours = {pair: 1 + RETRIES if would_retry(*pair) else 1 for pair in pairs}
    assert ours == envoys


async def test_our_back_off_has_envoys_bounds(real_envoy: RealEnvoy) -> None:
    """Its documentation has wider ones, base × (2^N - 1): 0.6 and 1.4 s for the second and the third retry here."""
    count, late_s = 60, 0.3
    await asyncio.gather(*(count_attempts(real_envoy.port, WAITS) for _ in range(count)))
    waits = [[later - earlier for earlier, later in pairwise(times)] for times in real_envoy.arrivals.values()]
    assert [len(each) for each in waits] == [RETRIES] * count
    policy = RetryPolicy(Retry(back_off_s=BACK_OFF_S))
    for retry in range(1, 1 + RETRIES):
        bound = policy.back_off_s(retry, 1.0)
        # Of 60 numbers up to the bound not all are below 0.7 of it, and of those up to 1.4 s one is above 1.1.
        assert 0.7 * bound < max(each[retry - 1] for each in waits) < bound + late_s, retry
