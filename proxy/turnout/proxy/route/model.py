"""Whether anything asks for the model of a request: only then is it read."""

from collections.abc import Iterable

from turnout.proxy.http.names import MODEL_NAME, MODEL_VERSION
from turnout.rules.resilience import HashKey
from turnout.rules.snapshot import Cluster, Forward, Listener, Route

_HEADERS = frozenset({MODEL_NAME.decode(), MODEL_VERSION.decode()})


def asks_for_model(listener: Listener, clusters: Iterable[Cluster]) -> bool:
    """Whether a route of the listener matches, splits or limits by the model's headers, or a cluster of its routes
    hashes by them."""
    hashing = {cluster.name for cluster in clusters if _is_model(cluster.load_balancing.hash_on)}
    return any(_asks(route, hashing) for host in listener.virtual_hosts for route in host.routes)


def _asks(route: Route, hashing: set[str]) -> bool:
    if any(header.name in _HEADERS for header in route.match.headers):
        return True
    action = route.action
    if not isinstance(action, Forward):
        return False
    return (
        _is_model(action.split_by)
        or (action.rate_limit is not None and action.rate_limit.header in _HEADERS)
        or any(backend.cluster in hashing for backend in action.backends)
    )


def _is_model(key: HashKey | None) -> bool:
    return key is not None and (key.kind == "model" or (key.kind == "header" and key.name in _HEADERS))
