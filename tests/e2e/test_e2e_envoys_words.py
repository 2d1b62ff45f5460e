"""What a Snapshot can say and no rule document does, through real workers: answers with a body, clusters that have
not come, weights, priorities and health of endpoints, shares of requests, layers of edits."""

import json
from collections import Counter

import pytest
from actors.echo import Echo
from actors.http2_wire import connect_http2
from actors.snapshots import SnapshotProxy, snapshot_of

from turnout.rules.resilience import LoadBalancing
from turnout.rules.snapshot import (
    Backend,
    Cluster,
    Endpoint,
    Forward,
    HeaderEdits,
    Match,
    PathMatch,
    Redirect,
    Respond,
    Route,
)

ANY = Match()


def cluster_of(*endpoints: tuple[Echo, int, int, bool]) -> Cluster:
    told = (
        Endpoint("127.0.0.1", echo.port, weight, priority, healthy) for echo, weight, priority, healthy in endpoints
    )
    return Cluster("c", tuple(told), load_balancing=LoadBalancing("round_robin"))


def to_c(match: Match = ANY, **more: tuple[HeaderEdits, ...]) -> Route:
    return Route("to-c", match, Forward((Backend("c"),)), **more)


async def test_a_direct_response_is_the_answer_and_no_error() -> None:
    edits = (HeaderEdits(set=(("x-one", "1"),)), HeaderEdits(set=(("content-type", "text/html"),)))
    routes = (
        Route("hello", Match(PathMatch("exact", "/hello")), Respond(200, body="héllo")),
        Route("edited", Match(PathMatch("exact", "/edited")), Respond(410, body="gone"), response_headers=edits),
        Route("empty", Match(PathMatch("exact", "/empty")), Respond(204, body="not sent")),
        Route("nothing", ANY, Respond(503, body="")),
    )
    async with SnapshotProxy(snapshot_of(*routes)) as proxy:
        hello = await proxy.ask("GET /hello")
        assert (hello.status, hello.body.decode(), hello.get("content-type")) == (200, "héllo", "text/plain")
        head = await proxy.ask("HEAD /hello")
        assert (head.status, head.get("content-length")) == (200, "6")
        edited = await proxy.ask("POST /edited", "Content-Length: 0")
        assert (edited.status, edited.get("x-one"), edited.get("content-type")) == (410, "1", "text/html")
        empty = await proxy.ask("GET /empty")
        assert (empty.status, empty.names) == (204, ["connection"])
        nothing = await proxy.ask()
        assert (nothing.status, nothing.body, nothing.get("content-type")) == (503, b"", None)
        await proxy.counted("-", "5xx", 1)


async def test_a_direct_response_of_200_is_no_tunnel_for_a_websocket_over_http_2() -> None:
    """Nor for one over HTTP/1.1, whose client knows it for a refusal."""
    head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/")]
    async with SnapshotProxy(snapshot_of(Route("hello", ANY, Respond(200, body="hello")))) as proxy:
        client = await connect_http2(proxy.port)
        await client.send(client.head(1, [*head, (":authority", "a.test")], end=False))
        assert (await client.read_message(1)).status == 404
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA")
        answer = await proxy.ask("GET /", *upgrade)
        assert (answer.status, answer.body) == (200, b"hello")
        client.close()


async def test_a_cluster_that_has_not_come_is_503_nc_until_it_comes() -> None:
    async with Echo() as echo, SnapshotProxy(snapshot_of(to_c(), cold=("c",))) as proxy:
        answer = await proxy.ask()
        error = json.loads(answer.body)["error"]
        assert (answer.status, error["flag"]) == (503, "NC")
        assert error["message"] == "the route's predictor has not come from the control plane yet"
        await proxy.counted("NC", "5xx", 1)
        await proxy.apply(snapshot_of(to_c(), clusters=(cluster_of((echo, 1, 0, True)),)))
        assert (await proxy.ask()).status == 200
        await proxy.apply(snapshot_of(to_c(), missing=("c",)))
        assert (await proxy.ask()).status == 500


