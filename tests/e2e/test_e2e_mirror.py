"""Mirrors of HTTP requests: what a shadow gets, and that each eligible request is copied or counted as not."""

import asyncio
import os
import signal
from collections.abc import Iterator
from hashlib import sha256

import pytest
from actors.documents import predictor
from actors.echo import Echo
from actors.http2_server import Http2Server
from actors.load import Load
from actors.mirroring import Counts, MirrorProxy, Shadow, Start, at_rest, counts, ended, mirrored
from actors.proxy import Proxy, resident_kib, until
from actors.wire import Message, Wire, connect

POST = b"POST /v2/models/m/infer?q=1 HTTP/1.1\r\nHost: models.test\r\ncontent-length: %d\r\n\r\n"
SIZES = [0, 1, 1_000, 65_536, 1 << 20]


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MirrorProxy]:
    """A proxy for all tests that need none of their own."""
    proxy = MirrorProxy(tmp_path_factory.mktemp("mirrors"), mirrored(1, {"shadow": 1}))
    yield proxy
    proxy.close()


async def ask(port: int, data: bytes) -> Message:
    """One request on a connection of its own."""
    wire = await connect(port)
    await wire.send(data)
    answer = await wire.read_response()
    wire.close()
    return answer


async def test_a_shadow_gets_what_the_live_predictor_gets_and_a_field_that_says_so(start_proxy: Start) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        proxy = start_proxy(mirrored(live.port, {"shadow": shadow.port}), "--trusted")
        request = (
            b"POST /v2/models/m/infer?q=1 HTTP/1.1\r\nHost: models.test:80\r\nX-Some: 1\r\nx-some: 2\r\n"
            b"X-Turnout-Shadow: true\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
            b"x-request-id: mine\r\ncontent-length: 4\r\n\r\nbody"
        )
        answer = await ask(proxy.port, request)
        assert (answer.status, answer.body) == (200, b"live")
        found = await ended(proxy, 1)
    (one,), (other,) = live.seen, shadow.seen
    assert other.start == one.start
    assert [field for field in other.fields if field[0] != "x-turnout-shadow"] == one.fields
    assert other.all("x-turnout-shadow") == ["true"], "the client's own is not believed"
    assert one.get("x-turnout-shadow") is None
    assert other.get("host") == "models.test:80"
    assert other.get("x-request-id") == "mine"
    assert shadow.bodies == [b"body"]
    assert (found.mirrored, found.results) == (1, {"answered": 1})
    assert (found.sent_bytes, found.received_bytes) == (4, 6)


async def test_a_copy_is_not_copied_again(start_proxy: Start) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        second = start_proxy(mirrored(live.port, {"shadow": shadow.port}))
        first = start_proxy(mirrored(live.port, {"shadow": second.port}))
        await ask(first.port, POST % 0)
        assert (await ended(first, 1)).results == {"answered": 1}
        assert (await ended(second, 1)).skipped == {"shadow": 1}
        assert shadow.seen == []


async def test_bodies_of_all_sizes_and_framings_come_whole(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}))
        expected = []
        wire = await connect(proxy.port)
        for size in SIZES:
            body = bytes(range(256)) * (size // 256 + 1)
            expected.append(body[:size])
            await wire.send(POST % size + body[:size])
            assert (await wire.read_response()).body == b"live"
        await ended(proxy, len(SIZES))
        assert shadow.bodies == expected


@pytest.mark.parametrize(
    "mib", [24, pytest.param(64, marks=pytest.mark.soak), pytest.param(256, marks=pytest.mark.soak)]
)
async def test_a_body_of_any_size_passes_if_the_shadow_keeps_up(mirrors: MirrorProxy, mib: int) -> None:
    """The client waits for both, so that it is the size that is tried and not who is quicker."""
    piece = bytes(range(256)) * 4_096
    async with Shadow() as live, Shadow() as shadow:
        live.keeps = shadow.keeps = False
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}))
        (worker,) = await proxy.workers()
        before = resident_kib(worker)
        wire = await connect(proxy.port)
        await wire.send(POST % (mib << 20))
        for sent in range(1, mib + 1):
            await wire.send(piece)
            await until(lambda sent=sent: min(live.received, shadow.received) > (sent - 1) << 20)
        assert (await wire.read_response()).status == 200
        found = await ended(proxy, 1)
        assert (found.results, found.sent_bytes) == ({"answered": 1}, mib << 20)
        assert shadow.digests == live.digests == [sha256(piece * mib).hexdigest()]
        assert resident_kib(worker) - before < 24 * 1024


