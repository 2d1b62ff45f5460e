"""A route never runs ahead of its cluster: what is live when, told by scripts with a clock of their own."""

from typing import Any

from envoy.config.listener.v3.api_listener_pb2 import ApiListener
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy_messages import cluster, endpoints, listener, routes, static, to
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from resilience_snapshots import OF_GRPC

from turnout.rules import snapshot as s
from turnout.xds.client.book import Book
from turnout.xds.client.needs import read_needs
from turnout.xds.client.reading import Read, Reading
from turnout.xds.client.warming import Warming
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, make_resource
from turnout.xds.translate.to_envoy import to_xds

MISSING = {"cluster_not_found_response_code": "INTERNAL_SERVER_ERROR"}
TIMEOUT_S = 15.0


def type_of(message: Message) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"


class Script:
    """A book and what is live of it. `tell` is a push; `wait` lets time pass."""

    def __init__(self) -> None:
        self.book = Book()
        self.warming = Warming(TIMEOUT_S)
        self.now = 100.0

    def tell(self, *messages: Message, gone: tuple[tuple[str, str], ...] = ()) -> bool:
        """Take these in one go, as responses of their types, and look; whether something else is live."""
        for message in messages:
            name: Any = getattr(message, "cluster_name", "") or message.name
            body = message.SerializeToString(deterministic=True)
            resource = make_resource(type_of(message), name, body)
            read = Read(resource, read_needs(resource.type_url, body))
            self.book.take(Reading(resource.type_url, "", "", [read], []), self.now)
        for type_url, name in gone:
            self.book.take(Reading(type_url, "", "", [], [], [name]), self.now)
        return self.warming.advance(self.book, self.now)

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.warming.advance(self.book, self.now)

    def live(self, type_url: str) -> list[str]:
        return sorted(self.warming.live.resources[type_url])

    @property
    def cold(self) -> tuple[str, ...]:
        return self.warming.live.cold

    def serves(self, message: Message) -> bool:
        """Whether just this version is live."""
        name: Any = getattr(message, "cluster_name", "") or message.name
        read = self.warming.live.resources[type_of(message)].get(name)
        return read is not None and read.resource.body == message.SerializeToString(deterministic=True)


def started(*clusters: str) -> Script:
    """One listener that routes to clusters which have endpoints."""
    script = Script()
    script.tell(*(cluster(name) for name in clusters), *(endpoints(name, 1) for name in clusters))
    assert script.tell(listener(), routes(*(to(name) for name in clusters)))
    return script


def test_nothing_is_live_before_the_listener_its_routes_and_their_clusters_are_there() -> None:
    script = Script()
    assert not script.tell(cluster("a"))
    assert not script.tell(listener())
    assert not script.tell(routes(to("a")))
    assert script.warming.wake_at(script.now) == script.now + TIMEOUT_S
    assert script.tell(endpoints("a", 1))
    assert script.warming.wake_at(script.now) is None
    assert [script.live(t) for t in (CLUSTER, ENDPOINTS, LISTENER, ROUTES)] == [["a"], ["a"], ["main"], ["main"]]


def test_a_first_assignment_without_endpoints_is_warm_and_so_is_a_static_cluster() -> None:
    script = Script()
    script.tell(cluster("a"), static("b", 1), listener(), routes(to("a", "/a"), to("b")))
    assert script.tell(endpoints("a"))
    assert script.cold == ()


def test_an_order_that_is_all_wrong_ends_in_the_same() -> None:
    script = Script()
    script.tell(listener())
    script.tell(routes(to("a")))
    assert not script.tell(cluster("a"))
    assert script.tell(endpoints("a", 1))


def test_a_first_configuration_has_a_listener() -> None:
    script = Script()
    for type_url in (CLUSTER, LISTENER):
        script.book.take(Reading(type_url, "", "", [], []), script.now)
    assert not script.wait(TIMEOUT_S)
    script.tell(listener())
    assert script.tell(routes(to("gone", **MISSING)))


def test_a_listener_for_grpc_clients_is_none_of_ours() -> None:
    script = Script()
    script.tell(static("a", 1), Listener(name="models.example", api_listener=ApiListener()))
    assert not script.wait(TIMEOUT_S)
    assert script.tell(listener(), routes(to("a")))
    assert script.live(LISTENER) == ["main"]


