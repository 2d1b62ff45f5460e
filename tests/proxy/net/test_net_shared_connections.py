"""Who waits for a stream of an HTTP/2 connection gets one, or hears that there is none: nobody is left behind."""

from typing import Any, cast

import pytest

from turnout.proxy.http2.session import INITIAL_MAX_STREAMS
from turnout.proxy.net.http2_upstream import MAX_STREAMS
from turnout.proxy.net.shared import SharedConnections

pytestmark = pytest.mark.stand_in


class FakePool:
    """Counts the connections that are asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_reloaded = False

    def may_keep(self, connection: Any) -> bool:
        return not self.is_reloaded

    def make_shared(self, cluster: Any, endpoint: Any) -> None:
        self.asked += 1

    def on_shared_lost(self, connection: Any) -> None:
        """It is counted down elsewhere."""


class FakeCluster:
    is_limited = False


class FakeConnection:
    """One with room for as many streams as there may be."""

    cluster = FakeCluster()
    is_closing = False

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.lent = 0
        self.retired = False
        self.shared: SharedConnections

    @property
    def has_room(self) -> bool:
        return self.lent < MAX_STREAMS

    def lend(self) -> object:
        self.lent += 1
        return object()

    def retire(self) -> None:
        self.retired = True
        self.shared.forget(cast(Any, self))

    def wake_when_idle(self) -> None:
        """There is no time here."""


class FakeExchange:
    def __init__(self) -> None:
        self.outcome = ""

    def on_upstream_ready(self, upstream: object) -> None:
        self.outcome = "ready"

    def on_connect_failed(self, reason: str) -> None:
        self.outcome = reason


class World:
    """The connections to one endpoint, and those who want a stream there."""

    def __init__(self) -> None:
        self.pool = FakePool()
        self.shared = SharedConnections(cast(Any, self.pool), 65_536)
        self.exchanges: list[FakeExchange] = []
        self.connections: list[FakeConnection] = []

    def want(self, count: int) -> None:
        for _ in range(count):
            exchange = FakeExchange()
            self.exchanges.append(exchange)
            if self.shared.borrow(cast(Any, "endpoint")) is not None:
                exchange.outcome = "ready"
            else:
                self.shared.connect(cast(Any, exchange), cast(Any, FakeCluster()), cast(Any, "endpoint"))

    def connect(self, lent: int = 0) -> None:
        connection = FakeConnection("endpoint")
        connection.lent = lent
        connection.shared = self.shared
        self.connections.append(connection)
        self.shared.on_connected(cast(Any, connection))

    def fail(self) -> None:
        self.shared.on_failed(cast(Any, FakeCluster()), cast(Any, "endpoint"), "refused")

    def count(self, outcome: str) -> int:
        return sum(exchange.outcome == outcome for exchange in self.exchanges)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(("wanted", "connections"), [(1, 1), (100, 1), (101, 2), (1_000, 10), (1_001, 11)])
def test_so_many_connections_are_made_as_the_waiters_fill(world: World, wanted: int, connections: int) -> None:
    world.want(wanted)
    assert world.pool.asked == connections
    for _ in range(connections):
        world.connect()
    assert world.count("ready") == wanted


def test_those_that_come_while_a_connection_is_made_are_counted(world: World) -> None:
    world.want(100)
    world.want(150)
    world.connect()
    world.want(100)
    assert world.pool.asked == 4
    for _ in range(3):
        world.connect()
    assert world.count("ready") == 350


def test_when_the_only_connection_fails_all_hear_of_it(world: World) -> None:
    world.want(5)
    world.fail()
    assert world.count("refused") == 5
    world.want(1)
    assert world.pool.asked == 2


def test_when_one_of_several_fails_as_many_hear_of_it_as_none_is_made_for(world: World) -> None:
    """Nobody waits for ever, though the others may last long."""
    world.want(250)
    world.fail()
    assert world.count("refused") == 50
    world.connect()
    world.fail()
    assert (world.count("ready"), world.count("refused")) == (100, 150)


def test_a_connection_that_is_lost_is_replaced_for_those_who_wait(world: World) -> None:
    world.want(150)
    world.connect()
    world.fail()
    assert (world.count("ready"), world.count("refused")) == (100, 50)
    world.want(10)
    assert world.pool.asked == 3
    world.shared.on_lost(cast(Any, world.connections[0]))
    world.connect()
    assert world.count("ready") == 110


def test_a_stream_that_ends_is_for_who_has_waited_longest(world: World) -> None:
    world.want(102)
    world.connect()
    first, second = world.exchanges[100:]
    world.connections[0].lent -= 1
    world.shared.on_room(cast(Any, world.connections[0]))
    assert (first.outcome, second.outcome) == ("ready", "")


def test_when_an_endpoint_goes_all_of_its_connections_retire(world: World) -> None:
    world.want(250)
    for _ in range(3):
        world.connect()
    world.shared.drop(cast(Any, "endpoint"))
    assert [connection.retired for connection in world.connections] == [True, True, True]


def test_when_the_worker_ends_the_connections_of_all_endpoints_retire(world: World) -> None:
    for endpoint in ("a", "b", "c"):
        connection = FakeConnection(endpoint)
        connection.shared = world.shared
        world.connections.append(connection)
        world.shared.connect(cast(Any, FakeExchange()), cast(Any, FakeCluster()), cast(Any, endpoint))
        world.shared.on_connected(cast(Any, connection))
    world.shared.close()
    assert [connection.retired for connection in world.connections] == [True, True, True]


def test_a_connection_that_was_made_with_what_a_reload_has_replaced_is_for_those_alone_who_wait(world: World) -> None:
    world.want(2)
    world.pool.is_reloaded = True
    world.connect()
    assert world.count("ready") == 2
    assert world.connections[0].retired
    adopted = FakeConnection("endpoint")
    adopted.shared = world.shared
    world.shared.adopt(cast(Any, adopted))
    assert (adopted.lent, adopted.retired) == (1, True)


@pytest.mark.parametrize(("room", "made"), [(0, 1), (1, 3)])
def test_where_a_connection_has_little_room_another_is_made_for_who_still_waits(room: int, made: int) -> None:
    """But not for ever, at an endpoint that takes nobody."""
    world = World()
    world.want(3)
    for _ in range(3):
        if len(world.connections) < world.pool.asked:
            world.connect(MAX_STREAMS - room)
    assert (world.pool.asked, world.count("ready")) == (made, 3 * room)


def test_a_new_connection_keeps_to_what_the_endpoint_allowed_of_late() -> None:
    shared = World().shared
    assert shared.expect_max_streams(cast(Any, "a")) == INITIAL_MAX_STREAMS
    shared.on_max_streams(cast(Any, "a"), 5)
    assert (shared.expect_max_streams(cast(Any, "a")), shared.expect_max_streams(cast(Any, "b"))) == (5, 100)
    shared.drop(cast(Any, "a"))
    assert shared.expect_max_streams(cast(Any, "a")) == INITIAL_MAX_STREAMS
