"""Which kind of route a listener's hostnames belong to: HTTPRoutes and GRPCRoutes do not share one.

Gateway API: if a route is bound to a listener that already has one of the other kind, and their hostnames have
something in common, exactly one of the two is accepted: the older, then the first by namespace and name
(GRPCRouteSpec.hostnames, gateway-api apis/v1/grpcroute_types.go; GEP-1016). So routes come here in that order, and who
comes first has its hostnames.
"""

from collections.abc import Iterable, Iterator

from turnout.rules.compiler.hostnames import ANY


class Claims:
    """The domains of one listener, by the kind of route that has them. Asking costs no more for many of them."""

    def __init__(self) -> None:
        # For each kind: its domains, and all patterns that cover one of them; each with who was first.
        self._own: dict[str, dict[str, str]] = {}
        self._around: dict[str, dict[str, str]] = {}

    def find_rival(self, kind: str, domains: Iterable[str]) -> str | None:
        """A route of another kind that has a host in common with `domains`; None if there is none."""
        for domain in domains:
            for other in self._own.keys() - {kind}:
                own, around = self._own[other], self._around[other]
                rival = around.get(domain) or next((own[d] for d in _around(domain) if d in own), None)
                if rival is not None:
                    return rival
        return None

    def add(self, kind: str, domains: Iterable[str], route: str) -> None:
        """`route`, of this kind, has these domains."""
        own, around = self._own.setdefault(kind, {}), self._around.setdefault(kind, {})
        for domain in domains:
            own.setdefault(domain, route)
            for pattern in _around(domain):
                around.setdefault(pattern, route)


def _around(domain: str) -> Iterator[str]:
    """All patterns that cover `domain`, itself first."""
    yield domain
    name = domain.removeprefix("*.")
    while "." in name:
        name = name.partition(".")[2]
        yield f"*.{name}"
    if domain != ANY:
        yield ANY
