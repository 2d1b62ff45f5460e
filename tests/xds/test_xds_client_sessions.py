"""Both variants of the ADS client without a network: what is asked, what is answered, what is remembered."""

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse, Resource
from envoy_messages import cluster, endpoints, listener, routes, static, to
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from independent_ads import name_of, pack

from turnout.xds.client.book import Book
from turnout.xds.client.delta import DeltaSession
from turnout.xds.client.reading import read_delta, read_sotw
from turnout.xds.client.sotw import SotwSession
from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES

BAD_ROUTES = routes(to("a", retry_policy={"retry_on": "retriable-headers"}))


class Delta:
    """A delta client and the server's side of its stream, by hand."""

    def __init__(self, book: Book | None = None) -> None:
        self.book = book or Book()
        self.session = DeltaSession(self.book, Node(id="n"))
        self.first = self.session.start()
        self.nonce = 0

    def send(self, type_url: str, *messages: Message, version: str = "1", removed: tuple[str, ...] = ()) -> list[Any]:
        resources = [Resource(name=name_of(m), version=version, resource=pack(m)) for m in messages]
        return self.send_raw(DeltaDiscoveryResponse(type_url=type_url, resources=resources, removed_resources=removed))

    def send_raw(self, response: DeltaDiscoveryResponse) -> list[Any]:
        self.nonce += 1
        response.nonce = f"n{self.nonce}"
        return self.session.on_reading(read_delta(response), now=float(self.nonce))


class Sotw:
    """The same for the state of the world."""

    def __init__(self, book: Book | None = None, versions: dict[str, str] | None = None) -> None:
        self.book = book or Book()
        self.versions = {} if versions is None else versions
        self.session = SotwSession(self.book, self.versions, Node(id="n"))
        self.first = self.session.start()
        self.nonce = 0

    def send(self, type_url: str, *messages: Message, version: str = "1") -> list[Any]:
        self.nonce += 1
        response = DiscoveryResponse(
            type_url=type_url,
            version_info=version,
            nonce=f"n{self.nonce}",
            resources=[pack(m) for m in messages],
        )
        reading = read_sotw(response, self.book.by_body(type_url))
        return self.session.on_reading(reading, now=float(self.nonce))


def versions(book: Book) -> dict[str, dict[str, str]]:
    return {type_url: v for type_url in (CLUSTER, ENDPOINTS, LISTENER, ROUTES) if (v := book.versions(type_url))}


# Delta


def test_a_delta_stream_begins_with_the_node_and_wildcards_for_clusters_and_listeners() -> None:
    first = Delta().first
    assert [request.type_url for request in first] == [CLUSTER, LISTENER]
    assert [request.node.id for request in first] == ["n", ""]
    assert not any(request.resource_names_subscribe for request in first)


def test_a_delta_response_is_acknowledged_and_what_it_needs_is_subscribed() -> None:
    delta = Delta()
    ack, more = delta.send(CLUSTER, cluster("a"), cluster("b", service="other"), static("c", 1))
    assert (ack.type_url, ack.response_nonce, ack.HasField("error_detail")) == (CLUSTER, "n1", False)
    assert (more.type_url, more.response_nonce, list(more.resource_names_subscribe)) == (ENDPOINTS, "", ["a", "other"])
    (ack,) = delta.send(ENDPOINTS, endpoints("a", 1))
    assert (ack.type_url, ack.response_nonce) == (ENDPOINTS, "n2")
    _, more = delta.send(LISTENER, listener(routes="r"))
    assert (more.type_url, list(more.resource_names_subscribe)) == (ROUTES, ["r"])


def test_what_is_not_needed_any_more_is_unsubscribed_and_forgotten() -> None:
    delta = Delta()
    delta.send(CLUSTER, cluster("a"), cluster("b"))
    delta.send(ENDPOINTS, endpoints("a", 1), endpoints("b", 2))
    ack, more = delta.send(CLUSTER, cluster("c"), removed=("a", "never-there"))
    assert not ack.HasField("error_detail")
    assert list(more.resource_names_subscribe) == ["c"]
    assert list(more.resource_names_unsubscribe) == ["a"]
    assert versions(delta.book)[ENDPOINTS] == {"b": "1"}


