"""The admin interface, over all workers as one, and numbers that are exact."""

import json
import os
from collections.abc import Callable

from actors.documents import predictor, split
from actors.echo import Echo
from actors.load import Load
from actors.proxy import Proxy
from actors.wire import connect
from prometheus_client.parser import text_string_to_metric_families

StartProxy = Callable[..., Proxy]


async def samples(proxy: Proxy) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await proxy.admin("/metrics"))[1]
    families = text_string_to_metric_families(text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


async def test_metrics_are_exact_over_two_workers(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)), workers=2)
        load = Load(proxy.port)
        for _ in range(4):
            await load.ask(100, clients=10)
        got = await samples(proxy)
        here = labels(route="default/route/split", predictor="default/v1")
        endpoint = labels(predictor="default/v1", endpoint=f"127.0.0.1:{v1.port}")
        total = labels(route="default/route/split", predictor="default/v1", code_class="2xx", flag="-")
        assert load.total == len(v1.seen) == 400
        assert got["turnout_requests_total", total] == 400
        for name in ("turnout_downstream_seconds", "turnout_upstream_seconds", "turnout_proxy_seconds"):
            assert got[f"{name}_count", here] == 400
        assert got["turnout_upstream_requests_total", endpoint] == 400
        assert got["turnout_route_sent_bytes_total", here] == 800
        assert got["turnout_active_requests", ()] == 0
        assert got["turnout_downstream_connections_total", ()] == 40
        assert got["turnout_workers_serving", ()] == 2
        downstream, upstream, own = (
            got[f"turnout_{name}_seconds_sum", here] for name in ("downstream", "upstream", "proxy")
        )
        assert abs(downstream - upstream - own) < 1e-3
        assert len(await proxy.access(400)) == 400


async def test_metrics_agree_with_the_access_log(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)))
        client = await connect(proxy.port)
        for size in (0, 10, 1_000):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size))
            await client.read_response()
        client.close()
        lines = await proxy.access(3)
        assert [(line["bytes_received"], line["bytes_sent"]) for line in lines] == [(0, 2), (10, 2), (1_000, 2)]
        for line in lines:
            assert line["duration_ms"] >= line["upstream_ms"] > 0
            assert abs(line["duration_ms"] - line["upstream_ms"] - line["proxy_ms"]) < 0.01
            assert line["first_byte_ms"] <= line["duration_ms"]
        got = await samples(proxy)
        here = labels(route="default/route/split", predictor="default/v1")
        assert got["turnout_route_received_bytes_total", here] == 1_010


async def test_a_terminal_that_nobody_reads_stops_no_request(start_proxy: StartProxy) -> None:
    """As after Ctrl-S, or behind a pager: lines wait, then are dropped; a worker never does."""
    async with Echo("v1") as v1:
        reader, terminal = os.openpty()
        proxy = start_proxy(split(v1=(v1, 1)), "--access-log", "-", stdout=terminal)
        load = Load(proxy.port)
        await load.ask(1_500)
        assert not load.failures
        assert load.answers == {"v1": 1_500}
        assert b'"status":200' in os.read(reader, 4_096)
        os.close(terminal)
        os.close(reader)


async def test_clusters_stats_and_config_dump_tell_what_serves(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)) + "---" + predictor("spare", 1).replace("---", ""))
        await Load(proxy.port).ask(7, clients=1)
        clusters = json.loads((await proxy.admin("/clusters"))[1])["clusters"]
        one = next(cluster for cluster in clusters if cluster["name"] == "default/v1")
        assert (one["endpoints"][0]["port"], one["endpoints"][0]["requests"]) == (v1.port, 7)
        dump = json.loads((await proxy.admin("/config_dump"))[1])
        assert dump["last_error"] is None
        assert f"version {dump['version']} serves" in proxy.events()
        assert any("spare" in warning for warning in dump["warnings"])
        assert str(proxy.rules) in json.dumps(dump["origins"])
        stats = await proxy.stats()
        assert stats["process"]["connections_total"] == 1
        assert len(stats["supervisor"]["workers"]) == 1


async def test_drain_by_the_admin_ends_the_proxy(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)))
        assert (await proxy.admin("/live"))[0] == 200
        assert (await proxy.admin("/drain"))[0] == 405
        kept = await connect(proxy.port)
        assert (await proxy.admin("/drain", "POST"))[0] == 202
        assert (await proxy.admin("/ready"))[0] == 503
        kept.close()
        assert await proxy.wait() == 0