def test_a_first_configuration_waits_for_clusters_to_be_heard_of_but_not_for_ever() -> None:
    script = Script()
    assert not script.tell(listener(), routes(to("gone", **MISSING)))
    assert not script.wait(TIMEOUT_S - 0.1)
    assert script.wait(0.1)


def test_a_new_route_waits_for_its_cluster_while_the_old_one_serves() -> None:
    script = started("a")
    new = routes(to("b"))
    assert not script.tell(new)
    assert script.tell(cluster("a"), cluster("b")) is False
    assert not script.serves(new)
    assert script.tell(endpoints("b", 2))
    assert script.serves(new)


def test_a_cluster_that_does_not_come_holds_its_route_for_15_s_and_is_cold_then() -> None:
    script = started("a")
    new = routes(to("a", "/a"), to("b"))
    script.tell(cluster("b"), new)
    assert not script.wait(TIMEOUT_S - 0.1)
    assert script.wait(0.1)
    assert script.serves(new)
    assert script.cold == ("b",)
    assert script.tell(endpoints("b", 2))
    assert script.cold == ()
    assert script.live(CLUSTER) == ["a", "b"]


def test_the_wait_is_for_each_cluster_and_a_new_push_does_not_start_it_again() -> None:
    script = started("a")
    script.tell(routes(to("b")))
    assert not script.wait(10)
    script.tell(routes(to("b"), to("c")))
    assert not script.wait(5)
    assert script.warming.wake_at(script.now) == script.now + 10
    assert script.tell(routes(to("b"), to("a")))
    assert script.cold == ("b",)


def test_other_changes_go_on_while_a_route_waits() -> None:
    script = started("a")
    script.tell(routes(to("b")))
    moved = endpoints("a", 7)
    assert script.tell(moved)
    assert script.serves(moved)


def test_a_missing_cluster_is_not_waited_for_and_is_not_cold() -> None:
    script = started("a")
    new = routes(to("a", "/a"), to("gone", **MISSING))
    assert script.tell(new)
    assert script.serves(new)
    assert script.cold == ()


def test_what_calls_find_missing_is_not_waited_for_whichever_other_routes_name_it() -> None:
    """Calls of gRPC are answered 503 there, so their routes can't tell by the code that nobody will come."""
    call, plain = (s.Match(s.PathMatch(value=path), headers=h) for path, h in (("/x.X/Y", (OF_GRPC,)), ("/y", ())))
    to_gone = s.Forward((s.Backend("gone"),))
    for matches in ((call,), (call, plain)):
        found = tuple(s.Route(f"r{n}", match, to_gone) for n, match in enumerate(matches))
        told = s.Snapshot((s.Listener("main", (s.VirtualHost("v", ("*",), found),)),), (), ("gone",))
        new = RouteConfiguration.FromString(to_xds(told)[ROUTES]["main"].body)
        script = started("a")
        assert script.tell(new)
        assert script.serves(new)
        assert script.cold == ()


def test_a_cluster_that_one_route_waits_for_is_waited_for() -> None:
    script = started("a")
    assert not script.tell(routes(to("b", "/b", **MISSING), to("b")))


def test_a_cluster_that_was_told_is_waited_for_even_if_it_could_be_missing() -> None:
    script = started("a")
    assert not script.tell(cluster("b"), routes(to("b", **MISSING)))
    assert script.tell(endpoints("b", 2))


def test_a_changed_cluster_serves_as_it_was_until_it_is_warm_again() -> None:
    script = started("a")
    changed = cluster("a", service="elsewhere")
    assert not script.tell(changed)
    assert not script.wait(10 * TIMEOUT_S)
    assert script.serves(cluster("a"))
    assert script.tell(endpoints("elsewhere", 5))
    assert script.serves(changed)
    assert script.live(ENDPOINTS) == ["elsewhere"]


def test_a_cluster_that_is_taken_away_too_early_serves_its_route_for_15_s() -> None:
    script = started("a")
    assert not script.tell(gone=((CLUSTER, "a"),))
    assert script.live(ENDPOINTS) == ["a"]
    assert not script.wait(TIMEOUT_S - 0.1)
    assert script.wait(0.1)
    assert script.live(CLUSTER) == []
    assert script.cold == ("a",)


