"""The secrets that a worker was given, and the contexts that were made of them.

Contexts are made beside the loop and swapped as a whole. A changed secret makes anew those that name it, and no others,
so that connections to other endpoints are kept.
"""

import ssl
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from turnout.proxy.net.tls.downstream import make_listener_context
from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.rules.snapshot import Cluster, Listener, Snapshot
from turnout.rules.source import Secret
from turnout.rules.tls import DownstreamTls, UpstreamTls


class Contexts(NamedTuple):
    """TLS of a Snapshot, by the names of listeners and of clusters. `made_of` is what each was made of."""

    listeners: dict[str, ssl.SSLContext]
    clusters: dict[str, UpstreamContext]
    made_of: dict[tuple[str, str], tuple[object, ...]]


NO_CONTEXTS = Contexts({}, {}, {})


class ContextError(Exception):
    """A context can't be made; the text names whose, and no part of a secret."""


def build_contexts(snapshot: Snapshot, secrets: Mapping[str, Secret], before: Contexts) -> Contexts:
    """All contexts; those of `before` whose configuration and secrets are the same are kept. Raises ContextError."""
    found = Contexts({}, {}, {})
    for listener in snapshot.listeners:
        if listener.tls is not None:
            _build_listener(listener, listener.tls, secrets, before, found)
    for cluster in snapshot.clusters:
        if cluster.tls is not None:
            _build_cluster(cluster, cluster.tls, secrets, before, found)
    return found


def _build_listener(
    listener: Listener, tls: DownstreamTls, secrets: Mapping[str, Secret], before: Contexts, found: Contexts
) -> None:
    key = "listener", listener.name
    made_of = found.made_of[key] = (tls, *_pick(secrets, tls.secrets()))
    if before.made_of.get(key) == made_of:
        found.listeners[listener.name] = before.listeners[listener.name]
        return
    try:
        found.listeners[listener.name] = make_listener_context(tls, secrets)
    except (ssl.SSLError, KeyError, ValueError) as error:
        raise ContextError(f"listener {listener.name}: {error}") from None


def _build_cluster(
    cluster: Cluster, tls: UpstreamTls, secrets: Mapping[str, Secret], before: Contexts, found: Contexts
) -> None:
    key = "cluster", cluster.name
    made_of = found.made_of[key] = (
        tls,
        cluster.protocol,
        *_pick(secrets, (name for name in (tls.certificate, tls.ca) if name)),
    )
    if before.made_of.get(key) == made_of:
        found.clusters[cluster.name] = before.clusters[cluster.name]
        return
    try:
        found.clusters[cluster.name] = UpstreamContext(tls, secrets, cluster.protocol)
    except (ssl.SSLError, KeyError, ValueError) as error:
        raise ContextError(f"predictor {cluster.name}: {error}") from None


def _pick(secrets: Mapping[str, Secret], names: Iterable[str]) -> list[Secret | None]:
    return [secrets.get(name) for name in names]