async def test_only_the_share_of_a_cold_cluster_fails() -> None:
    route = Route("r", ANY, Forward((Backend("c"), Backend("cold"))))
    async with Echo() as echo:
        snapshot = snapshot_of(route, clusters=(cluster_of((echo, 1, 0, True)),), cold=("cold",))
        async with SnapshotProxy(snapshot) as proxy:
            seen = Counter([(await proxy.ask()).status for _ in range(40)])
            assert seen.keys() == {200, 503}


async def test_endpoints_get_their_weights_and_a_change_of_them() -> None:
    async with Echo("a") as a, Echo("b") as b:
        before = snapshot_of(to_c(), clusters=(cluster_of((a, 3, 0, True), (b, 1, 0, True)),))
        async with SnapshotProxy(before) as proxy:
            assert Counter([(await proxy.ask()).body for _ in range(40)]) == {b"a": 30, b"b": 10}
            await proxy.apply(snapshot_of(to_c(), clusters=(cluster_of((a, 1, 0, True), (b, 1, 0, True)),)))
            assert Counter([(await proxy.ask()).body for _ in range(10)]) == {b"a": 5, b"b": 5}


async def test_the_next_priority_takes_over_and_with_nothing_healthy_it_is_503_uh() -> None:
    async with Echo("a") as a, Echo("b") as b:

        def told(a_healthy: bool, b_healthy: bool) -> tuple[Cluster, ...]:
            return (cluster_of((a, 1, 0, a_healthy), (b, 1, 1, b_healthy)),)

        async with SnapshotProxy(snapshot_of(to_c(), clusters=told(True, True))) as proxy:
            assert {(await proxy.ask()).body for _ in range(10)} == {b"a"}
            await proxy.apply(snapshot_of(to_c(), clusters=told(False, True)))
            assert {(await proxy.ask()).body for _ in range(10)} == {b"b"}
            shown = (await proxy.admin("/clusters"))["clusters"][0]["endpoints"]
            assert [(e["port"], e["state"], e["weight"], e["priority"]) for e in shown] == [
                (a.port, "UNHEALTHY", 1, 0), (b.port, "AVAILABLE", 1, 1),
            ]  # fmt: skip
            await proxy.apply(snapshot_of(to_c(), clusters=told(False, False)))
            answer = await proxy.ask()
            assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (503, "UH")


async def test_layers_of_edits_are_applied_in_their_order() -> None:
    layers = (HeaderEdits(set=(("x", "1"),)), HeaderEdits(add=(("x", "2"),)), HeaderEdits(remove=("y",)))
    async with Echo() as echo:
        echo.fields = ["y: up"]
        route = to_c(request_headers=layers, response_headers=layers)
        async with SnapshotProxy(snapshot_of(route, clusters=(cluster_of((echo, 1, 0, True)),))) as proxy:
            answer = await proxy.ask("GET /", "X: 0", "Y: 0")
            assert (echo.seen[0].all("x"), echo.seen[0].all("y")) == (["1", "2"], [])
            assert (answer.all("x"), answer.all("y")) == (["1", "2"], [])


@pytest.mark.parametrize(("keep", "location"), [(True, "http://h.example/a?q=1"), (False, "http://h.example/a")])
async def test_a_redirect_may_drop_the_query(keep: bool, location: str) -> None:
    route = Route("r", ANY, Redirect(307, port=0, keep_query=keep))
    async with SnapshotProxy(snapshot_of(route)) as proxy:
        answer = await proxy.ask("GET /a?q=1")
        assert (answer.status, answer.get("location")) == (307, location)


async def test_a_route_takes_its_share_and_the_next_one_the_rest() -> None:
    some = Route("some", Match(per_million=500_000), Respond(200, body="some"))
    rest = Route("rest", ANY, Respond(200, body="rest"))
    async with SnapshotProxy(snapshot_of(some, rest)) as proxy:
        assert {(await proxy.ask()).body for _ in range(40)} == {b"some", b"rest"}
