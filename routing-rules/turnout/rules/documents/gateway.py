"""`Gateway`, `ReferenceGrant` and `Namespace`: where requests come in, and who may point at what.

Source: gateway-api, apis/v1/gateway_types.go, apis/v1beta1/referencegrant_types.go.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from turnout.rules.documents.base import ObjectName, Port, Resource, Strict
from turnout.rules.documents.httproute import Hostname
from turnout.rules.documents.tls import GatewayTls, ListenerTls


class LabelExpression(Strict, frozen=True, kw_only=True):
    """One requirement on a label (Kubernetes LabelSelectorRequirement)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(Strict, frozen=True, kw_only=True):
    """All of both must hold; an empty selector takes everything."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    match_expressions: tuple[LabelExpression, ...] = ()


class RouteNamespaces(Strict, frozen=True, kw_only=True):
    """The namespaces whose routes a listener takes."""

    from_: Literal["All", "Same", "Selector"] = msgspec.field(default="Same", name="from")
    selector: LabelSelector | None = None


class RouteKind(Strict, frozen=True, kw_only=True):
    """A kind of route that a listener takes."""

    later_values: ClassVar = {"kind": frozenset({"TLSRoute", "TCPRoute", "UDPRoute"})}

    group: Literal["gateway.networking.k8s.io"] = "gateway.networking.k8s.io"
    kind: Literal["HTTPRoute", "GRPCRoute"]


class AllowedRoutes(Strict, frozen=True, kw_only=True):
    """Which routes may bind to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteKind, ...] = ()


class GatewayListener(Strict, frozen=True, kw_only=True):
    """A port, with the hostname whose requests are its own."""

    later_values: ClassVar = {"protocol": frozenset({"TLS", "TCP", "UDP"})}

    name: Annotated[str, Meta(min_length=1, max_length=253)]
    hostname: Hostname | None = None
    port: Port
    protocol: Literal["HTTP", "HTTPS"]
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayAddress(Strict, frozen=True, kw_only=True):
    """An address to listen on."""

    later_values: ClassVar = {"type": frozenset({"Hostname", "NamedAddress"})}

    type: Literal["IPAddress"] = "IPAddress"
    value: str


class GatewaySpec(Strict, frozen=True, kw_only=True):
    """The listeners; without `addresses` they are on the host of --listen."""

    later: ClassVar = frozenset({"infrastructure", "backendTLS", "allowedListeners", "defaultScope"})

    gateway_class_name: Annotated[str | None, Meta(description="Accepted, without effect.")] = None
    listeners: Annotated[tuple[GatewayListener, ...], Meta(min_length=1)]
    addresses: tuple[GatewayAddress, ...] = ()
    tls: GatewayTls | None = None


class Gateway(Resource, frozen=True, kw_only=True):
    """Where requests come in. With one loaded, routes bind by their parentRefs."""

    api_version: Literal["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"]
    kind: Literal["Gateway"]
    spec: GatewaySpec


class GrantFrom(Strict, frozen=True, kw_only=True):
    """Who may point."""

    later_values: ClassVar = {"kind": frozenset({"TLSRoute", "TCPRoute", "UDPRoute"})}

    group: Literal["gateway.networking.k8s.io"]
    kind: Literal["HTTPRoute", "GRPCRoute", "Gateway"]
    namespace: ObjectName


class GrantTo(Strict, frozen=True, kw_only=True):
    """At what; without a name, at all of that kind in the grant's namespace."""

    group: Literal["", "turnout.dev"]
    kind: Literal["Service", "Predictor", "Secret", "ConfigMap", "Certificate"]
    name: ObjectName | None = None


class ReferenceGrantSpec(Strict, frozen=True, kw_only=True):
    """Any of `from` may point at any of `to`."""

    from_: Annotated[tuple[GrantFrom, ...], Meta(min_length=1)] = msgspec.field(name="from")
    to: Annotated[tuple[GrantTo, ...], Meta(min_length=1)]


class ReferenceGrant(Resource, frozen=True, kw_only=True):
    """Lets routes and Gateways of other namespaces point into this one."""

    api_version: Literal["gateway.networking.k8s.io/v1beta1", "gateway.networking.k8s.io/v1"]
    kind: Literal["ReferenceGrant"]
    spec: ReferenceGrantSpec


class NamespaceSpec(Strict, frozen=True, kw_only=True):
    """Nothing of a Namespace but its labels matters here."""

    finalizers: Annotated[tuple[Any, ...], Meta(description="Accepted, without effect.")] = ()


class Namespace(Resource, frozen=True, kw_only=True):
    """The labels that `allowedRoutes.namespaces.selector` looks at."""

    api_version: Literal["v1"]
    kind: Literal["Namespace"]
    spec: NamespaceSpec = NamespaceSpec()
