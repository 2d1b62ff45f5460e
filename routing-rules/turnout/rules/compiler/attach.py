"""Which listeners a route is bound to, and there under which domains.

Without a Gateway there is one listener, `default`, that takes every route under its own hostnames. With
Gateways:

* A route is bound by `parentRefs` (name, sectionName, port), where `allowedRoutes` lets it in, and where no route of
  another kind has a hostname in common with it (`claims`); without a Gateway both kinds are served together.
* Its domains are the intersections of its hostnames with the listener's hostname.
* Listeners of one address and port become one listener of the Snapshot. A request is judged by the most
  specific listener hostname only (listener isolation, gateway_types.go): domains that belong to a narrower
  listener are taken away from the others, and each listener's own hostname is a domain, so that what it does
  not route is a 404 and not the wider listener's.
"""

import msgspec

from turnout.rules.compiler.claims import Claims
from turnout.rules.compiler.hostnames import ANY, intersect, narrowest
from turnout.rules.documents.base import GATEWAY_GROUP
from turnout.rules.documents.document import AnyRoute, Document, Report
from turnout.rules.documents.gateway import AllowedRoutes, Gateway, GatewayListener, LabelSelector, Namespace
from turnout.rules.documents.httproute import ParentRef
from turnout.rules.snapshot import Origin

DEFAULT_LISTENER = "default"


class Member(msgspec.Struct):
    """One listener of a Gateway, as it was written."""

    document: Document
    gateway: Gateway
    index: int

    @property
    def listener(self) -> GatewayListener:
        return self.gateway.spec.listeners[self.index]

    @property
    def hostname(self) -> str:
        return self.listener.hostname or ANY


class Socket(msgspec.Struct):
    """What becomes one listener of the Snapshot: an address and a port, with the hostnames of its listeners."""

    name: str
    address: str
    port: int
    origin: Origin | None
    hostnames: list[str]
    members: list[Member]

    def own_domains(self) -> list[str]:
        """Domains that must be there even if nothing is routed under them."""
        return self.hostnames if len(self.hostnames) > 1 else []

    def domains_for(self, hostname: str, route_hostnames: tuple[str, ...]) -> set[str]:
        """The domains under which the listener with `hostname` serves a route."""
        found = {intersect(hostname, wanted) for wanted in route_hostnames or (ANY,)}
        return {d for d in found if d is not None and narrowest(self.hostnames, d) == hostname}


class Binding(msgspec.Struct, frozen=True):
    """A route under domains of one socket."""

    socket: str
    domains: frozenset[str]


