"""Shadows from the decision to their end: what is sent, why there is none, how they end, what is given back."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.http.names import Mark
from turnout.proxy.shadow.backlog import MAX_BEHIND, MAX_TOTAL
from turnout.proxy.shadow.breaker import MAX_FAILURES
from turnout.proxy.shadow.pacing import BURST_BYTES, MAX_CRUMBS, TICK_S
from turnout.proxy.telemetry.mirrors import MirrorWord
from turnout.rules.mirroring import Mirror, MirrorLimits, PauseAbove
from turnout.rules.resilience import RateLimit

if TYPE_CHECKING:
    from conftest import MakeWorld, World

ONE = Mirror("m")


def test_pieces_go_on_as_the_same_objects_also_those_that_waited_for_a_connection(make_world: "MakeWorld") -> None:
    pieces = [b"first" * 100, memoryview(b"second" * 100), b"third"]
    for borrows in (True, False):
        world = make_world(ONE)
        world.borrows = borrows
        tap = world.tap()
        tap.start(pieces[0], False)
        tap.on_body(pieces[1], False)
        if not borrows:
            world.ready()
        tap.on_body(pieces[2], True)
        (connection,) = world.made
        assert all(one is other for one, other in zip(connection.received, pieces, strict=True))
        assert connection.ended


def test_a_request_that_was_whole_before_the_connection_came_is_sent_whole(make_world: "MakeWorld") -> None:
    world = make_world(ONE)
    world.borrows = False
    head = world.head()
    tap = world.tap(head)
    tap.start(b"a", False)
    head.trailers = [(b"x-end", b"1")]
    tap.on_body(b"b", True)
    tap.on_end(200, "answered", 0.1, 0.1)
    world.ready()
    (connection,) = world.made
    assert (connection.received, connection.ended) == ([b"a", b"b"], True)
    assert connection.head.trailers == head.trailers
    connection.requester.on_response(world.answer(), b"", True)
    assert (world.ends(), connection.fate) == ({"answered": 1}, "back")
    world.check_rest()


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda world: world.head(upgrade=b"websocket"), "upgrade"),
        (lambda world: world.head(b"CONNECT"), "upgrade"),
        (lambda world: marked(world.head()), "shadow"),
        (lambda world: setattr(world.shadows, "is_ending", True), "shutdown"),
        (lambda world: setattr(world.shadows, "is_short", True), "memory"),
        (lambda world: world.shadows.backlog.keep(MAX_TOTAL), "body"),
        (lambda world: setattr(world.shadows, "limit", 0), "limit"),
        (lambda world: empty(world.clusters["m"]), "no_endpoint"),
        (lambda world: world.clusters.pop("m"), "fault"),
    ],
)
def test_a_request_that_is_not_copied_is_counted_with_the_reason(
    make_world: "MakeWorld", prepare: Any, reason: str
) -> None:
    world = make_world(ONE)
    changed = prepare(world)
    assert world.tap(changed if reason in ("upgrade", "shadow") else None) is None
    assert world.skipped() == {reason: 1}
    assert len(world.faults) == (reason == "fault")
    world.check()


def marked(head: Any) -> Any:
    head.add_block(b"\r\nx-turnout-shadow: true")
    head.marks |= Mark.STEERING
    return head


def empty(cluster: Cluster) -> None:
    cluster.apply_endpoints((), cluster.record, 0.0)


def test_a_rate_and_a_number_in_flight_are_each_mirrors_own(make_world: "MakeWorld") -> None:
    limits = MirrorLimits(max_requests=3, rate=RateLimit(0.001, 5))
    world = make_world(ONE, Mirror("n"), mirror_limits=limits)
    for _ in range(3):
        world.tap().start(b"", True)
    assert world.tap() is None
    assert world.skipped() == world.skipped("n") == {"limit": 1}
    for connection in world.made[:2]:  # one of each mirror
        connection.requester.on_response(world.answer(), b"", True)
    for _ in range(3):
        tap = world.tap()
        if tap is not None:
            tap.start(b"", True)
        for connection in world.made:
            if not connection.fate:
                connection.requester.on_response(world.answer(), b"", True)
    assert world.skipped() == world.skipped("n") == {"limit": 1, "rate": 1}
    world.check("m", "n")


def test_a_connection_that_a_limit_forbids_gives_the_endpoint_back(make_world: "MakeWorld") -> None:
    world = make_world(ONE)
    world.borrows = world.may_make = False
    lease = world.clusters["m"].choose
    world.clusters["m"].is_limited = True
    assert lease is not None
    assert world.tap() is None
    assert world.skipped() == {"breaker": 1}
    world.check_rest()


def test_the_time_of_an_answer_begins_with_the_end_of_the_request(make_world: "MakeWorld") -> None:
    world = make_world(ONE, mirror_limits=MirrorLimits(timeout_s=5.0))
    tap = world.tap()
    tap.start(b"a", False)
    world.pass_time(1_000.0)
    tap.on_body(b"b", True)
    world.pass_time(4.9)
    assert world.ends() == {}
    world.pass_time(0.2)
    assert world.ends() == {"timeout": 1}
    assert world.made[0].fate == "aborted"
    world.check_rest()


def test_one_that_falls_behind_is_cut_and_the_other_goes_on(make_world: "MakeWorld") -> None:
    world = make_world(ONE, Mirror("n"))
    tap = world.tap()
    tap.start(b"a", False)
    late, good = world.made
    late.unsent = MAX_BEHIND + 1
    tap.on_body(b"b", False)
    tap.on_body(b"c", True)
    assert (world.ends(), late.received, late.fate) == ({"slow": 1}, [b"a", b"b"], "aborted")
    assert good.received == [b"a", b"b", b"c"]


def test_what_is_raised_ends_the_shadow_and_nothing_else(make_world: "MakeWorld") -> None:
    world = make_world(ONE, Mirror("n"))
    tap = world.tap()
    tap.start(b"a", False)
    world.made[0].unsent_bytes = lambda: 1 // 0  # type: ignore[method-assign]
    tap.on_body(b"b", True)
    assert (world.ends(), world.ends("n")) == ({"fault": 1}, {})
    assert world.made[1].received == [b"a", b"b"]
    assert [type(fault) for fault in world.faults] == [ZeroDivisionError]


def test_a_fault_in_the_decision_reaches_no_request(make_world: "MakeWorld") -> None:
    world = make_world(Mirror("m", 500_000))
    world.entry.taps._mirrors._random = lambda: 1 // 0
    assert world.tap() is None
    assert [type(fault) for fault in world.faults] == [ZeroDivisionError]


def test_a_fault_in_what_is_made_of_the_answer_reaches_no_request(make_world: "MakeWorld") -> None:
    world = make_world(ONE, mirror_limits=MirrorLimits(pause_above=PauseAbove(p99_s=1.0)))
    world.shadows.observer = observer = Observer()
    observer.body_limit = "much"  # type: ignore[assignment]
    tap = world.tap()
    tap.start(b"", True)
    tap.on_answer(world.answer(), b"a", 0.1)
    tap.on_answer_body(b"b")
    world.entry.taps._mirrors.gates["live"]._record = 1 << 40
    tap.on_end(200, "answered", 0.1, 0.1)
    assert [type(fault) for fault in world.faults] == [TypeError, TypeError, IndexError]


def test_an_answer_is_paced_and_goes_on_in_its_turn(make_world: "MakeWorld") -> None:
    world = make_world(ONE)
    world.tap().start(b"", True)
    (connection,) = world.made
    size = BURST_BYTES + 1
    connection.requester.on_response(world.answer(), bytes(size), False)
    assert connection.paused
    world.tap().start(b"", True)
    assert world.made[1].paused, "it has to line up"
    world.pass_time(2 * TICK_S)
    assert not connection.paused
    assert not world.made[1].paused
    for one in world.made:
        one.requester.on_response_body(b"x", True)
    assert world.count(MirrorWord.BYTES_RECEIVED) == size + 2
    world.check_rest()


def test_an_answer_in_crumbs_is_cut(make_world: "MakeWorld") -> None:
    world = make_world(ONE)
    world.tap().start(b"", True)
    (connection,) = world.made
    connection.requester.on_response(world.answer(), b"", False)
    for _ in range(MAX_CRUMBS):
        connection.requester.on_response_body(b"x", False)
    assert (connection.fate, connection.paused) == ("", False)
    connection.requester.on_response_body(b"x", False)
    assert (world.ends(), connection.fate) == ({"slow": 1}, "aborted")
    world.check_rest()


def test_a_mirror_that_fails_every_time_is_skipped_and_comes_back_with_an_answer(make_world: "MakeWorld") -> None:
    world = make_world(ONE)
    for _ in range(MAX_FAILURES):
        world.tap().start(b"", True)
        world.made[-1].requester.on_upstream_malformed("garbage")
    assert world.tap() is None
    assert world.skipped() == {"breaker": 1}
    world.pass_time(1.1)
    world.tap().start(b"", True)
    world.made[-1].requester.on_response(world.answer(503), b"", True)
    assert world.tap() is not None


class Observer:
    """Keeps what it is shown; `fails`, after that."""

    def __init__(self, body_limit: int = 0, *, fails: bool = False) -> None:
        self.body_limit = body_limit
        self.fails = fails
        self.pairs: list[Any] = []

    def on_pair(self, pair: Any) -> None:
        self.pairs.append(pair)
        if self.fails:
            raise ValueError("an observer's own")


@pytest.mark.parametrize("live_first", [True, False])
def test_an_observer_is_shown_both_answers_when_both_are_over(make_world: "MakeWorld", live_first: bool) -> None:
    world = make_world(ONE, Mirror("n"))
    world.shadows.observer = observer = Observer(body_limit=5)
    tap = world.tap()
    tap.start(b"", True)

    def live() -> None:
        tap.on_answer(world.answer(201), b"abc", 0.5)
        tap.on_answer_body(b"defg")
        tap.on_end(201, "answered", 0.5, 0.75)

    if live_first:
        live()
    world.made[0].requester.on_response(world.answer(500), b"12345678", True)
    assert len(observer.pairs) == live_first
    if not live_first:
        live()
    world.made[1].fate = "gone"
    world.made[1].requester.on_upstream_gone("", True)
    first, second = observer.pairs
    assert (first.route, first.cluster, first.mirror, first.request.path) == ("r", "live", "m", b"/p")
    assert first.live is second.live
    found = [(a.status, a.end, b"".join(a.body), a.size, a.total_s) for a in (first.live, first.shadow, second.shadow)]
    assert found == [
        (201, "answered", b"abcde", 7, 0.75), (500, "answered", b"12345", 8, 0.0), (0, "reset", b"", 0, 0.0)
    ]  # fmt: skip
    assert first.live.head.get(b"x-b") == b"2"
    assert second.shadow.head is None
    world.check_rest()


def test_without_an_observer_nothing_is_kept(make_world: "MakeWorld") -> None:
    world = make_world(ONE)
    tap = world.tap()
    tap.start(b"", True)
    tap.on_answer(world.answer(), b"abc", 0.5)
    (connection,) = world.made
    assert connection.requester.pair is None
    assert tap._live is None
    connection.requester.on_response(world.answer(), bytes(100), False)
    assert world.shadows.backlog.total == 0


def test_an_observer_that_fails_is_counted_and_harms_nobody(make_world: "MakeWorld") -> None:
    world = make_world(ONE)
    world.shadows.observer = Observer(fails=True)
    tap = world.tap()
    tap.start(b"", True)
    world.made[0].requester.on_response(world.answer(), b"", True)
    tap.on_end(200, "answered", 0.1, 0.1)
    assert [str(fault) for fault in world.faults] == ["an observer's own"]
    world.check_rest()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_all_is_counted_once_and_given_back(make_world: "MakeWorld", seed: int) -> None:
    run = random.Random(seed)
    limits = MirrorLimits(timeout_s=3.0, max_requests=run.choice([2, 100]), rate=run.choice([None, RateLimit(2.0, 3)]))
    world = make_world(Mirror("m", run.choice([1_000_000, 400_000])), Mirror("n"), mirror_limits=limits, limit=9)
    observer = Observer(body_limit=run.choice([0, 100]), fails=run.random() < 0.2)
    if run.random() < 0.5:
        world.shadows.observer = observer
    taps: list[Any] = []
    for _ in range(300):
        step(world, run, taps)
        world.check("m", "n")
    for tap, _ in taps:
        tap.on_end(200, "answered", 0.1, 0.2)
    world.shadows.close()
    world.check("m", "n")
    world.check_rest()
    mirrored = world.count(MirrorWord.MIRRORED) + world.count(MirrorWord.MIRRORED, "n")
    assert len(observer.pairs) in (0, mirrored)
    assert len(observer.pairs) == 0 or all(pair.is_over for pair in observer.pairs)


def step(world: "World", run: random.Random, taps: list[Any]) -> None:
    """Something that may happen now."""
    world.borrows, world.may_make = run.random() < 0.6, run.random() < 0.9
    busy = [c for c in world.made if c.requester is not None and not c.fate]
    match run.randrange(8):
        case 0:
            tap = world.tap()
            if tap is not None:
                end = run.random() < 0.5
                tap.start(b"x" * run.randrange(100), end)
                taps.append((tap, end))
        case 1 if taps:
            tap, is_whole = run.choice(taps)
            if not is_whole:
                tap.on_body(b"y" * run.randrange(50), False)
        case 2 if taps:
            tap, is_whole = taps.pop(run.randrange(len(taps)))
            if not is_whole and run.random() < 0.5:
                tap.on_body(b"z", True)
            tap.on_end(200, run.choice(["answered", "DC"]), run.choice([-1.0, 0.1]), 0.3)
        case 3 if world.wanted:
            requester, connection = world.wanted.pop(run.randrange(len(world.wanted)))
            if not connection.fate:
                if run.random() < 0.7:
                    requester.on_upstream_ready(connection)
                else:
                    connection.fate = "failed"
                    requester.on_connect_failed("refused")
        case 4 if busy:
            connection = run.choice(busy)
            if connection.requester.status:
                connection.requester.on_response_body(b"more", run.random() < 0.5)
            else:
                connection.requester.on_response(world.answer(run.choice([200, 404, 503])), b"b", run.random() < 0.5)
        case 5 if busy:
            connection = run.choice(busy)
            if run.random() < 0.5:
                connection.fate = "gone"
                connection.requester.on_upstream_gone("", True)
            else:
                connection.requester.on_upstream_malformed("garbage")
        case 6 if busy:
            run.choice(busy).unsent = run.choice([0, 1_000, MAX_BEHIND + 1])
        case _:
            world.pass_time(run.choice([0.01, 0.5, 3.1]))
