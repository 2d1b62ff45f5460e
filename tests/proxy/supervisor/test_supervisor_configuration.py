"""Reloads and names: whole or not at all, and what the old one does meanwhile."""

import asyncio
import socket

import pytest

from turnout.proxy.supervisor.dns import Resolver, is_ip_literal
from turnout.rules.diagnostics import Diagnostic
from turnout.rules.snapshot import Cluster, Endpoint, Listener, Origin
from turnout.rules.source import Rejected

BAD = Rejected((Diagnostic("error", Origin("rules.yaml", 7), "unknown-field", "no such field: wieght"),))


class FakeDns:
    """A resolver whose answers a test sets; a name without one fails."""

    def __init__(self, **answers: tuple[str, ...]) -> None:
        self.answers = answers
        self.asked = 0

    async def look_up(self, host: str) -> tuple[str, ...]:
        self.asked += 1
        if host not in self.answers:
            raise socket.gaierror("name or service not known")
        return self.answers[host]


async def test_a_reload_swaps_the_snapshot_of_every_worker(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot("one"), workers=2)
    await proxy.ready()
    await proxy.reload(make_snapshot("two"))
    wanted = make_snapshot("two").version()
    assert {(await proxy.ask())["version"] for _ in range(20)} == {wanted}
    assert (await proxy.admin("/ready"))[0] == 200


async def test_bad_rules_leave_the_old_serving_and_show_file_and_line(start_proxy, make_snapshot, caplog):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    proxy.source.queue.put_nowait(BAD)
    await proxy.wait_for(lambda: proxy.supervisor.state.reload_failures)
    assert (await proxy.ask())["version"] == make_snapshot().version()
    assert "rules.yaml:7: error: no such field: wieght" in caplog.text
    dump = await proxy.admin_json("/config_dump")
    assert dump["last_error"]["errors"][0]["origin"] == {"file": "rules.yaml", "line": 7}
    await proxy.reload(make_snapshot("better"))
    assert (await proxy.admin_json("/config_dump"))["last_error"] is None


async def test_bad_rules_at_the_start_end_the_proxy(start_proxy, caplog):
    proxy = start_proxy(BAD)
    assert await asyncio.wait_for(proxy.running, 10) == 1
    assert "rules.yaml:7" in caplog.text


async def test_a_snapshot_that_workers_refuse_is_taken_back(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot("good"), workers=2)
    await proxy.ready()
    await proxy.reload(make_snapshot("bad", missing=("refused",)))
    assert proxy.supervisor.state.last_error.message == "workers refused it: there is a name that I refuse"
    version = make_snapshot("good").version()
    await proxy.wait_for(lambda: not proxy.supervisor.pool.not_serving())
    assert {(await proxy.ask())["version"] for _ in range(20)} == {version}
    # One that starts now gets the good one too.
    proxy.supervisor.pool.workers()[0].kill()
    await proxy.wait_for(lambda: proxy.supervisor.pool.restarts == 1)
    await proxy.ready()


