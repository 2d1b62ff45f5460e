"""The admin interface: what it shows, and from whom it takes orders."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families


async def test_the_index_names_every_path(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    status, text = await proxy.admin("/")
    assert status == 200
    for path in ("/ready", "/live", "/metrics", "/config_dump", "/clusters", "/stats", "/drain"):
        assert path in text


async def test_metrics_count_every_request_of_all_workers(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot(), workers=2)
    await proxy.ready()
    for _ in range(30):
        await proxy.ask()
    status, text = await proxy.admin("/metrics")
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("le") in (None, "+Inf")
    }
    assert status == 200
    assert values["turnout_requests_total"] == values["turnout_downstream_seconds_count"] == 30
    assert values["turnout_downstream_seconds_bucket"] == 30
    assert values["turnout_workers_serving"] == 2


async def test_the_configuration_is_shown_with_its_version(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    dump = await proxy.admin_json("/config_dump")
    assert dump["version"] == make_snapshot().version()
    assert dump["snapshot"]["listeners"][0]["name"] == "default"
    assert dump["origins"]["routes"] == []


async def test_clusters_are_shown_with_their_endpoints(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    (cluster,) = (await proxy.admin_json("/clusters"))["clusters"]
    (endpoint,) = cluster["endpoints"]
    assert (cluster["name"], endpoint["address"], endpoint["port"]) == ("default/iris", "127.0.0.1", 9)
    assert endpoint["active"] == endpoint["requests"] == 0


async def test_drain_is_a_post_that_ends_the_proxy(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    assert (await proxy.admin("/drain"))[0] == 405
    assert (await proxy.admin("/drain", "POST"))[0] == 202
    assert await asyncio.wait_for(proxy.running, 10) == 0


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/drain", {"Origin": "http://evil.example"}),
        ("GET", "/config_dump", {"Host": "evil.example"}),
        ("GET", "/stats", {"Host": "127.0.0.1.evil.example:9901"}),
    ],
)
async def test_web_pages_are_refused(start_proxy, make_snapshot, method, path, headers):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    assert (await proxy.admin(path, method, headers=headers))[0] == 403
    assert not proxy.supervisor.state.draining


@pytest.mark.parametrize("host", ["localhost:9901", "127.0.0.1", "[::1]:9901"])
async def test_local_names_are_answered(start_proxy, make_snapshot, host):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    assert (await proxy.admin("/live", headers={"Host": host}))[0] == 200