async def test_a_chunked_body_goes_on_as_it_comes_with_its_trailers(mirrors: MirrorProxy) -> None:
    async with Shadow() as live, Shadow() as shadow:
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}))
        wire = await connect(proxy.port)
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: shadow.seen and shadow.received > 150)
        await wire.send(b"4\r\ndefg\r\n0\r\n\r\n")
        assert (await wire.read_response()).status == 200
        assert (await ended(proxy, 1)).results == {"answered": 1}
        assert shadow.bodies == live.bodies == [b"abcdefg"]


async def test_a_shadow_may_speak_another_protocol_than_the_live_predictor(mirrors: MirrorProxy) -> None:
    async with Shadow() as live, Http2Server("h2") as shadow:
        rules = mirrored(live.port, {"shadow": shadow.port})
        h2c = predictor("shadow", shadow.port).replace("spec: {", "spec: {protocol: h2c, ")
        proxy = await mirrors.serve(rules.replace(predictor("shadow", shadow.port), h2c))
        wire = await connect(proxy.port)
        # At this path it answers when it has all; elsewhere its answer may end a request that waits for a window.
        await wire.send(POST.replace(b"/v2/models/m/infer?q=1", b"/echo") % 100_000 + bytes(100_000))
        assert (await wire.read_response()).status == 200
        await wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await wire.send(b"0\r\nx-end: 1\r\n\r\n")
        assert (await wire.read_response()).status == 200
        assert (await ended(proxy, 2)).results == {"answered": 2}
        assert [request.body_bytes for request in shadow.requests] == [100_000, 3]
        assert shadow.requests[1].trailers == [(b"x-end", b"1")]
        assert shadow.requests[0].get(b"x-turnout-shadow") == b"true"


async def test_several_mirrors_each_get_their_own(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Shadow() as one, Shadow("fail") as two:
        proxy = await mirrors.serve(mirrored(live.port, {"one": one.port, "two": two.port}))
        load = Load(proxy.port)
        await load.ask(200)
        assert load.answers == {"live": 200}
        for name, shadow in (("one", one), ("two", two)):
            found = await ended(proxy, 200, name)
            assert (found.mirrored, found.results) == (200, {"answered": 200})
            assert len(shadow.seen) == 200
        metrics = (await proxy.admin("/metrics"))[1]
        assert 'turnout_mirror_results_total{code_class="5xx",outcome="answered",predictor="default/two"' in metrics
        assert await proxy.count(route=proxy.route) == 200, "copies are no requests of the route"
        assert await proxy.count(route=proxy.route, code_class="2xx") == 200


async def test_retries_of_the_request_are_none_of_the_shadow(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        live.status = 503
        rules = mirrored(
            live.port, {"shadow": shadow.port}, more="\n    retry: {attempts: 3, codes: [503], backoff: 1ms}"
        )
        proxy = await mirrors.serve(rules)
        assert (await ask(proxy.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).status == 503
        await ended(proxy, 1)
        assert (len(live.seen), len(shadow.seen)) == (4, 1)


async def test_a_request_that_never_comes_whole_is_abandoned_by_its_shadow(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}))
        wire = await connect(proxy.port)
        await wire.send(POST % 100 + b"half")
        await until(lambda: shadow.seen)
        wire.reset()
        assert (await ended(proxy, 1)).results == {"abandoned": 1}
        assert shadow.bodies == []


async def test_a_shadow_outlives_its_request(mirrors: MirrorProxy) -> None:
    """The client has its answer, and leaves, before the shadow has given one."""
    async with Echo("live") as live, Echo("shadow") as shadow:
        shadow.hold()
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}))
        assert (await ask(proxy.port, POST % 0)).body == b"live"
        await until(lambda: shadow.seen)
        assert (await counts(proxy)).active == 1
        shadow.release()
        assert (await ended(proxy, 1)).results == {"answered": 1}


