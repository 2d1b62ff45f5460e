"""What a backendRef points at: a cluster, or a name that is missing.

* A bare name is the Predictor of that name: in the route's namespace, or in the one that the ref gives.
* `group: turnout.dev, kind: Predictor` is the same, written out.
* `kind: Service` (group empty) is a cluster of one DNS name, `<name>.<namespace>.svc`, with the ref's port.
  Whether there is such a Service is DNS's to say. Which protocol it speaks (`appProtocol`) cannot be asked, so it is
  told by the kind of the route: h2c for a GRPCRoute, HTTP/1.1 else; these are two clusters.
* A ref into another namespace needs a ReferenceGrant there; for a bare name one for Services does too.

What does not resolve is *missing*, under a name of its own: the name can be right for one route and not for
another.
"""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from turnout.rules.checks.refs import SERVICE_FORMS
from turnout.rules.compiler.clusters import compile_cluster
from turnout.rules.documents.base import GATEWAY_GROUP, TURNOUT_GROUP
from turnout.rules.documents.document import Document
from turnout.rules.documents.gateway import ReferenceGrant
from turnout.rules.documents.mirroring import ObjectRef
from turnout.rules.documents.predictor import Predictor
from turnout.rules.snapshot import Cluster, Endpoint, Origin, Protocol

GRPC_ROUTE = "GRPCRoute"
Where: TypeAlias = Callable[[], Origin]
"""Tells where a ref is written; asked only if that is kept."""


class Missing(msgspec.Struct, frozen=True):
    """Why a ref does not resolve."""

    code: str
    message: str


class References:
    """Resolves backendRefs, and remembers which clusters were asked for."""

    def __init__(self, documents: list[Document]) -> None:
        self._predictors: dict[str, Cluster] = {}
        self._services: dict[str, Cluster] = {}
        self._grants: set[tuple[str, str, str, str, str, str | None]] = set()
        self._used: set[str] = set()
        self.origins: dict[str, Origin] = {}
        self.missing: dict[str, Origin] = {}
        for document in documents:
            match document.resource:
                case Predictor() as predictor:
                    cluster = compile_cluster(predictor)
                    self._predictors[cluster.name] = cluster
                    self.origins[cluster.name] = document.origin()
                case ReferenceGrant() as grant:
                    self._add_grant(grant)

    def resolve(self, ref: ObjectRef, route: str, namespace: str, where: Where) -> tuple[str, Missing | None]:
        """The cluster's name for a ref in a route of this kind and namespace; with the reason if it is missing."""
        if (ref.group, ref.kind) in SERVICE_FORMS:
            return self._service(ref, route, namespace, where)
        name = f"{ref.namespace or namespace}/{ref.name}"
        if name not in self._predictors:
            self._miss(name, where)
            return name, Missing("missing-predictor", f"there is no Predictor {name}")
        # Also without a grant: the Predictor is not what nobody uses.
        self._used.add(name)
        if self._granted(TURNOUT_GROUP, "Predictor", ref, route, namespace):
            return name, None
        # In Gateway API a bare name is a Service, so a standard document's grant says Service.
        if ref.kind is None and self._granted("", "Service", ref, route, namespace):
            return name, None
        return self._not_granted("Predictor", name, route, namespace, where)

    def clusters(self) -> tuple[Cluster, ...]:
        """All Predictors, and the Services that routes name; sorted by name."""
        found = {**self._predictors, **self._services}
        return tuple(found[name] for name in sorted(found))

    def has_queue(self, name: str) -> bool:
        """Whether a request may wait for a limit of this cluster; no for what is missing."""
        cluster = self._predictors.get(name)
        if cluster is None:
            return False
        breaker = cluster.circuit_breaker
        return breaker.queue or breaker.limits.max_connections is not None

    def protocol(self, name: str) -> Protocol:
        """What is spoken to a cluster that is there."""
        return (self._predictors.get(name) or self._services[name]).protocol

    def unused(self) -> list[str]:
        """Predictors that no route names."""
        return [name for name in self._predictors if name not in self._used]

    def _service(self, ref: ObjectRef, route: str, namespace: str, where: Where) -> tuple[str, Missing | None]:
        place = ref.namespace or namespace
        port = ref.port or 0
        protocol: Protocol = "h2c" if route == GRPC_ROUTE else "http1"
        name = f"service/{place}/{ref.name}:{port}" + ("/h2c" if protocol == "h2c" else "")
        if not self._granted("", "Service", ref, route, namespace):
            return self._not_granted("Service", name, route, namespace, where)
        if name not in self._services:
            self._services[name] = Cluster(name, (Endpoint(f"{ref.name}.{place}.svc", port),), protocol=protocol)
            self.origins[name] = where()
        return name, None

    def _add_grant(self, grant: ReferenceGrant) -> None:
        for source in grant.spec.from_:
            for to in grant.spec.to:
                if source.group == GATEWAY_GROUP and source.kind != "Gateway":
                    place = grant.metadata.namespace
                    self._grants.add((source.kind, source.namespace, place, to.group, to.kind, to.name))

    def _granted(self, group: str, kind: str, ref: ObjectRef, route: str, namespace: str) -> bool:
        place = ref.namespace or namespace
        if place == namespace:
            return True
        return any((route, namespace, place, group, kind, name) in self._grants for name in (None, ref.name))

    def _not_granted(self, kind: str, name: str, route: str, namespace: str, where: Where) -> tuple[str, Missing]:
        missing = f"{name} (not granted)"
        self._miss(missing, where)
        text = f"no ReferenceGrant lets {route}s of {namespace} name the {kind} {name}"
        return missing, Missing("not-granted", text)

    def _miss(self, name: str, where: Where) -> None:
        if name not in self.missing:
            self.missing[name] = where()
