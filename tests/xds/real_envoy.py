"""The real Envoy, configured over ADS by the shortest server that does: everything again with each push.

`RealEnvoy.push` returns once Envoy has acknowledged or refused all of it, so no test has to wait for a while.
"""

import json
import queue
import subprocess
import sysconfig
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf.any_pb2 import Any as Packed

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Resources

PATIENCE_S = 30.0
BINARY = Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"


class Ads(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]
    """State of the world, one client. `refused` has what it said of each type."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._resources: Resources = {type_url: {} for type_url in TYPES}
        self._version = 0
        self._answers: dict[str, int] = {}
        self._queues: list[queue.SimpleQueue[Any]] = []
        self.refused: dict[str, str] = {}

    def tell(self, resources: Resources) -> None:
        """Tell the clients, and do not wait for what they say."""
        with self._changed:
            self._resources = resources
            self._version += 1
            self.refused = {}
            for events in self._queues:
                events.put(None)

    def push(self, resources: Resources) -> dict[str, str]:
        """Tell the client; what it refuses, by type URL."""
        with self._changed:
            self.tell(resources)
            if not self._changed.wait_for(self._is_settled, PATIENCE_S):
                raise TimeoutError(f"Envoy has answered {self._answers} of version {self._version}; {self.refused}")
            return dict(self.refused)

    def StreamAggregatedResources(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=_drain, args=(requests, events), daemon=True).start()
        with self._changed:
            self._queues.append(events)
        names: dict[str, list[str]] = {}
        while context.is_active():
            event = events.get()
            if event is None:
                for type_url in TYPES:
                    if type_url in names:
                        yield self._answer(type_url, names[type_url])
            elif self._take(event, names):
                yield self._answer(event.type_url, names[event.type_url])

    def _take(self, request: Any, names: dict[str, list[str]]) -> bool:
        """Note what a request says; whether it wants an answer."""
        with self._changed:
            if request.response_nonce:
                self._answers[request.type_url] = int(request.response_nonce)
            if request.HasField("error_detail"):
                self.refused[request.type_url] = request.error_detail.message
            new = names.get(request.type_url) != list(request.resource_names)
            names[request.type_url] = list(request.resource_names)
            self._changed.notify_all()
            return new and self._version > 0

    def _answer(self, type_url: str, names: list[str]) -> Any:
        found = self._resources[type_url]
        wanted = [r for name, r in found.items() if (r.wildcard if not names else name in names)]
        return discovery_pb2.DiscoveryResponse(
            type_url=type_url,
            version_info=str(self._version),
            nonce=str(self._version),
            resources=[Packed(type_url=type_url, value=resource.body) for resource in wanted],
        )

    def _is_settled(self) -> bool:
        wanted = {CLUSTER, LISTENER}
        wanted |= {ENDPOINTS} if self._resources[ENDPOINTS] else set()
        wanted |= {ROUTES} if self._resources[LISTENER] and LISTENER not in self.refused else set()
        return all(self._answers.get(type_url) == self._version for type_url in wanted)


class RealEnvoy:
    """One Envoy process and its control plane."""

    def __init__(self, folder: Path) -> None:
        self.ads = Ads()
        self._server = grpc.server(ThreadPoolExecutor(4))
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self.ads, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        config, self._admin = folder / "envoy.json", folder / "admin"
        config.write_text(json.dumps(_bootstrap(port)))
        with (folder / "envoy.log").open("wb") as log:
            argv = [BINARY, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
            argv += ["--admin-address-path", self._admin]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    def push(self, resources: Resources) -> dict[str, str]:
        return self.ads.push(resources)

    def count(self, name: str) -> int:
        """One of Envoy's own counters or gauges."""
        with urllib.request.urlopen(f"http://{self._admin.read_text()}/stats?format=json&filter=^{name}$") as answer:
            stats: list[dict[str, Any]] = json.load(answer)["stats"]
        return int(stats[0]["value"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._server.stop(None)


def _drain(requests: Iterator[Any], events: "queue.SimpleQueue[Any]") -> None:
    try:
        for request in requests:
            events.put(request)
    except grpc.RpcError:
        pass  # the client is gone
    events.put(None)


def _bootstrap(port: int) -> Mapping[str, Any]:
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "node": {"id": "real-envoy", "cluster": "test"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "control"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "control",
                    "connect_timeout": "1s",
                    "load_assignment": {
                        "cluster_name": "control",
                        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                    },
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                }
            ]
        },
    }
