"""Reload: at once, whole or not at all, and no request notices."""

import asyncio
from collections.abc import Callable

import pytest
from actors.documents import split
from actors.echo import Echo
from actors.lane import OK
from actors.load import Load
from actors.proxy import Proxy, open_files, resident_kib, until
from actors.wire import connect, soon

StartProxy = Callable[..., Proxy]


async def test_an_edit_of_the_file_moves_the_split(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        proxy = start_proxy(split(v1=(v1, 1), v2=(v2, 0)))
        load = Load(proxy.port)
        await load.ask(20)
        assert load.answers == {"v1": 20}
        proxy.rules.write_text(split(v1=(v1, 0), v2=(v2, 1)))  # nobody is told: the file is watched

        async def moved() -> bool:
            probe = Load(proxy.port)
            await probe.ask(1)
            return probe.answers == {"v2": 1}

        await until(moved, within_s=5)


async def test_a_bad_file_leaves_the_old_rules_and_is_shown(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        good = split(v1=(v1, 1), v2=(v2, 0))
        proxy = start_proxy(good)
        await proxy.reload(good.replace("backendRefs", "backendRef"))
        line = good[: good.index("backendRefs")].count("\n") + 1
        assert f"{proxy.rules}:{line}" in proxy.events()
        assert f"{proxy.rules}:{line}" in (await proxy.admin("/config_dump"))[1]
        metrics = (await proxy.admin("/metrics"))[1]
        assert 'turnout_config_reloads_total{result="failure"} 1.0' in metrics
        assert "turnout_config_last_reload_successful 0.0" in metrics
        assert (await proxy.admin("/ready"))[0] == 200
        load = Load(proxy.port)
        await load.ask(20)
        assert load.answers == {"v1": 20}

        await proxy.reload(split(v1=(v1, 0), v2=(v2, 1)))
        await load.ask(20)
        assert load.answers == {"v1": 20, "v2": 20}
        assert "turnout_config_last_reload_successful 1.0" in (await proxy.admin("/metrics"))[1]


@pytest.mark.parametrize("text", ["", "a: [", "kind: Nothing\napiVersion: v1\n", "\x00"])
async def test_a_file_that_is_no_rules_at_all_changes_nothing(start_proxy: StartProxy, text: str) -> None:
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)))
        await proxy.reload(text)
        assert (await proxy.stats())["supervisor"]["reload_failures"] == 1
        load = Load(proxy.port)
        await load.ask(5)
        assert load.answers == {"v1": 5}


async def test_a_request_in_flight_ends_on_the_rules_it_began_with(start_proxy: StartProxy) -> None:
    async with Echo("v2") as v2:
        arrived = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda r, w: arrived.set_result((r, w)), "127.0.0.1", 0)
        slow = Echo("v1", server.sockets[0].getsockname()[1])
        proxy = start_proxy(split(v1=(slow, 1)))
        client = await connect(proxy.port)
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha")
        reader, writer = await soon(arrived)
        await proxy.reload(split(v2=(v2, 1)))  # the predictor of the request in flight is gone
        await client.send(b"lf")
        assert (await soon(reader.readuntil(b"half"))).endswith(b"half")
        writer.write(OK)
        assert (await client.read_response()).body == b"ok"
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.read_response()).body == b"v2"
        assert await soon(reader.read()) == b""  # the connection to what is gone is closed
        line = (await proxy.access(2))[0]
        assert (line["predictor"], line["status"]) == ("default/v1", 200)
        client.close()
        writer.close()
        server.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("reloads", [20, pytest.param(1_000, marks=pytest.mark.soak)])
async def test_reloads_under_load_fail_no_request_and_leave_nothing_behind(
    start_proxy: StartProxy, reloads: int
) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2:
        texts = [split(v1=(v1, 9), v2=(v2, 1)), split(v1=(v1, 1), v2=(v2, 9)), split(v2=(v2, 1))]
        proxy = start_proxy(texts[0], "--access-log", "off", workers=2)
        for text in texts:
            await proxy.reload(text)
        workers = await proxy.workers()
        before = {}
        async with Load(proxy.port).running(clients=4) as load:
            for number in range(reloads):
                await proxy.reload(texts[number % 3])
                if number == reloads // 4:
                    before = {pid: (resident_kib(pid), open_files(pid)) for pid in (proxy.process.pid, *workers)}
        assert not load.failures
        assert set(load.answers) == {"v1", "v2"}
        assert (await proxy.stats())["supervisor"]["reload_successes"] >= reloads
        assert await proxy.workers() == workers
        for pid, (kib, files) in before.items():
            assert resident_kib(pid) - kib < 4_096
            assert open_files(pid) <= files + 8
