"""Each node gets what is for it and nothing that its routes do not name; nodes alike share one object."""

from collections.abc import Mapping

import msgspec
import pytest

from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Document, Report
from turnout.rules.snapshot import Listener, Origin, Snapshot
from turnout.xds.control.catalog import MAX_VIEWS, Catalog
from turnout.xds.resources import (
    CLUSTER,
    ROUTES,
    TYPES,
    Resource,
    Resources,
    group_resources,
    make_resource,
)
from turnout.xds.translate.reuse import Reuse
from turnout.xds.translate.to_envoy import find_origins


class Node(msgspec.Struct):
    """A node, as far as the catalog looks."""

    metadata: dict[str, str]


def node(**labels: str) -> Node:
    return Node(labels)


def translate(snapshot: Snapshot, _: Reuse) -> Mapping[str, Mapping[str, Resource]]:
    """A stand-in that keeps what is compared here: names and contents."""
    listeners = [make_resource(ROUTES, x.name, msgspec.msgpack.encode(x)) for x in snapshot.listeners]
    clusters = [make_resource(CLUSTER, x.name, msgspec.msgpack.encode(x)) for x in snapshot.clusters]
    return group_resources([*listeners, *clusters])


def documents(text: str) -> list[Document]:
    report = Report()
    found = read_documents("rules.yaml", text, report)
    assert report.found == []
    return found


def predictor(name: str, port: int = 80, proxies: str = "") -> str:
    return (
        f"---\napiVersion: turnout.dev/v1alpha1\nkind: Predictor\n{metadata(name, proxies)}"
        f"spec: {{endpoints: [{{address: 10.0.0.1, port: {port}}}]}}\n"
    )


def route(name: str, backend: str, proxies: str = "") -> str:
    return (
        f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n{metadata(name, proxies)}"
        f"spec: {{hostnames: [{name}.test], rules: [{{backendRefs: [{{name: {backend}}}]}}]}}\n"
    )


def metadata(name: str, proxies: str) -> str:
    return f'metadata: {{name: {name}, annotations: {{turnout.dev/proxies: "{proxies}"}}}}\n'


RULES = (
    predictor("a")
    + predictor("b")
    + predictor("nobodys")
    + route("everyones", "a")
    + route("irises", "b", "app=iris")
    + route("others", "b", "app notin (iris)")
)


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(translate, find_origins)


def publish(catalog: Catalog, text: str) -> None:
    catalog.install(catalog.prepare(documents(text), catalog.kinds()))


def hostnames(resources: Resources) -> set[str]:
    listeners = [msgspec.msgpack.decode(x.body, type=Listener) for x in resources[ROUTES].values()]
    return {domain.removesuffix(".test") for x in listeners for host in x.virtual_hosts for domain in host.domains}


def test_before_the_first_edition_there_is_nothing(catalog: Catalog) -> None:
    assert catalog.resources_for(node()) == {type_url: {} for type_url in TYPES}


def test_a_document_goes_to_the_nodes_that_it_selects(catalog: Catalog) -> None:
    publish(catalog, RULES)
    assert hostnames(catalog.resources_for(node(app="iris"))) == {"everyones", "irises"}
    assert hostnames(catalog.resources_for(node(app="wine"))) == {"everyones", "others"}
    assert hostnames(catalog.resources_for(node())) == {"everyones", "others"}


def test_a_predictor_that_no_route_of_the_node_names_is_not_sent(catalog: Catalog) -> None:
    publish(catalog, RULES + route("third", "nobodys", "app=third"))
    assert set(catalog.resources_for(node(app="iris"))[CLUSTER]) == {"default/a", "default/b"}
    assert "default/nobodys" in catalog.resources_for(node(app="third"))[CLUSTER]


def test_a_predictor_that_only_gets_copies_is_sent_too(catalog: Catalog) -> None:
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: nobodys}}}"
    publish(catalog, RULES + route("third", "a").replace("rules: [{", f"rules: [{{filters: [{mirror}], "))
    assert "default/nobodys" in catalog.resources_for(node())[CLUSTER]