def test_a_rejection_names_resource_and_field_and_the_rest_is_taken() -> None:
    delta = Delta()
    delta.send(LISTENER, listener(routes="main"), listener("second", routes="other"))
    (nack,) = delta.send(ROUTES, BAD_ROUTES, routes(to("a"), name="other"))
    assert (nack.response_nonce, nack.error_detail.code) == ("n2", 3)
    assert nack.error_detail.message.startswith("RDS main: virtual_hosts[0].routes[0].route.retry_policy")
    assert versions(delta.book)[ROUTES] == {"other": "1"}
    entry = delta.book.entries[ROUTES]["main"]
    assert (entry.state, entry.accepted) == ("NACKED", None)


def test_a_rejected_version_leaves_the_last_good_one() -> None:
    delta = Delta()
    delta.send(LISTENER, listener())
    delta.send(ROUTES, routes(to("a")), version="good")
    (nack,) = delta.send(ROUTES, BAD_ROUTES, version="bad")
    assert nack.HasField("error_detail")
    entry = delta.book.entries[ROUTES]["main"]
    assert (entry.state, entry.rejection.version) == ("NACKED", "bad")
    assert versions(delta.book)[ROUTES] == {"main": "good"}
    (ack,) = delta.send(ROUTES, routes(to("b")), version="better")
    assert not ack.HasField("error_detail")
    assert (entry.state, versions(delta.book)[ROUTES]) == ("ACKED", {"main": "better"})


def test_after_a_reconnect_the_versions_are_told_and_names_subscribed_in_the_first_requests() -> None:
    delta = Delta()
    delta.send(CLUSTER, cluster("a"), version="7")
    delta.send(ENDPOINTS, endpoints("a", 1), version="8")
    first = Delta(delta.book).first
    assert [request.type_url for request in first] == [CLUSTER, ENDPOINTS, LISTENER]
    assert dict(first[0].initial_resource_versions) == {"a": "7"}
    assert dict(first[1].initial_resource_versions) == {"a": "8"}
    assert list(first[1].resource_names_subscribe) == ["a"]


def test_endpoints_and_routes_that_are_still_needed_outlive_their_removal() -> None:
    delta = Delta()
    delta.send(CLUSTER, cluster("a"))
    delta.send(ENDPOINTS, endpoints("a", 1))
    (ack,) = delta.send(ENDPOINTS, removed=("a",))
    assert not ack.HasField("error_detail")
    assert versions(delta.book)[ENDPOINTS] == {"a": "1"}


def test_a_name_that_does_not_exist_is_shown_so() -> None:
    delta = Delta()
    delta.send(CLUSTER, cluster("a"))
    assert delta.book.entries[ENDPOINTS]["a"].state == "REQUESTED"
    delta.send(ENDPOINTS, removed=("a",))
    assert delta.book.entries[ENDPOINTS]["a"].state == "DOES_NOT_EXIST"


def test_what_nobody_asked_for_is_not_taken() -> None:
    delta = Delta()
    delta.send(CLUSTER, cluster("a"))
    (ack,) = delta.send(ENDPOINTS, endpoints("a", 1), endpoints("stranger", 2))
    assert not ack.HasField("error_detail")
    assert set(delta.book.entries[ENDPOINTS]) == {"a"}


def test_a_type_that_was_not_asked_for_is_not_expected() -> None:
    delta = Delta()
    assert [delta.session.expects(t) for t in (CLUSTER, LISTENER, ENDPOINTS, ROUTES, "nonsense")] == [True, True] + [
        False
    ] * 3


