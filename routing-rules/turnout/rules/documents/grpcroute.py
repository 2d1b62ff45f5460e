"""`GRPCRoute`, as Gateway API v1 has it: the standard channel, and of the experimental one rule names.

Source: gateway-api, apis/v1/grpcroute_types.go. What is the same as in an HTTPRoute has its types; a rule as a whole is
an HTTPRoute's but for its matches, and is compiled as that (`GRPCRule.as_rule`).
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from turnout.rules.documents.base import ObjectName, Resource, Strict
from turnout.rules.documents.httproute import (
    BackendRef,
    ExtensionRef,
    Filter,
    HeaderMatch,
    HeaderModifier,
    Hostname,
    ParentRef,
    Rule,
    WeightedRef,
)
from turnout.rules.documents.mirroring import RequestMirror

GRPCName = Annotated[str, Meta(max_length=1024)]


class GRPCMethodMatch(Strict, frozen=True, kw_only=True):
    """A condition on what is called, `/service/method`; one of both is needed, and what is left out may be any."""

    type: Annotated[
        Literal["Exact", "RegularExpression"], Meta(description="Of service and method. Expressions are RE2.")
    ] = "Exact"
    service: Annotated[GRPCName | None, Meta(description="With its package: inference.GRPCInferenceService.")] = None
    method: Annotated[GRPCName | None, Meta(description="Like ModelInfer.")] = None


class GRPCMatch(Strict, frozen=True, kw_only=True):
    """Conditions that must all hold; every match is for gRPC calls alone."""

    method: GRPCMethodMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()


class GRPCFilter(Strict, frozen=True, kw_only=True):
    """One filter; the field that belongs to its type must be there, and no other."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: ExtensionRef | None = None

    def as_filter(self) -> Filter:
        """The same filter of an HTTPRoute, which has more of them."""
        return Filter(
            type=self.type,
            request_header_modifier=self.request_header_modifier,
            response_header_modifier=self.response_header_modifier,
            request_mirror=self.request_mirror,
            extension_ref=self.extension_ref,
        )


class GRPCBackendRef(WeightedRef, frozen=True, kw_only=True):
    """Where a share of the calls goes. A bare name is the Predictor of that name; a Service is spoken to in h2c."""

    filters: tuple[GRPCFilter, ...] = ()

    def as_ref(self) -> BackendRef:
        """The same ref of an HTTPRoute."""
        return BackendRef(
            group=self.group,
            kind=self.kind,
            name=self.name,
            namespace=self.namespace,
            port=self.port,
            weight=self.weight,
            filters=as_filters(self.filters),
        )


class GRPCRule(Strict, frozen=True, kw_only=True):
    """Any of `matches`, then `filters`, then one of `backendRefs` by weight."""

    later: ClassVar = frozenset({"sessionPersistence"})

    name: Annotated[ObjectName | None, Meta(description="Its name in metrics and logs.")] = None
    matches: tuple[GRPCMatch, ...] = ()
    filters: tuple[GRPCFilter, ...] = ()
    backend_refs: tuple[GRPCBackendRef, ...] = ()

    def as_rule(self) -> Rule:
        """The same rule of an HTTPRoute, without the matches, of which that has no like."""
        refs = tuple(ref.as_ref() for ref in self.backend_refs)
        return Rule(name=self.name, filters=as_filters(self.filters), backend_refs=refs)


class GRPCRouteSpec(Strict, frozen=True, kw_only=True):
    """Which gRPC calls, by host and rule, go where."""

    later: ClassVar = frozenset({"useDefaultGateways"})

    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[Hostname, ...] = ()
    rules: tuple[GRPCRule, ...] = ()


class GRPCRoute(Resource, frozen=True, kw_only=True):
    """Routes of gRPC calls to predictors."""

    api_version: Literal["gateway.networking.k8s.io/v1"]
    kind: Literal["GRPCRoute"]
    spec: GRPCRouteSpec


def as_filters(filters: tuple[GRPCFilter, ...]) -> tuple[Filter, ...]:
    """The same filters of an HTTPRoute."""
    return tuple(found.as_filter() for found in filters)
