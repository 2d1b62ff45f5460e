"""Configurations that a control plane pushes: held until the first, a better one waited for, --listen wins."""

import asyncio
import socket

import msgspec
import pytest

from turnout.rules.diagnostics import Diagnostic
from turnout.rules.snapshot import Listener, Origin
from turnout.rules.source import Rejected

BAD = Rejected((Diagnostic("error", Origin("xds://control:1", 1), "inconsistent", "two of a name"),))


def at(snapshot, port, *names):
    """The Snapshot with listeners of these names, on ports from `port` on."""
    hosts = snapshot.listeners[0].virtual_hosts
    listeners = tuple(Listener(name, hosts, "127.0.0.1", port + number) for number, name in enumerate(names))
    return msgspec.structs.replace(snapshot, listeners=listeners)


async def test_before_the_first_configuration_it_is_alive_and_not_ready(start_proxy, make_snapshot):
    proxy = start_proxy()
    await proxy.wait_for(lambda: any(worker.started for worker in proxy.supervisor.pool.workers()))
    assert await proxy.admin("/ready") == (503, "no configuration is served yet\n")
    assert (await proxy.admin("/live"))[0] == 200
    assert proxy.supervisor.sockets.bound() == []
    proxy.source.put(make_snapshot())
    await proxy.ready()
    assert (await proxy.ask())["version"] == make_snapshot().version()


async def test_a_first_configuration_that_cannot_serve_is_waited_out(start_proxy, make_snapshot, unused_tcp_port):
    proxy = start_proxy(BAD, options={"wait_for_better": True})
    await proxy.wait_for(lambda: proxy.supervisor.state.reload_failures)
    with socket.create_server(("127.0.0.1", unused_tcp_port)):
        await proxy.reload(at(make_snapshot(), unused_tcp_port, "default"))
        assert "address already in use" in proxy.supervisor.state.last_error.message
    await proxy.reload(make_snapshot("bad", missing=("refused",)))
    assert (await proxy.admin("/ready"))[0] == 503
    assert proxy.source.served == []
    await proxy.reload(make_snapshot())
    await proxy.ready()
    assert (await proxy.ask())["version"] == make_snapshot().version()
    assert [loaded.snapshot for loaded in proxy.source.served] == [make_snapshot()]


async def test_without_that_it_is_the_end(start_proxy):
    proxy = start_proxy(BAD)
    assert await asyncio.wait_for(proxy.running, 10) == 1


async def test_listen_is_where_the_only_listener_is_and_the_snapshot_stays(start_proxy, make_snapshot, unused_tcp_port):
    snapshot = at(make_snapshot(), unused_tcp_port, "default")
    proxy = start_proxy(snapshot, options={"listen_wins": True})
    await proxy.ready()
    assert proxy.supervisor.sockets.listeners["default"].address.port != unused_tcp_port
    assert (await proxy.ask())["version"] == snapshot.version()


async def test_listen_cannot_be_the_address_of_two(start_proxy, make_snapshot, unused_tcp_port_factory, caplog):
    port = unused_tcp_port_factory()
    snapshot = at(make_snapshot(), port, "default")
    second = Listener("second", snapshot.listeners[0].virtual_hosts, "127.0.0.1", unused_tcp_port_factory())
    both = msgspec.structs.replace(snapshot, listeners=(*snapshot.listeners, second))
    proxy = start_proxy(both, options={"listen_wins": True})
    await proxy.ready()
    assert proxy.supervisor.sockets.listeners["default"].address.port == port
    assert "--listen is for one listener, and there are 2" in caplog.text


@pytest.mark.parametrize("told", [None, {"connected": True}])
async def test_what_the_source_tells_is_in_the_dump(start_proxy, make_snapshot, told):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    proxy.source.dump = lambda: told
    assert (await proxy.admin_json("/config_dump"))["source"] == told