@pytest.mark.parametrize(
    ("resource", "complaint"),
    [
        (Resource(name="a", version="1"), "it is a '' in a response of"),
        (Resource(name="a", resource=pack(endpoints("a"))), "ClusterLoadAssignment' in a response of"),
        (Resource(name="other", resource=pack(cluster("a"))), "its own name is 'a'"),
        (Resource(name="a", resource=pack(cluster("a")), ttl=Duration(seconds=1)), "ttl: not supported"),
        (Resource(name="a", resource=pack(cluster("a")), aliases=["b"]), "aliases: not supported"),
        (Resource(name="a", resource=Packed(type_url=CLUSTER, value=b"\xff\xff")), "CDS a: "),
    ],
)
def test_a_resource_that_makes_no_sense_is_rejected(resource: Resource, complaint: str) -> None:
    delta = Delta()
    (nack,) = delta.send_raw(DeltaDiscoveryResponse(type_url=CLUSTER, resources=[resource]))
    assert complaint in nack.error_detail.message
    assert versions(delta.book) == {}


def test_a_name_that_is_there_twice_is_rejected_and_neither_is_taken() -> None:
    delta = Delta()
    nack, *_ = delta.send(CLUSTER, static("a", 1), static("b", 2), static("a", 3), static("a", 4))
    assert "CDS a: it is there twice" in nack.error_detail.message
    assert versions(delta.book)[CLUSTER] == {"b": "1"}


def test_a_rejection_of_very_much_is_short() -> None:
    delta = Delta()
    wrong = [Resource(name=f"{n}" * 500, resource=pack(endpoints("a"))) for n in range(3_000)]
    (nack,) = delta.send_raw(DeltaDiscoveryResponse(type_url=CLUSTER, resources=wrong))
    assert len(nack.error_detail.message) <= 4096
    assert not any(entry.accepted for entry in delta.book.entries[CLUSTER].values())


# State of the world


def test_a_sotw_response_is_acknowledged_with_its_version_and_nonce() -> None:
    sotw = Sotw()
    assert [(r.type_url, r.version_info, r.response_nonce) for r in sotw.first] == [
        (CLUSTER, "", ""),
        (LISTENER, "", ""),
    ]
    ack, more = sotw.send(CLUSTER, cluster("a"), version="v1")
    assert (ack.version_info, ack.response_nonce, list(ack.resource_names)) == ("v1", "n1", [])
    assert (more.type_url, more.version_info, more.response_nonce) == (ENDPOINTS, "", "")
    assert list(more.resource_names) == ["a"]
    ack, more = sotw.send(CLUSTER, cluster("a"), cluster("b"), version="v2")
    assert list(more.resource_names) == ["a", "b"]
    (ack,) = sotw.send(ENDPOINTS, endpoints("a", 1), version="e1")
    assert (ack.version_info, list(ack.resource_names)) == ("e1", ["a", "b"])


def test_a_sotw_rejection_tells_the_version_before_it_and_takes_the_rest() -> None:
    sotw = Sotw()
    sotw.send(CLUSTER, static("a", 1), static("b", 1), version="v1")
    wrong = cluster("a", load_balancing_policy={})
    nack, *_ = sotw.send(CLUSTER, wrong, static("b", 2), version="v2")
    assert (nack.version_info, nack.response_nonce) == ("v1", "n2")
    assert nack.error_detail.message.startswith("CDS a: load_balancing_policy")
    assert versions(sotw.book)[CLUSTER] == {"a": "v1", "b": "v2"}
    assert sotw.book.find(CLUSTER, "a").resource.body == static("a", 1).SerializeToString()


def test_in_sotw_an_absent_cluster_is_deleted_and_absent_endpoints_are_not() -> None:
    sotw = Sotw()
    sotw.send(CLUSTER, cluster("a"), cluster("b"), cluster("c"))
    sotw.send(ENDPOINTS, endpoints("a", 1), endpoints("b", 1))
    sotw.send(ENDPOINTS, endpoints("a", 2), version="2")
    assert versions(sotw.book)[ENDPOINTS] == {"a": "2", "b": "1"}
    _, more = sotw.send(CLUSTER, cluster("b"), version="2")
    assert (more.type_url, more.version_info, more.response_nonce) == (ENDPOINTS, "2", "n3")
    assert list(more.resource_names) == ["b"]
    assert versions(sotw.book) == {CLUSTER: {"b": "2"}, ENDPOINTS: {"b": "1"}}


