"""gRPC health checks over xDS: Envoy's own there and back, ours beside it, and what the real Envoy does by them."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from answers import place_listener
from msgspec.structs import replace
from real_envoy import RealEnvoy

from turnout.rules import resilience as r
from turnout.rules import snapshot as s
from turnout.xds.translate.from_envoy import from_xds
from turnout.xds.translate.to_envoy import to_xds

ENVOYS = r.GrpcProbe("health", "iris.Service", "iris.example", (("x-key", "100%"),))
PLAIN = r.GrpcProbe()
SERVER, MODEL = r.GrpcProbe("server"), r.GrpcProbe("model", "iris")
WARM = r.GrpcCall("inference.GRPCInferenceService/ModelInfer", b"\x0a\x04iris\x00\xff", (("x-a", "b"),))
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def snapshot(*probes: r.GrpcProbe, port: int = 9, warm: r.GrpcCall | None = None, **check: Any) -> s.Snapshot:
    health = r.HealthCheck(grpc=probes, warm_call=warm, **check)
    cluster = s.Cluster("a", (s.Endpoint("127.0.0.1", port),), health_check=health)
    route = s.Route("r", s.Match(), s.Forward((s.Backend("a"),)))
    return s.Snapshot((s.Listener("l", (s.VirtualHost("all", ("*",), (route,)),)),), (cluster,))


@pytest.mark.parametrize("probes", [(ENVOYS,), (PLAIN,), (ENVOYS, MODEL), (SERVER,), (SERVER, MODEL)])
@pytest.mark.parametrize("warm", [None, WARM])
def test_a_grpc_check_comes_back_as_it_was(probes: tuple[r.GrpcProbe, ...], warm: r.GrpcCall | None) -> None:
    told = snapshot(*probes, warm=warm)
    assert from_xds(to_xds(told)).clusters[0].health_check == told.clusters[0].health_check


class Server:
    """A gRPC server that says how it is, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer = b"\x08\x01"
        self.asked: list[tuple[str, bytes, dict[str, str]]] = []
        self._server = grpc.server(ThreadPoolExecutor(2), (Answers(self),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(None)


class Answers(grpc.GenericRpcHandler):
    """All calls of a Server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            self._server.asked.append((details.method, request, dict(context.invocation_metadata())))
            return self._server.answer

        return grpc.unary_unary_rpc_method_handler(answer)


def test_the_real_envoy_asks_the_same_and_judges_as_told(tmp_path: Path) -> None:
    server, envoy = Server(), RealEnvoy(tmp_path)
    try:
        told = snapshot(ENVOYS, port=server.port, interval_s=0.05, unhealthy_threshold=1, healthy_threshold=1)
        placed = tuple(replace(listener, port=place_listener(listener).port) for listener in told.listeners)
        clusters = tuple(replace(cluster, protocol="h2c") for cluster in told.clusters)
        assert envoy.push(to_xds(replace(told, listeners=placed, clusters=clusters))) == {}
        wait(lambda: envoy.count("cluster.a.membership_healthy") == 1)
        path, message, metadata = server.asked[0]
        assert (path, message) == ("/grpc.health.v1.Health/Check", b"\x0a\x0ciris.Service")
        assert metadata["x-key"] == "100%"
        server.answer = b"\x08\x02"
        wait(lambda: envoy.count("cluster.a.membership_healthy") == 0)
    finally:
        envoy.close()
        server.close()


def wait(holds: Callable[[], bool]) -> None:
    """Look again until it holds."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
