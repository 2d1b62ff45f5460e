"""Rule documents for several data planes beside each other: each has Gateways of its own, which no other is told of.

They differ in the address alone, so all data planes listen on the same ports.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

MARKER_HOST = "marker.test"
ROUTE_KINDS = ("HTTPRoute", "GRPCRoute")
GATEWAY = yaml.safe_load("""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: all}
spec:
  listeners: [{name: all, port: 8080, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
""")


class DataPlane(NamedTuple):
    """One kind of it: its node's id is its name."""

    name: str
    address: str


DATA_PLANES = tuple(
    DataPlane(name, f"127.0.0.{number}")
    for number, name in enumerate(("envoy-sotw", "envoy-delta", "turnout-sotw", "turnout-delta"), 2)
)


def spread(documents: list[Any], number: int, planes: Iterable[DataPlane] = DATA_PLANES) -> list[Any]:
    """The documents with a Gateway for each data plane, of its own, and a route that tells that they are served."""
    gateways = [document for document in documents if document["kind"] == "Gateway"] or [GATEWAY]
    found = [_own_gateway(gateway, plane) for gateway in gateways for plane in planes]
    found += [document for document in documents if document["kind"] not in ("Gateway", *ROUTE_KINDS)]
    routes = [document for document in documents if document["kind"] in ROUTE_KINDS]
    namespaces = {"default", *(d["metadata"]["name"] for d in documents if d["kind"] == "Namespace")}
    routes += [_marker(namespace, gateways, number) for namespace in sorted(namespaces)]
    return found + [_bound_to_all(route, planes) for route in routes]


def _own_gateway(gateway: Any, plane: DataPlane) -> Any:
    metadata = {"name": f"{gateway['metadata']['name']}-{plane.name}"}
    metadata["annotations"] = {"turnout.dev/proxies": f"plane={plane.name}"}
    spec = {**gateway["spec"], "addresses": [{"type": "IPAddress", "value": plane.address}]}
    return {**gateway, "metadata": metadata, "spec": spec}


def _bound_to_all(route: Any, planes: Iterable[DataPlane]) -> Any:
    told = route["spec"].get("parentRefs", [{"name": "all", "namespace": "default"}])
    parents = [{**parent, "name": f"{parent['name']}-{plane.name}"} for parent in told for plane in planes]
    return {**route, "spec": {**route["spec"], "parentRefs": parents}}


def _marker(namespace: str, gateways: list[Any], number: int) -> Any:
    moved = {"path": {"type": "ReplaceFullPath", "replaceFullPath": f"/push-{number}"}}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "marker", "namespace": namespace},
        "spec": {
            "hostnames": [MARKER_HOST],
            "parentRefs": [{"name": gateway["metadata"]["name"], "namespace": "default"} for gateway in gateways],
            "rules": [{"filters": [{"type": "RequestRedirect", "requestRedirect": moved}]}],
        },
    }