async def test_a_reload_that_wants_a_taken_port_is_refused(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        hosts = make_snapshot().listeners[0].virtual_hosts
        more = (*make_snapshot().listeners, Listener("more", hosts, "127.0.0.1", port))
        await proxy.reload(make_snapshot(listeners=more))
    reason = f"cannot listen on 127.0.0.1:{port}: address already in use"
    assert proxy.supervisor.state.last_error.message == reason
    assert (await proxy.ask())["listener"] == "default"


async def test_listeners_come_and_go_with_reloads(start_proxy, make_snapshot, unused_tcp_port):
    proxy = start_proxy(make_snapshot(), workers=2)
    await proxy.ready()
    hosts = make_snapshot().listeners[0].virtual_hosts
    more = (*make_snapshot().listeners, Listener("more", hosts, "127.0.0.1", unused_tcp_port))
    await proxy.reload(make_snapshot(listeners=more))
    async with proxy.session.get(f"http://127.0.0.1:{unused_tcp_port}/") as answer:
        assert (await answer.json(content_type=None))["listener"] == "more"
    await proxy.reload(make_snapshot())

    def is_refused() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", unused_tcp_port)) != 0

    await proxy.wait_for(is_refused)
    assert (await proxy.ask())["listener"] == "default"


async def test_many_reloads_leave_no_descriptor_behind(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    for number in range(50):
        await proxy.reload(make_snapshot(f"v{number}"))
    assert (await proxy.ask())["version"] == make_snapshot("v49").version()
    assert proxy.supervisor.state.reload_successes == 51
    assert (await proxy.ask())["resolved"].keys() >= {"default/v49"}


async def test_each_address_of_a_name_is_an_endpoint_and_changes_are_sent(start_proxy, make_snapshot):
    dns = FakeDns(model=("10.0.0.1", "10.0.0.2"))
    proxy = start_proxy(make_snapshot(address="model"), lookup=dns.look_up, options={"dns_refresh_s": 0.05})
    await proxy.ready()
    assert (await proxy.ask())["resolved"] == {"default/iris": ["10.0.0.1:9", "10.0.0.2:9"]}
    dns.answers["model"] = ("10.0.0.3",)

    async def is_moved() -> bool:
        return (await proxy.ask())["resolved"] == {"default/iris": ["10.0.0.3:9"]}

    await proxy.wait_for(is_moved)


async def test_a_name_that_fails_keeps_its_last_addresses(start_proxy, make_snapshot, caplog):
    dns = FakeDns(model=("10.0.0.1",))
    proxy = start_proxy(make_snapshot(address="model"), lookup=dns.look_up, options={"dns_refresh_s": 0.02})
    await proxy.ready()
    del dns.answers["model"]
    await proxy.wait_for(lambda: proxy.supervisor.facts().dns_failures >= 3)
    assert (await proxy.ask())["resolved"] == {"default/iris": ["10.0.0.1:9"]}
    assert caplog.text.count("cannot resolve model") == 1
    clusters = (await proxy.admin_json("/clusters"))["clusters"]
    assert clusters[0]["dns"] == [{"name": "model", "error": "name or service not known"}]
    dns.answers["model"] = ("10.0.0.2",)
    resolver = proxy.supervisor.configuration.resolver
    await proxy.wait_for(lambda: resolver.addresses("model") == ("10.0.0.2",) and not resolver.error("model"))


async def test_a_name_that_never_resolved_serves_without_endpoints(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot(address="nowhere"), lookup=FakeDns().look_up)
    await proxy.ready()
    assert (await proxy.ask())["resolved"] == {"default/iris": []}


async def test_a_name_that_does_not_answer_delays_no_longer_than_the_timeout():
    async def never(host: str) -> tuple[str, ...]:
        await asyncio.Event().wait()
        raise AssertionError

    resolver = Resolver(never, 5.0, lambda host: None)
    await asyncio.wait_for(resolver.follow(["slow"], timeout_s=0.02), 5)
    assert resolver.addresses("slow") == ()
    resolver.keep_only(set())


async def test_names_are_forgotten_with_their_last_cluster(start_proxy, make_snapshot):
    dns = FakeDns(model=("10.0.0.1",))
    proxy = start_proxy(make_snapshot(address="model"), lookup=dns.look_up, options={"dns_refresh_s": 0.01})
    await proxy.ready()
    await proxy.reload(make_snapshot())
    asked = dns.asked
    await proxy.reload(make_snapshot("again"))
    assert dns.asked == asked
    assert proxy.supervisor.configuration.resolver.addresses("model") == ()


async def test_an_address_that_is_there_twice_is_one_endpoint(start_proxy, make_snapshot):
    twice = (Endpoint("model", 9), Endpoint("10.0.0.1", 9), Endpoint("10.0.0.1", 8), Endpoint("::1", 8))
    snapshot = make_snapshot(clusters=(Cluster("default/iris", twice),))
    proxy = start_proxy(snapshot, lookup=FakeDns(model=("10.0.0.1",)).look_up)
    await proxy.ready()
    assert (await proxy.ask())["resolved"] == {"default/iris": ["10.0.0.1:9", "10.0.0.1:8", "::1:8"]}


@pytest.mark.parametrize(
    ("host", "literal"),
    [("127.0.0.1", True), ("::1", True), ("localhost", False), ("1.2.3", False), ("", False)],
)
def test_ip_literals_are_told_from_names(host, literal):
    assert is_ip_literal(host) is literal
