"""Cluster messages, and clusters of them and their load assignments."""

from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2

from turnout.rules.resilience import HealthCheck, OutlierDetection
from turnout.rules.snapshot import CONNECT_TIMEOUT_S, Cluster
from turnout.xds.translate.faults import Place
from turnout.xds.translate.lower_cluster import raise_cluster
from turnout.xds.translate.read.balancing import read_balancing, read_slow_start
from turnout.xds.translate.read.breakers import read_breakers
from turnout.xds.translate.read.endpoints import Assignment, read_assignment
from turnout.xds.translate.read.health import read_health_check
from turnout.xds.translate.read.hint import read_cluster_hint
from turnout.xds.translate.read.numbers import read_seconds
from turnout.xds.translate.read.outliers import read_outlier_detection
from turnout.xds.translate.read.protocols import read_upstream_options
from turnout.xds.translate.read.tls import read_upstream

_TYPES = cluster_pb2.Cluster


class ToldCluster(msgspec.Struct, frozen=True):
    """A cluster in Envoy's words, without the endpoints of its load assignment if that is a resource of its own (its
    name, else None). `by_locality`: the localities of the assignment have weights."""

    cluster: Cluster
    assignment: str | None
    by_locality: bool
    hint: Cluster | None


def read_cluster(message: Any, place: Place) -> ToldCluster:
    connect = read_seconds(message, "connect_timeout", CONNECT_TIMEOUT_S, place)
    if not connect:
        place.at("connect_timeout").say("must be above 0 s")
    pool_idle_s, protocol = read_upstream_options(message, place)
    own = Cluster(
        message.name,
        (),
        connect,
        pool_idle_s,
        read_balancing(message, place),
        read_breakers(message.circuit_breakers, place.at("circuit_breakers")),
        _read_outliers(message, place),
        _read_health(message, place),
        read_slow_start(message, place),
        protocol,
        read_upstream(message, protocol, place),
    )
    by_locality = message.common_lb_config.HasField("locality_weighted_lb_config")
    told = ToldCluster(own, None, by_locality, read_cluster_hint(message, place))
    if message.type == _TYPES.EDS:
        _check_eds(message, place)
        return msgspec.structs.replace(told, assignment=message.eds_cluster_config.service_name or message.name)
    if message.type not in (_TYPES.STATIC, _TYPES.STRICT_DNS):
        place.at("type").say("is not supported; STATIC, STRICT_DNS and EDS are")
    if message.HasField("eds_cluster_config"):
        place.at("eds_cluster_config").say("is for the type EDS only")
    names = message.type == _TYPES.STRICT_DNS
    read_assignment(message.load_assignment, place.at("load_assignment"), names=names)
    return told


def make_told(told: ToldCluster, assignment: Assignment) -> tuple[Cluster, bool]:
    """The cluster with these endpoints; and whether the Snapshot's own words for it went along."""
    weights = assignment.weights if told.by_locality else ()
    balancing = msgspec.structs.replace(told.cluster.load_balancing, locality_weights=weights)
    cluster = msgspec.structs.replace(told.cluster, endpoints=assignment.endpoints, load_balancing=balancing)
    raised = raise_cluster(cluster, told.hint)
    if raised is None or bool(raised.load_balancing.locality_weights) != told.by_locality:
        return cluster, False
    return raised, True


def _read_outliers(message: Any, place: Place) -> OutlierDetection | None:
    if not message.HasField("outlier_detection"):
        return None
    return read_outlier_detection(message.outlier_detection, place.at("outlier_detection"))


def _read_health(message: Any, place: Place) -> HealthCheck | None:
    if len(message.health_checks) > 1:
        place.at("health_checks").say("one is supported")
    for index, told in enumerate(message.health_checks):
        return read_health_check(told, place.at("health_checks", index))
    return None


def _check_eds(message: Any, place: Place) -> None:
    source = message.eds_cluster_config.eds_config
    if source.WhichOneof("config_source_specifier") not in ("ads", "self"):
        place.at("eds_cluster_config.eds_config").say("must be ads or self")
    if message.HasField("load_assignment"):
        place.at("load_assignment").say("is not for the type EDS")
