"""The real Envoy takes what is made of every example, and does with each request what our own route table does."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from answers import Request, Upstreams, ask, assert_same, compiled, connect, make_table, place, place_listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import ParseDict
from msgspec.structs import replace
from real_envoy import RealEnvoy

from turnout.rules.examples import examples_path
from turnout.rules.snapshot import Cluster, Endpoint, Forward, Listener, Route, Snapshot, VirtualHost
from turnout.xds.resources import ROUTES, make_resource
from turnout.xds.translate.from_envoy import check_resource, from_xds
from turnout.xds.translate.to_envoy import to_xds

CASES = Path(__file__).parent / "envoy_cases"
DOCUMENTS = [*sorted(examples_path().glob("*.yaml")), *sorted(CASES.glob("documents-*.yaml"))]
HAND_WRITTEN: dict[str, Any] = yaml.safe_load((CASES / "routes.yaml").read_text())

TARGETS = (
    "/", "/v2/models/iris/infer", "/v2/models/iris/infer/", "/v2/models/iris", "/v2/models/irisx", "/v2/health/live",
    "/v2/models/iris/versions/2/infer", "/v2/models/iris/versions/11/infer", "/v2/models/flowers/infer?a=b%20c",
    "/v2/models/flowers", "/v2/models/flowersx", "/v1/models/iris/predict?x=1", "/v1/models/iris", "/service/x",
    "/v2/models/iris/generate_stream", "/x?version=2", "/x?version=2&version=3", "/x?a=1&debug=7", "/x?debug=",
    "/x?debug=7a", "/a/../v2/health", "/v2//models", "/v2/models%2Firis", "/v2/models/iris/%2e%2e/health",
)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {}, {"x-canary": "true"}, {"x-canary": "True"}, {"x-team": "research", "x-version": "2.7"},
    {"x-team": "research", "x-version": "12.7"}, {"x-forwarded-port": "80"}, {"cookie": "a=b", "x-tenant": "weeds"},
    {"x-empty": ""}, {"x-tag": "100%"},
)  # fmt: skip
HOSTS = (
    "models.example", "staging.models.example", "STAGING.models.example:99", "a.b.models.example:8080",
    "canary.models.example", "127.0.0.1", "staging.models.example.",
)  # fmt: skip
REQUESTS: list[Request] = [
    *(("GET", target, HOSTS[0], {}) for target in TARGETS),
    *(("POST", target, HOSTS[0], {}) for target in TARGETS),
    *(("POST", TARGETS[1], HOSTS[0], headers) for headers in HEADERS),
    *(("GET", TARGETS[11], host, {}) for host in HOSTS),
    *(("GET", TARGETS[0], HOSTS[1], headers) for headers in HEADERS),
]  # fmt: skip


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEnvoy]:
    envoy = RealEnvoy(tmp_path_factory.mktemp("envoy"))
    yield envoy
    envoy.close()


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    upstreams = Upstreams()
    yield upstreams
    upstreams.close()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_envoy_takes_the_document_and_answers_as_the_route_table_does(
    path: Path, envoy: RealEnvoy, upstreams: Upstreams
) -> None:
    snapshot = without_chance(place(compiled(path), upstreams))
    assert envoy.push(to_xds(snapshot)) == {}
    for listener in snapshot.listeners:
        assert_answers(snapshot, listener, REQUESTS)


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_what_is_read_from_hand_written_routes_is_what_envoy_does_with_them(
    name: str, envoy: RealEnvoy, upstreams: Upstreams
) -> None:
    case = HAND_WRITTEN[name]
    told = {"name": "main", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": case.get("routes", [])}]}
    body = ParseDict({**told, **case.get("configuration", {})}, RouteConfiguration()).SerializeToString()
    assert check_resource(ROUTES, body) == ("main", [])
    clusters = tuple(upstreams.place(Cluster(name, (Endpoint("127.0.0.1", 1),))) for name in "ab")
    resources = to_xds(Snapshot((place_listener(Listener("main", ())),), clusters))
    resources[ROUTES]["main"] = make_resource(ROUTES, "main", body)
    snapshot = from_xds(resources)
    snapshot.check()
    assert envoy.push(resources) == {}
    requests = [(*words.split(" "), fields) for words, fields in case["requests"]]
    assert_answers(snapshot, snapshot.listeners[0], requests)


def test_the_shares_of_a_split_that_becomes_several_routes_are_as_they_were_written(
    envoy: RealEnvoy, upstreams: Upstreams
) -> None:
    snapshot = place(compiled(CASES / "documents-backends.yaml"), upstreams)
    envoy.push(to_xds(snapshot))
    connection = connect(snapshot.listeners[0].port)
    answers = [ask(connection, REQUESTS[1]) for _ in range(1_200)]
    connection.close()
    seen = Counter(answer.seen["cluster"] if answer.seen else "redirected" for answer in answers)
    # 1 : 2 : 3 of 1,200; four sigma of each.
    assert abs(seen["default/a"] - 200) < 52
    assert abs(seen["default/b"] - 400) < 66
    assert abs(seen["redirected"] - 600) < 70


def without_chance(snapshot: Snapshot) -> Snapshot:
    """The same with so many tokens that none is missed, and with faults that hit nobody."""

    def calm(route: Route) -> Route:
        action = route.action
        if not isinstance(action, Forward):
            return route
        limit = action.rate_limit and replace(action.rate_limit, per_second=100_000.0, burst=100_000)
        fault = action.fault and replace(action.fault, delay_per_million=0, abort_per_million=0)
        return replace(route, action=replace(action, rate_limit=limit, fault=fault))

    def hosts(listener: Listener) -> Iterator[VirtualHost]:
        for host in listener.virtual_hosts:
            yield replace(host, routes=tuple(map(calm, host.routes)))

    listeners = tuple(replace(listener, virtual_hosts=tuple(hosts(listener))) for listener in snapshot.listeners)
    return replace(snapshot, listeners=listeners)


def assert_answers(snapshot: Snapshot, listener: Listener, requests: list[Request]) -> None:
    table, connection = make_table(snapshot, listener), connect(listener.port)
    for request in requests:
        assert_same(ask(connection, request), table, listener.port, request)
    connection.close()