def test_when_the_last_name_goes_the_empty_list_is_told_once() -> None:
    sotw = Sotw()
    sotw.send(CLUSTER, cluster("a"))
    _, more = sotw.send(CLUSTER, static("a", 1), version="2")
    assert (more.type_url, list(more.resource_names)) == (ENDPOINTS, [])
    assert len(sotw.send(CLUSTER, static("a", 2), version="3")) == 1


def test_a_new_sotw_stream_tells_the_last_accepted_versions_and_no_nonce() -> None:
    sotw = Sotw()
    sotw.send(CLUSTER, cluster("a"), version="v1")
    first = Sotw(sotw.book, sotw.versions).first
    assert [(r.type_url, r.version_info, r.response_nonce, list(r.resource_names)) for r in first] == [
        (CLUSTER, "v1", "", []),
        (ENDPOINTS, "", "", ["a"]),
        (LISTENER, "", "", []),
    ]


def test_an_unreadable_resource_deletes_nothing_in_sotw() -> None:
    """It may be any of those that the response does not name."""
    sotw = Sotw()
    sotw.send(CLUSTER, static("a", 1), static("b", 1))
    reading = read_sotw(
        DiscoveryResponse(
            type_url=CLUSTER,
            version_info="2",
            resources=[pack(static("b", 2)), Packed(type_url=CLUSTER, value=b"\xff")],
        ),
        {},
    )
    (nack,) = sotw.session.on_reading(reading, 2.0)
    assert nack.HasField("error_detail")
    assert versions(sotw.book)[CLUSTER] == {"a": "1", "b": "2"}


def test_resources_may_come_wrapped_in_sotw() -> None:
    sotw = Sotw()
    wrapped = pack(Resource(name="a", version="r1", resource=pack(static("a", 1))))
    reading = read_sotw(DiscoveryResponse(type_url=CLUSTER, version_info="2", resources=[wrapped]), {})
    (ack,) = sotw.session.on_reading(reading, 1.0)
    assert not ack.HasField("error_detail")
    assert versions(sotw.book)[CLUSTER] == {"a": "r1"}


def test_what_was_checked_before_is_not_checked_again() -> None:
    def no_check(type_url: str, body: bytes) -> Any:
        raise AssertionError("checked again")

    sotw = Sotw()
    sotw.send(CLUSTER, static("a", 1))
    again = DiscoveryResponse(type_url=CLUSTER, version_info="2", resources=[pack(static("a", 1))])
    reading = read_sotw(again, sotw.book.by_body(CLUSTER), no_check)
    assert [(read.resource.name, read.resource.version) for read in reading.taken] == [("a", "2")]


GOOD = (cluster("a"), static("b", 1), endpoints("a", 1, 2), listener(), routes(to("a", "/x"), to("b")))


@given(st.data())
def test_no_bytes_make_the_reader_raise(data: st.DataObject) -> None:
    """Good messages with bytes changed, cut or added, under any type: read or refused, never worse."""
    body = bytearray(data.draw(st.sampled_from(GOOD)).SerializeToString())
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    body = body[: data.draw(st.integers(0, len(body)))] + data.draw(st.binary(max_size=8))
    type_url = data.draw(st.sampled_from((CLUSTER, ENDPOINTS, LISTENER, ROUTES)))
    resource = Resource(
        name=data.draw(st.sampled_from(("", "a"))), resource=Packed(type_url=type_url, value=bytes(body))
    )
    reading = read_delta(DeltaDiscoveryResponse(type_url=type_url, resources=[resource]))
    assert len(reading.taken) + len(reading.refused) == 1