class Listeners:
    """All sockets, and the binding of routes to them."""

    def __init__(self, documents: list[Document]) -> None:
        self.sockets: dict[str, Socket] = {}
        self._gateways: dict[tuple[str, str], Gateway] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._claims: dict[tuple[str, str], Claims] = {}
        for document in documents:
            match document.resource:
                case Gateway() as gateway:
                    self._gateways[gateway.key] = gateway
                    self._add_sockets(document, gateway)
                case Namespace() as namespace:
                    self._labels[namespace.metadata.name] = namespace.metadata.labels
        if not self._gateways:
            self.sockets[DEFAULT_LISTENER] = Socket(DEFAULT_LISTENER, "", 0, None, [ANY], [])

    def bind(self, document: Document, route: AnyRoute, report: Report) -> list[Binding]:
        """Where the route is served; a warning where a route of another kind keeps it out, or if that is nowhere.

        Routes are bound from the oldest to the newest.
        """
        if not self._gateways:
            return [Binding(DEFAULT_LISTENER, frozenset(route.spec.hostnames or (ANY,)))]
        domains: dict[str, set[str]] = {}
        reasons = []
        rivals: dict[str, str] = {}
        for ref in route.spec.parent_refs:
            reason = self._bind_parent(ref, route, domains, rivals)
            if reason:
                reasons.append(reason)
        for place, rival in rivals.items():
            text = f"{document} is not served at {place}: {rival} is before it and has a hostname in common with it"
            report.on(document).warning(("spec", "hostnames"), "hostname-conflict", text)
        if not domains and not rivals:
            why = "; ".join(reasons) or "it has no parentRefs"
            path = ("spec", "parentRefs") if route.spec.parent_refs else ()
            report.on(document).warning(path, "not-bound", f"{document} is bound to no listener: {why}")
        return [Binding(socket, frozenset(found)) for socket, found in domains.items()]

    def _add_sockets(self, document: Document, gateway: Gateway) -> None:
        for index, listener in enumerate(gateway.spec.listeners):
            for name, address in _places(gateway, listener):
                if name not in self.sockets:
                    origin = document.origin("spec", "listeners", index)
                    self.sockets[name] = Socket(name, address, listener.port, origin, [], [])
                self.sockets[name].members.append(Member(document, gateway, index))
                hostnames = self.sockets[name].hostnames
                if (listener.hostname or ANY) not in hostnames:
                    hostnames.append(listener.hostname or ANY)

    def _bind_parent(
        self, ref: ParentRef, route: AnyRoute, domains: dict[str, set[str]], rivals: dict[str, str]
    ) -> str | None:
        """Add to `domains`, or to `rivals` who keeps it out of which listener; why not, if nothing was added."""
        namespace = ref.namespace or route.metadata.namespace
        gateway = self._gateways.get((namespace, ref.name))
        if (ref.group, ref.kind) != (GATEWAY_GROUP, "Gateway"):
            return f"{ref.kind} {ref.name} is not a Gateway"
        if gateway is None:
            return f"there is no Gateway {namespace}/{ref.name}"
        listeners = [x for x in gateway.spec.listeners if _selected(ref, x)]
        if not listeners:
            wanted = " and ".join(f"{x}" for x in (ref.section_name, ref.port) if x is not None)
            return f"Gateway {namespace}/{ref.name} has no listener {wanted}"
        of_kind = [x for x in listeners if _takes_kind(x.allowed_routes, route.kind)]
        allowed = [x for x in of_kind if self._allows(x.allowed_routes, namespace, route)]
        if not allowed:
            who = route.metadata.namespace if of_kind else f"{route.kind}s"
            return f"allowedRoutes of Gateway {namespace}/{ref.name} keeps {who} out"
        found = False
        for listener in allowed:
            for name, _ in _places(gateway, listener):
                added = self.sockets[name].domains_for(listener.hostname or ANY, route.spec.hostnames)
                if added:
                    found = True
                    rival = self._claim(name, listener, route, added)
                    if rival is None:
                        domains.setdefault(name, set()).update(added)
                    else:
                        rivals[f"listener {listener.name} of Gateway {namespace}/{ref.name}"] = rival
        return None if found else f"no hostname in common with Gateway {namespace}/{ref.name}"

    def _claim(self, socket: str, listener: GatewayListener, route: AnyRoute, domains: set[str]) -> str | None:
        """Take the domains of a listener for this route, or tell whose they are."""
        claims = self._claims.setdefault((socket, listener.hostname or ANY), Claims())
        rival = claims.find_rival(route.kind, sorted(domains))
        if rival is None:
            claims.add(route.kind, domains, f"{route.kind} {'/'.join(route.key)}")
        return rival

    def _allows(self, allowed: AllowedRoutes, gateway_namespace: str, route: AnyRoute) -> bool:
        namespace = route.metadata.namespace
        match allowed.namespaces.from_:
            case "All":
                return True
            case "Same":
                return namespace == gateway_namespace
            case "Selector":
                labels = {**self._labels.get(namespace, {}), "kubernetes.io/metadata.name": namespace}
                selector = allowed.namespaces.selector
                return selector is not None and selects(selector, labels)


def selects(selector: LabelSelector, labels: dict[str, str]) -> bool:
    """Kubernetes' label selector: everything in it must hold; NotIn also takes what has no such label."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for expression in selector.match_expressions:
        has = expression.key in labels
        match expression.operator:
            case "Exists":
                holds = has
            case "DoesNotExist":
                holds = not has
            case "In":
                holds = has and labels[expression.key] in expression.values
            case "NotIn":
                holds = not has or labels[expression.key] not in expression.values
        if not holds:
            return False
    return True


def _takes_kind(allowed: AllowedRoutes, kind: str) -> bool:
    """All kinds that the listener's protocol has, if none is named; that of HTTP has both."""
    return not allowed.kinds or any(wanted.kind == kind for wanted in allowed.kinds)


def _selected(ref: ParentRef, listener: GatewayListener) -> bool:
    return ref.section_name in (None, listener.name) and ref.port in (None, listener.port)


def _places(gateway: Gateway, listener: GatewayListener) -> list[tuple[str, str]]:
    """(name, address) of each socket of a listener."""
    addresses = dict.fromkeys(a.value for a in gateway.spec.addresses) or [""]
    return [(f"[{a}]:{listener.port}" if ":" in a else f"{a or '*'}:{listener.port}", a) for a in addresses]
