"""Real Envoy and `turnout proxy` on one control plane, with the same rules and the same failing replicas behind them.

Where both can be told the same, the client gets the same status, the replicas get the same requests, and of the flags
that Envoy logs ours is one. Where ours is another on purpose, the row says what Envoy does, and why.
"""

import asyncio
from collections.abc import AsyncIterator
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from actors.envoy import require_envoy
from actors.interop_documents import DataPlane
from actors.interop_resilience import ENVOY, PLANES, Asked, Outcome, Pair
from actors.proxy import until
from actors.replica import Handler, answer, half_a_body, half_a_head, never, reset
from actors.wire import Message, Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENTS = (Path(__file__).parent / "interop" / "resilience.yaml").read_text()
INFER = "POST /v2/models/iris/infer"
BODY = b'{"inputs": []}'
LARGE = bytes(4096)
SAMPLE, SHARE = 300, 0.3


async def garbage(wire: Wire, request: Message) -> None:
    """Answer what is not HTTP."""
    await wire.send(b"nonsense\r\n\r\n")


well = answer()
unavailable, internal = answer(503), answer(500)
busy = answer(503, "x-envoy-overloaded: true")
limited = answer(503, "x-envoy-ratelimited: true")
soon = answer(503, "Retry-After: 1")
later = answer(503, "Retry-After: 2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    require_envoy()
    pair = Pair(tmp_path_factory.mktemp("resilience"))
    try:
        await pair.start(DOCUMENTS)
        yield pair
    finally:
        await pair.close()


# One request, and what happens to its attempts


class Want(NamedTuple):
    """`requests` came to replicas. `flag` is the one that we log, and one of those that Envoy does."""

    status: int
    requests: int
    flag: str = "-"
    overloaded: bool = False


class Row(NamedTuple):
    """`envoys` is what Envoy does, where it is another thing, and `why`. `attempts` are those of the access log, if
    some of them came to nobody. `takes_s` is how long the answer takes, from and to."""

    name: str
    asked: Asked
    script: tuple[Handler, ...]
    want: Want
    attempts: int | None = None
    takes_s: tuple[float, float] = (0.0, 5.0)
    patience_s: float = 6.0
    envoys: Want | None = None
    why: str = ""


def plain(start: str = "GET /") -> Asked:
    return Asked(start, "plain.test")


def again(start: str = "GET /", body: bytes = b"") -> Asked:
    return Asked(start, "again.test", (), body)


def times(path: str) -> Asked:
    return Asked(f"GET {path}", "times.test")


BREAKS_OFF = "a connection that breaks off is that, wherever it does; to Envoy's codec half an answer is invalid HTTP"

ROWS = [
    # without a retry
    Row("well", plain(), (well,), Want(200, 1)),
    Row("unavailable", plain(), (unavailable,), Want(503, 1)),
    Row("busy", plain(), (busy,), Want(503, 1, overloaded=True)),
    Row("reset", plain(), (reset,), Want(503, 1, "UC")),
    Row("half-a-head", plain(), (half_a_head,), Want(503, 1, "UC"), envoys=Want(502, 1, "UPE"), why=BREAKS_OFF),
    Row("half-a-body", plain(), (half_a_body,), Want(200, 1, "UC"), envoys=Want(200, 1, "UPE"), why=BREAKS_OFF),
    Row("garbage", plain(), (garbage,), Want(502, 1, "UPE")),
    Row("too-long", plain("GET /short"), (never,), Want(504, 1, "UT"), takes_s=(0.14, 3)),
    Row("client-leaves", plain(), (never,), Want(0, 1, "DC"), patience_s=0.3),
    Row("no-route", plain("GET /nothing"), (), Want(404, 0, "NR"), 0),
    Row("no-predictor", plain("GET /missing"), (), Want(500, 0, "NC"), 0),
    Row("no-endpoint", plain("GET /empty"), (), Want(503, 0, "UH"), 1),
    Row("dead", Asked("GET /", "dead-plain.test"), (), Want(503, 0, "UF"), 2,
        envoys=Want(503, 0, "UF"), why="what was never sent is sent again, once; Envoy tries once"),
    # with one
    Row("again-unavailable", again(), (unavailable, well), Want(200, 2)),
    Row("again-twice", again(), (unavailable, unavailable, well), Want(200, 3)),
    Row("again-in-vain", again(), (unavailable,) * 3, Want(503, 3, "URX")),
    Row("again-reset", again(), (reset, well), Want(200, 2)),
    Row("again-resets", again(), (reset,) * 3, Want(503, 3, "UC")),
    Row("again-half-a-head", again(), (half_a_head, well), Want(200, 2)),
    Row("again-half-a-body", again(), (half_a_body,), Want(200, 1, "UC"),
        envoys=Want(200, 1, "UPE"), why=BREAKS_OFF),
    Row("again-garbage", again(), (garbage, well), Want(200, 2)),
    Row("again-mixed", again(), (reset, unavailable, well), Want(200, 3)),
    Row("again-mixed-in-vain", again(), (unavailable, reset, internal), Want(500, 3)),
    Row("again-internal", again(), (internal,), Want(500, 1)),
    Row("again-busy", again(), (busy, well), Want(200, 2)),
    Row("again-busy-in-vain", again(), (busy,) * 3, Want(503, 3, "URX", overloaded=True)),
    Row("again-ratelimited", again(), (limited,), Want(503, 1)),
    Row("again-soon", again(), (soon, well), Want(200, 2), takes_s=(1.0, 4)),
    Row("none-unavailable", again("GET /none"), (unavailable,), Want(503, 1)),
    Row("none-reset", again("GET /none"), (reset,), Want(503, 1, "UC")),
    Row("put", again("PUT /", BODY), (unavailable, reset, well), Want(200, 3)),
    Row("large", again("PUT /large", LARGE), (unavailable,), Want(503, 1)),
    Row("large-reset", again("PUT /large", LARGE), (reset,), Want(503, 1, "UC")),
    Row("post-unavailable", again("POST /", BODY), (unavailable,), Want(503, 1)),
    Row("post-reset", again("POST /", BODY), (reset,), Want(503, 1, "UC")),
    Row("infer-unavailable", again(INFER, BODY), (unavailable, well), Want(200, 2)),
    Row("infer-reset", again(INFER, BODY), (reset, reset, well), Want(200, 3)),
    Row("repeatable-429", again("POST /repeatable", BODY), (answer(429), well), Want(200, 2)),
    Row("repeatable-reset", again("POST /repeatable", BODY), (reset, reset), Want(503, 2, "UC")),
    Row("no-retries", Asked("GET /", "no-retries.test"), (unavailable,), Want(503, 1, "UO")),
    Row("no-retries-reset", Asked("GET /", "no-retries.test"), (reset,), Want(503, 1, "UC")),
    # times
    Row("try-late", times("/try"), (never, well), Want(200, 2), takes_s=(0.14, 3)),
    Row("try-late-twice", times("/try"), (never, never), Want(504, 2, "UT"), takes_s=(0.29, 3)),
    Row("all-late", times("/all"), (never,), Want(504, 1, "UT"), takes_s=(0.19, 3)),
    Row("all-late-at-last", times("/all"), (unavailable, never), Want(504, 2, "UT"), takes_s=(0.19, 3)),
    Row("both-late", times("/both"), (never,) * 5, Want(504, 3, "UT"), takes_s=(0.39, 3)),
    Row("idle", times("/idle"), (never,), Want(504, 1, "SI"), takes_s=(0.14, 3)),
    Row("too-late-to-wait", times("/all"), (later,), Want(503, 1, "URX"), takes_s=(0, 0.19),
        envoys=Want(504, 1, "UT"), why="a retry that can't begin in time is not waited for; Envoy waits in vain"),
    # nobody listens
    Row("dead-again", Asked("GET /", "dead.test"), (), Want(503, 0, "UF"), 3),
    Row("dead-again-post", Asked("POST /", "dead.test"), (), Want(503, 0, "UF"), 3),
    Row("dead-none", Asked("GET /none", "dead.test"), (), Want(503, 0, "UF"), 1),
    # on purpose
    Row("abort", Asked("GET /abort", "faults.test"), (), Want(418, 0, "FI"), 0),
    Row("delay", Asked("GET /delay", "faults.test"), (well,), Want(200, 1, "DI"), takes_s=(0.14, 3)),
    Row("delay-and-abort", Asked("GET /both", "faults.test"), (), Want(503, 0, "FI"), 0, takes_s=(0.14, 3)),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_the_same_comes_of_a_request(pair: Pair, row: Row) -> None:
    tasks = [pair.begin(plane, row.asked, row.script, row.patience_s)[1] for plane in PLANES]
    theirs, ours = await asyncio.gather(*tasks)
    wanted = row.envoys or row.want
    assert (told(theirs), told(ours)) == (wanted._replace(flag="?"), row.want._replace(flag="?"))
    assert (wanted.flag in theirs.flags, ours.flags) == (True, {row.want.flag}), (theirs.flags, ours.flags)
    attempts = row.want.requests if row.attempts is None else row.attempts
    assert (theirs.logged, ours.logged) == (attempts if row.envoys is None else theirs.logged, attempts)
    assert theirs.numbers == ours.numbers
    for outcome in (ours,) if row.envoys else (theirs, ours):
        assert row.takes_s[0] <= outcome.took_s <= row.takes_s[1], outcome
    assert {request.body for request in theirs.requests + ours.requests} <= {row.asked.body}


def told(outcome: Outcome) -> Want:
    """All but the flags."""
    return Want(outcome.status, len(outcome.requests), "?", outcome.overloaded)


@pytest.mark.parametrize("start", ["GET /", "POST /"])
async def test_what_was_read_on_a_kept_connection_is_not_sent_again(pair: Pair, start: str) -> None:
    """There a replica's kernel takes its time to acknowledge what the replica has read already."""
    asked = Asked(start, "kept.test")
    for plane in PLANES:
        for _ in range(5):
            assert [await pair.who(plane, asked) for _ in range(3)] == ["9014"] * 3
            outcome = await pair.ask(plane, asked, [reset])
            assert (told(outcome), outcome.flags) == (Want(503, 1, "?"), {"UC"})


async def test_a_replica_learns_how_long_it_has(pair: Pair) -> None:
    """Envoy tells it in a field of its own, if it may; ours in that and in another."""
    for plane in PLANES:
        outcome = await pair.ask(plane, times("/tell"), (unavailable, well))
        assert outcome.numbers == ("1", "2")
        for request in outcome.requests:
            assert 9_000 < int(request.get("x-envoy-expected-rq-timeout-ms") or 0) <= 10_000
            assert request.get("x-request-timeout-ms") in (
                (None,) if plane == ENVOY else (request.get("x-envoy-expected-rq-timeout-ms"),)
            )


async def test_what_one_refuses_the_other_answers(pair: Pair) -> None:
    for plane in PLANES:
        outcomes = [await pair.ask(plane, Asked("GET /", "half-dead.test")) for _ in range(10)]
        assert {outcome.status for outcome in outcomes} == {200}
        assert all(outcome.flags == {"-"} and len(outcome.requests) == 1 for outcome in outcomes)
        attempts = [outcome.logged for outcome in outcomes]
        assert [int(outcome.numbers[0] or 0) for outcome in outcomes] == attempts
        assert set(attempts) <= {1, 2}
        assert attempts.count(2) >= 4


# Limits


class Held:
    """Replicas keep these requests until they may answer."""

    def __init__(self) -> None:
        self._released = asyncio.Event()

    async def __call__(self, wire: Wire, request: Message) -> None:
        await self._released.wait()
        await well(wire, request)

    def release(self) -> None:
        self._released.set()


async def hold_one(pair: Pair, plane: DataPlane, asked: Asked) -> tuple[Held, "asyncio.Task[Outcome]"]:
    """A request that a replica keeps."""
    held = Held()
    request_id, task = pair.begin(plane, asked, [held])
    await until(lambda: pair.requests_of(request_id))
    return held, task


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
class TestEach:
    """What each of them does for itself; the same is asked of both."""

    async def test_a_request_too_many_is_refused_at_once(self, pair: Pair, plane: DataPlane) -> None:
        asked = Asked("GET /", "requests.test")
        held, first = await hold_one(pair, plane, asked)
        assert told(second := await pair.ask(plane, asked)) == Want(503, 0, "?", overloaded=True)
        assert second.flags == {"UO"}
        assert second.logged == 1
        held.release()
        assert (await first).status == 200
        assert await pair.who(plane, asked) == "9004"

    @pytest.mark.parametrize("overflow", ["queue", "fail"])
    async def test_a_request_waits_for_a_connection_and_one_more_is_refused(
        self, pair: Pair, plane: DataPlane, overflow: str
    ) -> None:
        asked = Asked("GET /", f"connection-or-{overflow}.test")
        held, first = await hold_one(pair, plane, asked)
        waiting = pair.begin(plane, asked)[1]
        await until(lambda: pair.pending(plane, f"connection-or-{overflow}"))
        third = await pair.ask(plane, asked)
        assert (told(third), third.flags) == (Want(503, 0, "?", overloaded=True), {"UO"})
        held.release()
        for outcome in await asyncio.gather(first, waiting):
            assert (told(outcome), outcome.flags) == (Want(200, 1, "?"), {"-"})

    async def test_the_queue_for_requests_is_ours_alone(self, pair: Pair, plane: DataPlane) -> None:
        asked = Asked("GET /", "queue.test")
        held, first = await hold_one(pair, plane, asked)
        waiting = pair.begin(plane, asked)[1]
        if plane == ENVOY:
            assert (await waiting).flags == {"UO"}
        else:
            await until(lambda: pair.pending(plane, "queue"))
            assert (await pair.ask(plane, asked)).flags == {"UO"}
        held.release()
        assert (await first).status == 200
        assert (await waiting).status == (503 if plane == ENVOY else 200)

    @pytest.mark.parametrize("path", ["/all", "/each"])
    async def test_a_rate_is_limited(self, pair: Pair, plane: DataPlane, path: str) -> None:
        outcomes = [await pair.ask(plane, Asked(f"GET {path}", "limited.test")) for _ in range(3)]
        assert [outcome.status for outcome in outcomes] == [200, 200, 429]
        assert [outcome.flags for outcome in outcomes] == [{"-"}, {"-"}, {"RL"}]
        assert (outcomes[2].requests, outcomes[2].logged) == ((), 0)

    async def test_a_rate_is_limited_by_the_value_of_a_header(self, pair: Pair, plane: DataPlane) -> None:
        for tenant in ("a", "b"):
            asked = Asked("GET /each", "limited.test", (f"x-tenant: {tenant}",))
            assert [(await pair.ask(plane, asked)).flags for _ in range(3)] == [{"-"}, {"-"}, {"RL"}]

    # Endpoints that are left out

    async def test_who_fails_three_times_in_a_row_is_ejected_and_the_last_one_never(
        self, pair: Pair, plane: DataPlane
    ) -> None:
        asked = Asked("GET /", "outliers.test")
        pair.always[9007] = internal
        outcomes = [await pair.ask(plane, asked) for _ in range(6)]
        assert sorted(outcome.status for outcome in outcomes) == [200] * 3 + [500] * 3
        await until(lambda: have_been_ejected(pair, plane, "outliers", 1))
        assert [await pair.who(plane, asked) for _ in range(6)] == ["9008"] * 6
        pair.always[9008] = internal
        outcomes = [await pair.ask(plane, asked) for _ in range(8)]
        assert [(told(outcome), outcome.flags) for outcome in outcomes] == [(Want(500, 1, "?"), {"-"})] * 8
        assert await have_been_ejected(pair, plane, "outliers", 1)
        pair.always.clear()

    async def test_who_is_a_bad_gateway_twice_is_ejected_and_comes_back(self, pair: Pair, plane: DataPlane) -> None:
        asked = Asked("GET /", "gateway.test")
        pair.always[9007] = unavailable
        outcomes = [await pair.ask(plane, asked) for _ in range(4)]
        assert sorted(outcome.status for outcome in outcomes) == [200] * 2 + [503] * 2
        pair.always.clear()
        await until(lambda: have_been_ejected(pair, plane, "gateway", 1))

        async def are_both_asked() -> bool:
            return {await pair.who(plane, asked) for _ in range(4)} == {"9007", "9008"}

        await until(are_both_asked)

    async def test_who_refuses_three_times_in_a_row_is_ejected(self, pair: Pair, plane: DataPlane) -> None:
        asked = Asked("GET /", "gone.test")
        outcomes = [await pair.ask(plane, asked) for _ in range(6)]
        assert sorted(outcome.status for outcome in outcomes) == [200] * 3 + [503] * 3
        assert all("UF" in outcome.flags for outcome in outcomes if outcome.status == 503)
        await until(lambda: have_been_ejected(pair, plane, "gone", 1))
        assert [await pair.who(plane, asked) for _ in range(6)] == ["9009"] * 6

    async def test_who_is_not_well_gets_no_requests_until_it_is(self, pair: Pair, plane: DataPlane) -> None:
        asked = Asked("GET /", "checked.test")

        async def are_asked(*replicas: str) -> bool:
            return {await pair.who(plane, asked) for _ in range(4)} == set(replicas)

        assert await are_asked("9010", "9011")
        pair.health[9010] = unavailable
        await until(lambda: are_asked("9011"))
        assert await are_asked("9011")
        pair.health[9011] = unavailable
        await until(lambda: are_asked("503"))
        outcome = await pair.ask(plane, asked)
        assert (told(outcome), outcome.flags) == (Want(503, 0, "?"), {"UH"})
        pair.health.clear()
        await until(lambda: are_asked("9010", "9011"))

    async def test_in_a_panic_all_are_asked(self, pair: Pair, plane: DataPlane) -> None:
        asked = Asked("GET /", "panic.test")

        async def are_well(count: int) -> bool:
            return await pair.healthy(plane, "panic") == count

        for count, replica in ((1, 9015), (0, 9016)):  # one of two is below 60 %
            pair.health[replica] = unavailable
            await until(lambda count=count: are_well(count))
            assert {await pair.who(plane, asked) for _ in range(4)} == {"9015", "9016"}
        pair.health.clear()
        await until(lambda: are_well(2))

    async def test_a_share_of_the_requests_is_aborted(self, pair: Pair, plane: DataPlane) -> None:
        """Within four sigma; one in some thousand is not, by chance, and two of them in a row are none."""
        asked = Asked("GET /sometimes", "faults.test")
        counts = []
        while len(counts) < 2 and not (counts and is_near(counts[-1])):
            counts.append([await pair.who(plane, asked) for _ in range(SAMPLE)].count("418"))
        assert is_near(counts[-1]), counts

    # Keys

    async def test_a_key_stays_where_it_is(self, pair: Pair, plane: DataPlane) -> None:
        for path, field in (
            ("/split", "x-user: {}"),
            ("/maglev", "x-session: {}"),
            ("/ring", "cookie: a=b; session={}"),
        ):
            places = {}
            for key in range(20):
                asked = Asked(f"GET {path}", "sticky.test", (field.format(key),))
                (places[key],) = {await pair.who(plane, asked) for _ in range(3)}
            assert set(places.values()) == {"9012", "9013"}, path


async def have_been_ejected(pair: Pair, plane: DataPlane, predictor: str, count: int) -> bool:
    return await pair.ejections(plane, predictor) == count


def is_near(count: int) -> bool:
    return abs(count - SAMPLE * SHARE) <= 4 * sqrt(SAMPLE * SHARE * (1 - SHARE))