# Who is copied


@pytest.mark.parametrize(
    ("share", "least", "most"), [("percent: 0", 0, 0), ("percent: 30", 180, 420), ("", 1000, 1000)]
)
async def test_a_share_is_a_share(mirrors: MirrorProxy, share: str, least: int, most: int) -> None:
    """Within ten standard deviations; what is counted is what came."""
    async with Echo("live") as live, Shadow() as shadow:
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}, share=share))
        load = Load(proxy.port)
        await load.ask(1_000)
        await at_rest(proxy)
        found = await counts(proxy)
        assert least <= found.eligible == found.mirrored == len(shadow.seen) <= most


async def test_all_requests_of_a_user_are_copied_or_none_and_a_larger_share_keeps_them(start_proxy: Start) -> None:
    users = [f"user-{number}" for number in range(200)]

    async def copied(proxy: Proxy, wire: Wire, shadow: Shadow) -> set[str]:
        before, first = (await counts(proxy)).mirrored, len(shadow.seen)
        for user in users * 2:
            await wire.send(f"GET / HTTP/1.1\r\nHost: a\r\nx-user: {user}\r\n\r\n".encode())
            await wire.read_response()
        await at_rest(proxy)
        seen = [message.get("x-user") for message in shadow.seen[first:]]
        assert len(seen) == (await counts(proxy)).mirrored - before
        assert {user: seen.count(user) for user in seen} == dict.fromkeys(seen, 2)
        return set(seen)

    async with Echo("live") as live, Shadow() as shadow:
        rules = [
            mirrored(live.port, {"shadow": shadow.port}, "mirrorBy: {header: x-user}", f"percent: {percent}")
            for percent in (10, 40)
        ]
        proxy = start_proxy(rules[0])
        wire = await connect(proxy.port)
        few = await copied(proxy, wire, shadow)
        await proxy.reload(rules[1])
        many = await copied(proxy, wire, shadow)
        assert few < many
        assert len(many) < len(users)


# Why not


async def test_a_mirror_that_there_is_not_harms_nobody(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        rules = mirrored(live.port, {"shadow": shadow.port, "gone": 1})
        proxy = await mirrors.serve(rules.replace(predictor("gone", 1), ""))
        load = Load(proxy.port)
        await load.ask(20)
        assert load.answers == {"live": 20}
        assert (await ended(proxy, 20, "gone")).skipped == {"missing": 20}
        assert (await ended(proxy, 20)).mirrored == 20


async def test_a_tunnel_is_not_copied(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}))
        answer = await ask(
            proxy.port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert answer.status == 200
        assert (await ended(proxy, 1)).skipped == {"upgrade": 1}


async def test_no_more_are_in_flight_than_the_policy_says(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Echo("shadow") as shadow:
        shadow.hold()
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}, "mirror: {maxRequests: 3}"))
        load = Load(proxy.port)
        await load.ask(10)
        assert load.answers == {"live": 10}
        await until(lambda: len(shadow.seen) == 3)
        found = await counts(proxy)
        assert (found.active, found.skipped) == (3, {"limit": 7})
        shadow.release()
        await ended(proxy, 10)
        await load.ask(1)
        assert (await ended(proxy, 11)).results == {"answered": 4}


