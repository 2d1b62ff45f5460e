"""What the admin shows as JSON: the configuration, the clusters, and all counters. Plain data, no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from turnout.proxy.cluster.target import State
from turnout.proxy.supervisor.counters import Counts, RecordWords, requests_of
from turnout.proxy.supervisor.dns import Resolver, is_ip_literal
from turnout.proxy.supervisor.endpoints import addresses_of
from turnout.proxy.supervisor.options import Address
from turnout.proxy.supervisor.state import State as ProxyState
from turnout.proxy.supervisor.states.cluster_states import ClusterStates
from turnout.proxy.supervisor.states.dumps import (
    cluster_counts,
    endpoint_dump,
    endpoint_limits_dump,
    limits_dump,
)
from turnout.proxy.telemetry.layout import BOUNDS_S, RECORD_WORDS, EndpointWord, RecordKey, RouteWord, Word
from turnout.rules.resilience import Limits
from turnout.rules.snapshot import Cluster, Endpoint, Origin, Origins

Json = dict[str, Any]
Records = Sequence[tuple[RecordKey, int]]
HISTOGRAMS = (("downstream", RouteWord.DOWNSTREAM), ("upstream", RouteWord.UPSTREAM), ("proxy", RouteWord.PROXY))
NO_LIMITS = Limits()
NO_WORDS: RecordWords = [0] * RECORD_WORDS


def config_dump(state: ProxyState, source: object | None = None) -> Json:
    """The Snapshot that serves, its version, where its parts were written, and why the last change was refused.

    `source` is what the source tells of itself (`Source.dump`).
    """
    served, error = state.served, state.last_error
    return {
        "version": served.version if served else None,
        "number": served.number if served else None,
        "loaded_at": served.since if served else None,
        "snapshot": served.loaded.snapshot if served else None,
        "origins": _origins(served.loaded.origins) if served else None,
        "warnings": [str(warning) for warning in served.loaded.warnings] if served else [],
        "last_error": error,
        "source": source,
    }


def clusters_dump(
    clusters: Iterable[Cluster],
    resolver: Resolver,
    states: Mapping[str, ClusterStates],
    counts: Counts,
    records: Records,
    now: float,
) -> Json:
    """Each cluster's limits and endpoints: states and why, requests in flight, totals; names with what is wrong."""
    offsets = dict(records)
    dumped = []
    for cluster in clusters:
        breaker, known = cluster.circuit_breaker, states.get(cluster.name)
        words = counts.records.get(offsets.get(("cluster", cluster.name, ""), -1), NO_WORDS)
        endpoints = []
        for address, told in addresses_of(cluster, resolver).items():
            key = str(address)
            counted = counts.records.get(offsets.get(("endpoint", cluster.name, key), -1), NO_WORDS)
            endpoint = {**_address(address, told), **_endpoint(counted)}
            if known is not None and key in known.endpoints:
                endpoint |= endpoint_dump(known, key, known.endpoints[key], now)
            if breaker.endpoint != NO_LIMITS:
                endpoint["limits"] = endpoint_limits_dump(breaker, counted)
            endpoints.append(endpoint)
        names = {e.address for e in cluster.endpoints if not is_ip_literal(e.address)}
        dumped.append(
            {
                "name": cluster.name,
                "limits": limits_dump(breaker, words),
                "counts": cluster_counts(words),
                "endpoints": endpoints,
                "dns": [{"name": name, "error": resolver.error(name) or None} for name in sorted(names)],
            }
        )
    return {"clusters": dumped}


def _address(address: Address, endpoint: Endpoint) -> Json:
    return {
        "address": address.host,
        "port": address.port,
        "state": (State.AVAILABLE if endpoint.healthy else State.UNHEALTHY).name,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "locality": endpoint.locality,
    }


def stats_dump(counts: Counts, records: Records, supervisor: Json) -> Json:
    """Every counter by name, summed over all workers. Times are seconds."""
    routes, endpoints, predictors = [], [], []
    for (kind, first, second), offset in records:
        words = counts.records.get(offset)
        if words is None:
            continue
        if kind == "route":
            routes.append({"route": first, "predictor": second, **_route(words)})
        elif kind == "endpoint":
            endpoints.append({"predictor": first, "endpoint": second, **_endpoint(words)})
        else:
            predictors.append({"predictor": first, **cluster_counts(words)})
    process = {word.name.lower(): counts.words[word] for word in Word}
    return {
        "supervisor": supervisor,
        "process": process,
        "routes": routes,
        "predictors": predictors,
        "endpoints": endpoints,
    }


def _route(words: RecordWords) -> Json:
    return {
        "bytes_received": words[RouteWord.BYTES_RECEIVED],
        "bytes_sent": words[RouteWord.BYTES_SENT],
        "requests": [{"code_class": c, "flag": f, "count": n} for c, f, n in requests_of(words)],
        "seconds": {name: _histogram(words, word) for name, word in HISTOGRAMS},
    }


def _histogram(words: RecordWords, start: int) -> Json:
    buckets = words[start : start + len(BOUNDS_S) + 1]
    return {"count": sum(buckets), "sum": words[start + len(BOUNDS_S) + 1] / 1e9, "buckets": buckets}


def _endpoint(words: RecordWords) -> Json:
    return {word.name.lower(): words[word] for word in EndpointWord if word < EndpointWord.LATENCY}


def _origins(origins: Origins) -> Json:
    return {
        "routes": [
            {"route": name, "match": index, "origin": str(origin)} for (name, index), origin in origins.routes.items()
        ],
        "clusters": _named(origins.clusters),
        "missing": _named(origins.missing),
        "listeners": _named(origins.listeners),
    }


def _named(origins: dict[str, Origin]) -> dict[str, str]:
    return {name: str(origin) for name, origin in origins.items()}