def test_nodes_that_differ_in_what_nobody_asks_for_share_one_object(catalog: Catalog) -> None:
    publish(catalog, RULES)
    first = catalog.resources_for(node(app="iris", pod="1"))
    assert catalog.resources_for(node(app="iris", pod="2", zone="a")) is first


def test_who_is_not_concerned_by_a_change_sees_the_same_object_as_before(catalog: Catalog) -> None:
    publish(catalog, RULES)
    iris, wine = catalog.resources_for(node(app="iris")), catalog.resources_for(node(app="wine"))
    publish(catalog, RULES + route("more", "a", "app=iris"))
    assert catalog.resources_for(node(app="wine")) is wine
    after = catalog.resources_for(node(app="iris"))
    assert hostnames(after) == {"everyones", "irises", "more"}
    assert after[CLUSTER]["default/a"] is iris[CLUSTER]["default/a"]


def test_views_of_nodes_that_were_seen_are_made_beforehand() -> None:
    made: list[Snapshot] = []

    def counting(snapshot: Snapshot, reuse: Reuse) -> Mapping[str, Mapping[str, Resource]]:
        made.append(snapshot)
        return translate(snapshot, reuse)

    catalog = Catalog(counting, find_origins)
    publish(catalog, RULES)
    for number in range(50):
        catalog.resources_for(node(app="iris", pod=str(number)))
    assert len(made) == 2
    publish(catalog, RULES + route("more", "a"))
    assert len(made) == 4
    for number in range(50):
        catalog.resources_for(node(app="iris", pod=str(number)))
    publish(catalog, RULES + route("more", "a") + predictor("nobodys-either"))
    assert len(made) == 4, "what says the same is not translated again"


def test_strangers_with_many_labels_do_not_fill_the_memory(catalog: Catalog) -> None:
    keys = [f"k{number}" for number in range(10)]
    publish(catalog, RULES + "".join(route(f"r-{key}", "a", key) for key in keys))
    for number in range(2**10):
        catalog.resources_for(node(**{key: "" for bit, key in enumerate(keys) if number >> bit & 1}))
    assert len(catalog._edition.views()) == MAX_VIEWS


def test_origins_are_those_of_all_views_and_of_single_routes(catalog: Catalog) -> None:
    publish(catalog, RULES)
    assert len(catalog.origins_of(ROUTES, "default")) == 2
    for labels in ({"app": "iris"}, {"app": "wine"}):
        catalog.resources_for(Node(labels))
    lines = {origin.line for origin in catalog.origins_of(ROUTES, "default")}
    assert len(lines) == 3
    (name,) = {r.name for x in catalog._edition.views() for r in x.snapshot.routes() if "everyones" in r.name}
    (only,) = catalog.origins_of(ROUTES, "default", [name])
    assert only.line in lines
    assert {o.line for o in catalog.origins_of(ROUTES, "default", ["gone"])} == lines
    assert catalog.origins_of(CLUSTER, "default/a") == (Origin("rules.yaml", 2),)
    assert catalog.origins_of(CLUSTER, "unheard of") == ()


def test_nodes_whose_documents_did_not_change_keep_their_view(catalog: Catalog) -> None:
    before = documents(RULES)
    catalog.install(catalog.prepare(before, [{"app": "iris"}]))
    irises, others = catalog.resources_for(node(app="iris")), catalog.resources_for(node())
    moved = documents(RULES + route("more", "a", "app=iris"))
    catalog.install(catalog.prepare([*before, moved[-1]], [{"app": "iris"}]))
    assert catalog.resources_for(node()) is others
    assert hostnames(catalog.resources_for(node(app="iris"))) == {"everyones", "irises", "more"}
    assert catalog.resources_for(node(app="iris"))[CLUSTER] is irises[CLUSTER], "no cluster is another"