async def test_no_more_begin_than_the_policy_says(start_proxy: Start) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        policy = "mirror: {rateLimit: {requests: 1, interval: 1h, burst: 5}}"
        proxy = start_proxy(mirrored(live.port, {"shadow": shadow.port}, policy), workers=2)
        load = Load(proxy.port, fresh=True)
        await load.ask(40)
        assert load.answers == {"live": 40}
        found = await ended(proxy, 40)
        assert 5 <= found.mirrored <= 6, "of a burst two workers may take one too many"
        assert found.skipped == {"rate": 40 - found.mirrored}


async def test_a_limit_of_the_mirrors_predictor_is_its_own(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Echo("shadow") as shadow:
        shadow.hold()
        rules = mirrored(live.port, {"shadow": shadow.port}).replace(
            f"port: {shadow.port}}}]", f"port: {shadow.port}}}], circuitBreaker: {{maxRequests: 2}}"
        )
        proxy = await mirrors.serve(rules)
        load = Load(proxy.port)
        await load.ask(10)
        assert load.answers == {"live": 10}
        assert (await counts(proxy)).skipped == {"breaker": 8}
        shadow.release()
        assert (await ended(proxy, 10)).results == {"answered": 2}


async def test_a_predictor_without_endpoints_gets_nothing(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live:
        rules = mirrored(live.port, {"shadow": 1}).replace(
            "endpoints: [{address: 127.0.0.1, port: 1}]", "endpoints: []"
        )
        proxy = await mirrors.serve(rules)
        load = Load(proxy.port)
        await load.ask(10)
        assert load.answers == {"live": 10}
        assert (await ended(proxy, 10)).skipped == {"no_endpoint": 10}


async def test_nothing_is_copied_while_the_live_predictor_has_too_much_to_do(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        proxy = await mirrors.serve(
            mirrored(live.port, {"shadow": shadow.port}, "mirror: {pauseAbove: {activeRequests: 2}}")
        )
        live.hold()
        load = Load(proxy.port)
        asked = []

        async def is_paused() -> bool:
            asked.append(asyncio.create_task(load.ask(1)))
            await until(lambda: len(live.seen) == len(asked))
            return (await counts(proxy)).skipped["live"] > 0

        await until(is_paused)
        assert len(asked) > 2, "so many are not above the bound"
        live.release()
        await asyncio.gather(*asked)
        assert load.answers == {"live": len(asked)}

        async def is_copied() -> bool:
            before = (await counts(proxy)).mirrored
            await load.ask(1)
            return (await counts(proxy)).mirrored > before

        await until(is_copied)


async def test_nothing_is_copied_while_the_live_predictors_p99_is_above_the_bound(mirrors: MirrorProxy) -> None:
    async with Echo("live") as live, Shadow() as shadow:
        proxy = await mirrors.serve(mirrored(live.port, {"shadow": shadow.port}, "mirror: {pauseAbove: {p99: 100ms}}"))
        load = Load(proxy.port)
        live.delay_s = 0.15
        await load.ask(1)
        assert (await counts(proxy)).mirrored == 1, "nothing was known of it"
        live.delay_s = 0.0

        async def is_paused() -> bool:
            await load.ask(1)
            return (await counts(proxy)).skipped["live"] > 0

        await until(is_paused)


async def test_a_worker_that_is_killed_leaves_no_copies_in_flight(start_proxy: Start) -> None:
    async with Echo("live") as live, Echo("shadow") as shadow:
        shadow.hold()
        proxy = start_proxy(mirrored(live.port, {"shadow": shadow.port}), workers=2)
        await Load(proxy.port, fresh=True).ask(10)
        await until(lambda: len(shadow.seen) == 10)
        for pid in await proxy.workers():
            os.kill(pid, signal.SIGKILL)

        async def is_cleared() -> bool:
            found = Counts((await proxy.admin("/metrics"))[1], "shadow")
            return (found.eligible, found.mirrored, found.active) == (10, 10, 0)

        await until(is_cleared)