def test_a_cluster_that_is_taken_away_after_its_route_goes_at_once() -> None:
    script = started("a", "b")
    script.tell(routes(to("b")))
    assert script.tell(gone=((CLUSTER, "a"),))
    assert script.live(CLUSTER) == ["b"]
    assert script.warming.wake_at(script.now) is None


def test_an_old_route_keeps_its_cluster_while_the_new_one_waits() -> None:
    script = Script()
    old = routes(to("a", **MISSING))
    script.tell(cluster("a"), endpoints("a", 1), listener(), old)
    script.tell(cluster("b"), routes(to("b", **MISSING)), gone=((CLUSTER, "a"),))
    assert script.serves(old)
    assert script.live(CLUSTER) == ["a"]
    assert script.tell(endpoints("b", 1))
    assert script.live(CLUSTER) == ["b"]


def test_a_missing_cluster_goes_at_once_when_its_route_says_so() -> None:
    script = Script()
    script.tell(cluster("a"), endpoints("a", 1), listener(), routes(to("a", **MISSING)))
    assert script.tell(gone=((CLUSTER, "a"),))
    assert (script.live(CLUSTER), script.cold) == ([], ())


def test_a_listener_with_other_routes_goes_live_with_them() -> None:
    script = started("a")
    moved = listener(routes="other")
    assert not script.tell(moved)
    assert script.serves(listener())
    assert script.live(ROUTES) == ["main"]
    assert script.tell(routes(to("a"), name="other"))
    assert script.serves(moved)
    assert script.live(ROUTES) == ["other"]


def test_a_second_listener_without_routes_does_not_hold_the_first_for_ever() -> None:
    script = Script()
    script.tell(cluster("a"), endpoints("a", 1), listener(), listener("second", routes="none"), routes(to("a")))
    assert not script.warming.started
    assert script.wait(TIMEOUT_S)
    assert script.live(LISTENER) == ["main"]


def test_a_listener_that_is_gone_goes_at_once_with_its_routes() -> None:
    script = started("a")
    assert script.tell(gone=((LISTENER, "main"),))
    assert (script.live(LISTENER), script.live(ROUTES)) == ([], [])


NAMES = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("cluster"), NAMES, st.booleans()),
    st.tuples(st.just("endpoints"), NAMES, st.integers(0, 3)),
    st.tuples(st.just("routes"), st.lists(NAMES, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("no cluster"), NAMES),
    st.tuples(st.just("listener"), st.sampled_from(("main", "second")), st.sampled_from(("main", "other"))),
    st.tuples(st.just("no listener"), st.sampled_from(("main", "second"))),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 7.0, 15.0))),
)


@given(st.lists(STEPS, max_size=40))
def test_whatever_comes_what_is_live_holds_together(steps: list[tuple[Any, ...]]) -> None:
    """Each listener has its routes, each cluster its endpoints, and a name is live, cold or known to be missing."""
    script = Script()
    for step in steps:
        match step:
            case ("cluster", name, moved):
                script.tell(cluster(name, service=f"{name}-moved" if moved else ""))
            case ("endpoints", name, count):
                script.tell(endpoints(name, *range(1, count + 1)))
            case ("routes", names, missing):
                script.tell(routes(*(to(n, **(MISSING if missing else {})) for n in names)))
            case ("no cluster", name):
                script.tell(gone=((CLUSTER, name),))
            case ("listener", name, wanted):
                script.tell(listener(name, routes=wanted))
            case ("no listener", name):
                script.tell(gone=((LISTENER, name),))
            case ("wait", seconds):
                script.wait(seconds)
        holds_together(script)
    script.wait(TIMEOUT_S)
    script.wait(TIMEOUT_S)
    assert script.warming.wake_at(script.now) is None


def holds_together(script: Script) -> None:
    live = script.warming.live.resources
    for read in live[LISTENER].values():
        assert set(read.needs.routes) <= live[ROUTES].keys()
    for read in live[CLUSTER].values():
        assert read.needs.endpoints is None or read.needs.endpoints in live[ENDPOINTS]
    for read in live[ROUTES].values():
        for name, missing in read.needs.clusters.items():
            assert name in live[CLUSTER] or missing or name in script.cold
    assert not live[CLUSTER].keys() & set(script.cold)
