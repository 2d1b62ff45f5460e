"""gRPC's own xDS client takes what is made for it: by hostname, with and without port, routed, weighted, followed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc
from real_envoy import Ads

from turnout.rules import resilience as r
from turnout.rules import snapshot as s
from turnout.xds.translate.to_envoy import to_xds

CALLER = """
import sys, grpc
for line in sys.stdin:
    target, method = line.split()
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(method)
        try:
            print(call(b"", timeout=10, wait_for_ready=False).decode(), flush=True)
        except grpc.RpcError as error:
            print(error.code().name, error.details(), flush=True)
"""
"""A process of its own, since gRPC reads its bootstrap once."""


class Upstream(grpc.GenericRpcHandler):
    """Answers every call with its name."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._server = grpc.server(ThreadPoolExecutor(2), handlers=(self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, handler_call_details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._name)

    def close(self) -> None:
        self._server.stop(None)


class Caller:
    """gRPC's client in a process of its own."""

    def __init__(self, ads_port: int) -> None:
        server = {"server_uri": f"127.0.0.1:{ads_port}", "channel_creds": [{"type": "insecure"}]}
        bootstrap = {"xds_servers": [{**server, "server_features": ["xds_v3"]}], "node": {"id": "grpc"}}
        self._process = subprocess.Popen(
            [sys.executable, "-c", CALLER],
            env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, target: str, method: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{target} {method}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def upstreams() -> Iterator[list[Upstream]]:
    upstreams = [Upstream("a"), Upstream("b")]
    yield upstreams
    for upstream in upstreams:
        upstream.close()


@pytest.fixture
def ads() -> Iterator[tuple[Ads, int]]:
    ads, server = Ads(), grpc.server(ThreadPoolExecutor(8))
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(ads, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield ads, port
    server.stop(None)


def test_grpc_reaches_the_endpoints_of_a_hostname(ads: tuple[Ads, int], upstreams: list[Upstream]) -> None:
    server, port = ads
    server.tell(to_xds(snapshot(upstreams, "a")))
    caller = Caller(port)
    name = "models.example"
    assert caller.call(f"xds:///{name}", "/iris.Service/Infer") == "a"
    assert caller.call(f"xds:///{name}:8080", "/iris.Service/Infer") == "a"
    assert caller.call(f"xds:///{name}", "/iris.Service") == "b"
    assert caller.call(f"xds:///{name}", "/iris.ServiceOther/Infer") == "b"
    assert caller.call(f"xds:///{name}", "/gone/Infer").startswith("UNAVAILABLE")
    server.tell(to_xds(snapshot(upstreams, "b")))
    # It acknowledges before it routes by it.
    deadline = time.monotonic() + 20
    while caller.call(f"xds:///{name}", "/iris.Service/Infer") != "b":
        assert time.monotonic() < deadline
    caller.close()
    assert server.refused == {}


BY_USER = r.LoadBalancing("maglev", hash_on=r.HashKey("header", "x-user"))
RESILIENT: dict[str, Any] = {
    "circuit_breaker": r.CircuitBreaker(r.Limits(100, 100, 100, 3), r.Limits(max_connections=10)),
    "outlier_detection": r.OutlierDetection(),
    "health_check": r.HealthCheck((r.Probe("/health"),)),
    "slow_start": r.SlowStart(),
}
ARMED: dict[str, Any] = {
    "idle_timeout_s": 9.0,
    "retry": r.Retry(codes=(503,), only_idempotent=False, back_off_s=0.05),
    "split_by": r.HashKey("cookie", "user"),
    "rate_limit": r.RateLimit(1_000.0, 1_000),
    "fault": r.Fault(abort_status=503, abort_per_million=1_000_000),
}
"""What a gRPC client does with it is its own affair, but it takes it; the filters are not told to it."""


def snapshot(upstreams: list[Upstream], stable: str) -> s.Snapshot:
    clusters = [
        s.Cluster(name, (s.Endpoint("127.0.0.1", u.port, locality="eu/a"),), load_balancing=balancing, **RESILIENT)
        for name, u, balancing in zip("ab", upstreams, (BY_USER, r.LoadBalancing()), strict=True)
    ]
    edits = s.HeaderEdits(set=(("x-a", "%"),))
    routes = (
        s.Route("gone", s.Match(s.PathMatch(value="/gone")), s.Forward((s.Backend("missing"),))),
        s.Route(
            "iris",
            s.Match(s.PathMatch(value="/iris.Service/Infer")),
            s.Forward((s.Backend(stable, 3, edits), s.Backend("a", 0)), s.Rewrite("h"), 2.0, 1.0, **ARMED),
            (edits,),
        ),
        s.Route("moved", s.Match(query=(s.ValueMatch("q", "x"),)), s.Redirect(301)),
        s.Route("rest", s.Match(), s.Forward((s.Backend("b"),))),
    )
    host = s.VirtualHost("models.example", ("models.example",), routes)
    return s.Snapshot((s.Listener("default", (host,)),), tuple(clusters), ("missing",))
