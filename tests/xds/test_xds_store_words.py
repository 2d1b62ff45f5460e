"""`turnout diff` says what happens to the traffic."""

import pytest

from turnout.rules.documents.document import Report
from turnout.xds.store.objects import Key, StoredObject, read_objects
from turnout.xds.store.words import tell_changes

ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: iris}
spec:
  rules:
  - backendRefs:
    - {name: iris-v1, weight: 90}
    - {name: iris-v2, weight: 10}
"""
PREDICTOR = """\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: iris-v1}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
"""


def objects(text: str) -> dict[Key, StoredObject]:
    report = Report()
    found = {item.key: item for item in read_objects("rules.yaml", text, "api", report)}
    assert report.found == []
    return found


def diff(before: str, after: str) -> list[str]:
    return tell_changes(objects(before), objects(after))


def test_a_changed_weight_is_traffic_that_moves() -> None:
    after = ROUTE.replace("90", "80").replace("10", "20")
    assert diff(ROUTE, after) == ["iris: 10 % of traffic moves from iris-v1 to iris-v2"]


def test_a_changed_weight_of_calls_is_traffic_that_moves_too() -> None:
    grpc = ROUTE.replace("HTTPRoute", "GRPCRoute")
    after = grpc.replace("90", "80").replace("10", "20")
    assert diff(grpc, after) == ["iris: 10 % of traffic moves from iris-v1 to iris-v2"]


def test_weights_are_told_as_shares_whatever_their_sum() -> None:
    assert diff(ROUTE, ROUTE.replace("90", "10")) == ["iris: 40 % of traffic moves from iris-v1 to iris-v2"]
    assert diff(ROUTE, ROUTE.replace("90", "9").replace("10", "1")) == ["iris: weights change, and no traffic moves"]


def test_a_new_backend_takes_from_those_that_lose() -> None:
    after = ROUTE.replace("90", "70") + "    - {name: iris-v3, weight: 20}\n"
    assert diff(ROUTE, after) == ["iris: 20 % of traffic moves from iris-v1 to iris-v3"]


def test_rules_are_named_where_there_are_several() -> None:
    other = ROUTE.replace("  - backend", "  - name: canary\n    backend") + "  - backendRefs: [{name: iris-v1}]\n"
    assert diff(other, other.replace("90", "0")) == ["iris, rule canary: 90 % of traffic moves from iris-v1 to iris-v2"]


def test_endpoints_come_and_go() -> None:
    assert diff(PREDICTOR, PREDICTOR.replace("0.1, port", "0.2, port")) == [
        "iris-v1: endpoint 10.0.0.1 port 80 is gone",
        "iris-v1: endpoint 10.0.0.2 port 80 is new",
    ]


def test_objects_come_and_go() -> None:
    assert diff(PREDICTOR, f"{PREDICTOR}---\n{ROUTE}") == ["HTTPRoute default/iris is new"]
    assert diff(PREDICTOR, ROUTE) == ["HTTPRoute default/iris is new", "Predictor default/iris-v1 is gone"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ("  - backend", "  - timeouts: {request: 5s}\n    backend"),
            'spec.rules[0].timeouts is new: {"request":"5s"}',
        ),
        (("{name: iris}", "{name: iris, labels: {a: b}}"), 'metadata.labels is new: {"a":"b"}'),
        (
            ("iris-v2, weight: 10}", "iris-v2, weight: 10, namespace: other}"),
            "10 % of traffic moves from iris-v2 to other/iris-v2",
        ),
    ],
)
def test_anything_else_is_told_by_its_place(change: tuple[str, str], told: str) -> None:
    assert diff(ROUTE, ROUTE.replace(*change)) == [f"iris: {told}"]


def test_a_change_beside_the_weights_is_told_too() -> None:
    after = ROUTE.replace("90", "50").replace("10", "50").replace("rules:", "hostnames: [a.test]\n  rules:")
    assert diff(ROUTE, after) == [
        "iris: 40 % of traffic moves from iris-v1 to iris-v2",
        'iris: spec.hostnames is new: ["a.test"]',
    ]


def test_equal_states_have_nothing_to_tell() -> None:
    assert diff(ROUTE, f"# a comment\n{ROUTE}") == []
