"""A supervisor with fake workers: becoming ready, replacing the dead, draining, handing over."""

import asyncio
import os
import signal
import socket
from collections import Counter

import pytest

from turnout.proxy.net.options import Options
from turnout.proxy.supervisor.options import Address


async def test_it_is_ready_when_every_worker_serves(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot(), workers=2)
    await proxy.ready()
    assert {worker.state for worker in proxy.supervisor.pool.workers()} == {"serving"}
    slots = {(await proxy.ask())["slot"] for _ in range(40)}
    assert slots == {0, 1}


async def test_it_is_not_ready_while_a_worker_has_no_snapshot(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot(), fault="deaf")
    await proxy.wait_for(lambda: any(worker.started for worker in proxy.supervisor.pool.workers()))
    status, text = await proxy.admin("/ready")
    assert (status, text) == (503, "no configuration is served yet\n")
    assert (await proxy.admin("/live"))[0] == 200


async def test_workers_that_never_start_end_the_proxy(start_proxy, make_snapshot, caplog):
    proxy = start_proxy(make_snapshot(), fault="dies")
    assert await asyncio.wait_for(proxy.running, 15) == 1
    assert "worker 0 ended 5 times while starting (exit code 7)" in caplog.text


async def test_a_killed_worker_is_replaced_in_its_slot(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    before = await proxy.ask()
    os.kill(before["pid"], signal.SIGKILL)
    await proxy.wait_for(lambda: proxy.supervisor.pool.restarts == 1)
    after = await proxy.ask()
    assert after["pid"] != before["pid"]
    assert (after["slot"], after["version"]) == (before["slot"], before["version"])


async def test_no_connection_is_refused_while_workers_die(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot(), workers=2)
    await proxy.ready()
    address = proxy.supervisor.sockets.listeners["default"].address
    outcomes: Counter[str] = Counter()
    deaths = 4

    async def load() -> None:
        while proxy.supervisor.pool.restarts < deaths or proxy.supervisor.pool.not_serving():
            outcomes[await one_request(address)] += 1

    clients = [asyncio.create_task(load()) for _ in range(8)]
    for death in range(deaths):
        await proxy.wait_for(lambda: not proxy.supervisor.pool.not_serving())
        os.kill(proxy.supervisor.pool.workers()[death % 2].pid, signal.SIGKILL)
        await proxy.wait_for(lambda want=death: proxy.supervisor.pool.restarts > want)
    await asyncio.wait_for(asyncio.gather(*clients), 30)
    assert outcomes["refused"] == 0
    # What a worker had accepted dies with it, at most one request of each client.
    assert outcomes["cut"] <= 8 * deaths
    assert outcomes["answered"] > deaths


async def one_request(address: Address) -> str:
    try:
        reader, writer = await asyncio.open_connection(*address)
    except ConnectionError:
        return "refused"
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return "answered" if (await reader.readline()).startswith(b"HTTP/1.1 200") else "cut"
    except ConnectionError:
        return "cut"
    finally:
        writer.close()


async def test_counters_outlive_their_worker_and_gauges_do_not(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    pid = (await proxy.ask())["pid"]
    reader, writer = await asyncio.open_connection(*proxy.supervisor.sockets.listeners["default"].address)
    writer.write(b"GET /hang HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"not all")
    stats = await proxy.admin_json("/stats")
    assert stats["process"]["connections_active"] >= stats["process"]["tunnels_active"] == 1
    os.kill(pid, signal.SIGKILL)
    await proxy.wait_for(lambda: proxy.supervisor.pool.restarts == 1)
    stats = await proxy.admin_json("/stats")
    assert stats["process"]["connections_active"] == stats["process"]["tunnels_active"] == 0
    assert stats["process"]["connections_total"] == stats["routes"][0]["requests"][0]["count"] == 1
    writer.close()


async def test_sigterm_drains_and_exits_with_0(start_proxy_process, make_snapshot):
    proxy = await start_proxy_process(make_snapshot(), workers=2)
    await proxy.ready()
    pids = [worker["pid"] for worker in (await proxy.stats())["supervisor"]["workers"]]
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(b"GET /hang HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"not all")
    proxy.process.send_signal(signal.SIGTERM)
    await proxy.wait_for_log("draining for up to")
    async with proxy.session.get(proxy.admin_url + "/ready") as answer:
        assert (answer.status, await answer.text()) == (503, "draining\n")
    writer.close()
    assert await asyncio.wait_for(proxy.process.wait(), 10) == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_a_second_signal_ends_a_drain_at_once(start_proxy_process, make_snapshot):
    proxy = await start_proxy_process(make_snapshot())
    await proxy.ready()
    reader, writer = await asyncio.open_connection(*proxy.address)
    writer.write(b"GET /hang HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"not all")
    proxy.process.send_signal(signal.SIGINT)
    await proxy.wait_for_log("draining for up to")
    proxy.process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(proxy.process.wait(), 5) == 0
    writer.close()


async def test_the_drain_timeout_ends_workers_that_do_not_end(start_proxy_process, make_snapshot):
    proxy = await start_proxy_process(make_snapshot(), worker=Options(drain_timeout_s=0.1))
    await proxy.ready()
    _, writer = await asyncio.open_connection(*proxy.address)
    writer.write(b"GET /hang HTTP/1.1\r\n\r\n")
    proxy.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(proxy.process.wait(), 10) == 0
    writer.close()


@pytest.mark.parametrize("which", ["listen", "admin"])
async def test_a_taken_port_is_one_line_that_names_it(start_proxy_process, make_snapshot, which):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        proxy = await start_proxy_process(make_snapshot(), **{which: Address("127.0.0.1", port)})
        assert await asyncio.wait_for(proxy.process.wait(), 10) == 1
        assert f"cannot listen on 127.0.0.1:{port}: address already in use" in proxy.log()
        assert "Traceback" not in proxy.log()


async def test_an_access_log_that_cannot_be_opened_is_one_line(start_proxy_process, make_snapshot, tmp_path):
    path = tmp_path / "missing" / "access.log"
    proxy = await start_proxy_process(make_snapshot(), worker=Options(access_log=str(path)))
    assert await asyncio.wait_for(proxy.process.wait(), 10) == 1
    assert f"cannot write the access log {path}: No such file or directory" in proxy.log()
    assert len(proxy.log().splitlines()) == 1


async def test_a_hot_restart_refuses_no_connection(start_proxy_process, make_snapshot):
    proxy = await start_proxy_process(make_snapshot(), workers=2)
    await proxy.ready()
    address = proxy.address
    outcomes: Counter[str] = Counter()
    stop = asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            outcomes[await one_request(address)] += 1

    clients = [asyncio.create_task(load()) for _ in range(4)]
    proxy.process.send_signal(signal.SIGUSR2)
    assert await asyncio.wait_for(proxy.process.wait(), 20) == 0
    await proxy.ready()
    stop.set()
    await asyncio.gather(*clients)
    assert set(outcomes) == {"answered"}
    assert await one_request(address) == "answered"
    pids = [worker["pid"] for worker in (await proxy.stats())["supervisor"]["workers"]]
    assert len(pids) == 2
    assert proxy.address == address


async def test_a_successor_that_dies_leaves_the_old_one_serving(start_proxy_process, make_snapshot):
    proxy = await start_proxy_process(make_snapshot(), "--broken-successor")
    await proxy.ready()
    proxy.process.send_signal(signal.SIGUSR2)
    await proxy.wait_for_log("ended before it served")
    assert await one_request(proxy.address) == "answered"
    await proxy.ready()
    proxy.process.send_signal(signal.SIGUSR2)
    await proxy.wait_for_log("ended before it served", count=2)


async def test_sighup_asks_the_source_to_look_again(start_proxy_process, make_snapshot):
    proxy = await start_proxy_process(make_snapshot())
    await proxy.ready()
    proxy.process.send_signal(signal.SIGHUP)
    await proxy.wait_for_log("serves on", count=2)


async def test_workers_end_when_their_supervisor_is_killed(start_proxy_process, make_snapshot):
    proxy = await start_proxy_process(make_snapshot())
    await proxy.ready()
    (worker,) = (await proxy.stats())["supervisor"]["workers"]
    end = os.pidfd_open(worker["pid"])
    proxy.process.kill()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(end, ended.set)
    await asyncio.wait_for(ended.wait(), 5)
    asyncio.get_running_loop().remove_reader(end)
    os.close(end)
