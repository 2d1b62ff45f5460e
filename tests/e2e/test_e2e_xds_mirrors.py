"""Mirrors over xDS: real Envoy and `turnout proxy` on one control plane copy the same requests, with their own Host."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest
import pytest_asyncio
from actors.control_plane import ControlPlane
from actors.documents import predictor
from actors.echo import Echo
from actors.envoy import Envoy, require_envoy
from actors.interop import read_bootstrap
from actors.proxy import until
from actors.wire import connect
from actors.xds_proxy import XdsProxy
from free_ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANES = ("envoy", "turnout")
COUNT = 40
HOST = "models.test:81"


def gateway(plane: str, port: int) -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {plane}, annotations: {{turnout.dev/proxies: plane={plane}}}}}
spec: {{gatewayClassName: any, listeners: [{{name: http, port: {port}, protocol: HTTP}}]}}
---
"""


def rule(path: str, *mirrors: str) -> str:
    """A rule for a path that is copied to these: `name`, or `name percent`."""
    filters = ", ".join(f"{{type: RequestMirror, requestMirror: {_mirror(*told.split())}}}" for told in mirrors)
    return f"{{matches: [{{path: {{value: {path}}}}}], filters: [{filters}], backendRefs: [{{name: live}}]}}"


def _mirror(name: str, percent: str = "100") -> str:
    return f"{{backendRef: {{name: {name}}}, percent: {percent}}}"


RULES = (
    rule("/direct"),
    rule("/all", "one"),
    rule("/both", "one", "two"),
    rule("/none", "one 0"),
    rule("/some", "one 50", "two 75"),
    rule("/nowhere", "nobody", "one"),
)
ROUTE = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r}}
spec: {{parentRefs: [{{name: envoy}}, {{name: turnout}}], rules: [{", ".join(RULES)}]}}
"""


class Site(NamedTuple):
    """Both data planes, by port, and who gets requests and copies of them."""

    ports: dict[str, int]
    live: Echo
    shadows: tuple[Echo, Echo]
    control: ControlPlane

    async def send(self, plane: str, path: str, count: int = COUNT) -> None:
        """Send so many requests, which are all answered by who should."""
        wire = await connect(self.ports[plane])
        for number in range(count):
            await wire.send(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Number: {number}\r\n\r\n".encode())
            answer = await wire.read_response()
            assert (answer.status, answer.body) == (200, b"live")
        wire.close()

    def forget(self) -> None:
        for echo in (self.live, *self.shadows):
            echo.seen.clear()

    def copied(self, path: str) -> list[set[str | None]]:
        """The numbers of the requests for this path that came to each shadow."""
        return [{request.get("x-number") for request in s.seen if request.target == path} for s in self.shadows]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    require_envoy()
    folder = tmp_path_factory.mktemp("mirrors")
    ports = {plane: free_port() for plane in PLANES}
    async with AsyncExitStack() as stack:
        live, one, two = [await stack.enter_async_context(Echo(name)) for name in ("live", "one", "two")]
        control = ControlPlane(folder / "control")
        stack.callback(control.close)
        predictors = [predictor(echo.name, echo.port) for echo in (live, one, two)]
        control.write("".join([*predictors, *(gateway(*item) for item in ports.items()), ROUTE]))
        control.start()
        await control.ready()
        envoy = Envoy(folder / "envoy", read_bootstrap(control.xds_port, "envoy"))
        stack.callback(envoy.close)
        where = ("--listen", f"127.0.0.1:{ports['turnout']}")
        proxy = XdsProxy(folder / "proxy", control.xds, "--node-metadata", "plane=turnout", *where)
        stack.callback(proxy.close)
        for port in ports.values():
            await until(lambda port=port: answers(port))
        yield Site(ports, live, (one, two), control)


async def answers(port: int) -> bool:
    try:
        wire = await connect(port)
        await wire.send(b"GET /direct HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = await wire.read_response()
    except (OSError, EOFError):
        return False
    wire.close()
    return answer.status == 200


@pytest.fixture(params=PLANES)
def plane(site: Site, request: pytest.FixtureRequest) -> str:
    site.forget()
    name: str = request.param
    return name


async def test_each_request_is_copied_once_to_each_mirror_as_it_is(site: Site, plane: str) -> None:
    await site.send(plane, "/both")
    await until(lambda: [len(shadow.seen) for shadow in site.shadows] == [COUNT, COUNT])
    assert site.copied("/both") == [{str(number) for number in range(COUNT)}] * 2
    copies = [request for shadow in site.shadows for request in shadow.seen]
    assert {(copy.get("host"), copy.get("x-turnout-shadow")) for copy in copies} == {(HOST, "true")}
    assert {(request.get("host"), request.get("x-turnout-shadow")) for request in site.live.seen} == {(HOST, None)}
    ids = [{copy.get("x-request-id") for copy in found.seen} for found in (site.live, *site.shadows)]
    assert ids[0] == ids[1] == ids[2]


async def test_of_shares_the_smaller_is_part_of_the_larger_and_none_is_none(site: Site, plane: str) -> None:
    count = 200
    await site.send(plane, "/none")
    await site.send(plane, "/some", count)
    await site.send(plane, "/all")
    await until(lambda: len(site.copied("/all")[0]) == COUNT)

    def is_settled() -> bool:
        half, most = map(len, site.copied("/some"))
        # 50 % and 75 % of 200, six sigma each.
        return abs(half - 100) < 43 and abs(most - 150) < 37

    await until(is_settled)
    await until(lambda: site.copied("/some")[0] <= site.copied("/some")[1])
    assert site.copied("/none") == [set(), set()]
    assert site.copied("/all")[1] == set()


async def test_a_mirror_that_nobody_defines_harms_nobody(site: Site, plane: str) -> None:
    await site.send(plane, "/nowhere")
    await until(lambda: len(site.copied("/nowhere")[0]) == COUNT)


async def test_all_is_acknowledged(site: Site) -> None:
    status = await site.control.status()
    told = [{kind["type"]: kind["status"] for kind in proxy["types"]} for proxy in status["proxies"]]
    assert told == [dict.fromkeys(("CDS", "EDS", "LDS", "RDS"), "SYNCED")] * 2
