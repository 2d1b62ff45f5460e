"""Every file in routing-rules/examples, run by a real proxy, with requests that show what it is about."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from actors.echo import Echo
from actors.grpc_named import GrpcModel, call_once, open_channel
from actors.proxy import Proxy, until
from actors.wire import Message, connect
from free_ports import free_port
from grpc import StatusCode

EXAMPLES = Path(__file__).parents[2] / "routing-rules" / "examples"
HASTE = {
    "circuit-breaker": {"queue: 2s": "queue: 200ms", "minPenalty: 1s": "minPenalty: 300ms"},
    "health-check": {"interval: 1s": "interval: 100ms"},
    "outlier-detection": {"interval: 5s": "interval: 200ms", "baseEjectionTime: 10s": "baseEjectionTime: 1s"},
}
"""Times of examples that are made for people; here they are shorter, and all else is as it is written."""


class Stage:
    """One example that runs: its ports are changed to those of two upstreams and to free ones."""

    def __init__(
        self, proxy: Proxy, ports: dict[int, int], v1: Echo, v2: Echo, calls: dict[int, GrpcModel] | None = None
    ) -> None:
        self.proxy = proxy
        self.ports = ports
        self.v1 = v1
        self.v2 = v2
        self.calls = calls or {}

    async def get(self, target: str, *fields: str, method: str = "GET", host: str = "a", port: int = 0) -> Message:
        wire = await connect(port or self.proxy.port)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, "", ""]
        await wire.send("\r\n".join(lines).encode())
        answer = await wire.read_response(method)
        wire.close()
        return answer

    async def who(self, *arguments: str, **more: object) -> str:
        """Who answers: iris-v1, iris-v2, or the status."""
        answer = await self.get(*arguments, **more)  # type: ignore[arg-type]
        return answer.body.decode() if answer.status == 200 else str(answer.status)

    async def refused(self, *arguments: str) -> tuple[int, str, Message]:
        """Status and flag of an answer that is the proxy's own, and the answer."""
        answer = await self.get(*arguments)
        return answer.status, json.loads(answer.body)["error"]["flag"], answer

    # What the admin interface says

    async def happened(self, what: str, echo: Echo, why: str = "") -> dict[str, Any]:
        """Wait for an event at an upstream; the numbers of the last such one."""

        async def find() -> dict[str, Any] | None:
            events = json.loads((await self.proxy.admin("/events"))[1])["events"]
            wanted = what, why, f"127.0.0.1:{echo.port}"
            found = [event for event in events if (event["what"], event["why"], event["endpoint"]) == wanted]
            return found[-1] if found else None

        return (await until(find))["numbers"]

    async def cluster(self) -> dict[str, Any]:
        """The first predictor of /clusters."""
        return json.loads((await self.proxy.admin("/clusters"))[1])["clusters"][0]

    async def endpoint(self, echo: Echo) -> dict[str, Any]:
        return next(e for e in (await self.cluster())["endpoints"] if e["port"] == echo.port)

    async def waiting(self) -> int:
        return (await self.cluster())["limits"]["pending_requests"]["used"]


async def canary(stage: Stage) -> None:
    target = "/v2/models/iris/infer"
    assert [await stage.who(target, "x-canary: true") for _ in range(20)] == ["iris-v2"] * 20
    assert await stage.who("/other", "x-canary: true") in ("iris-v1", "iris-v2")
    got = [await stage.who(target) for _ in range(200)]
    assert got.count("iris-v1") > got.count("iris-v2") > 0


async def circuit_breaker(stage: Stage) -> None:
    v1, v2 = stage.v1, stage.v2
    v1.hold()
    v2.hold()
    asked = [asyncio.create_task(stage.who("/")) for _ in range(2)]
    await until(lambda: (len(v1.seen), len(v2.seen)) == (1, 1))
    assert (await stage.refused("/"))[:2] == (503, "UO")  # it waited its time, in vain
    third = asyncio.create_task(stage.who("/"))
    await until(stage.waiting)
    v2.release()
    assert await third == "iris-v2"  # whoever is free first
    assert (len(v1.seen), len(v2.seen)) == (1, 2)
    v1.release()
    assert sorted(await asyncio.gather(*asked)) == ["iris-v1", "iris-v2"]
    v1.status = v2.status = 500
    got = []
    while "503" not in got:  # our own: no endpoint is left
        got.append(await stage.who("/"))
    assert (await stage.happened("breaker_open", v1))["failures"] == 5
    assert (await stage.happened("breaker_open", v2))["failures"] == 5
    v1.status = v2.status = 200
    await stage.happened("breaker_half_open", v1)
    await until(lambda: _is(stage, "iris-v1"))
    await stage.happened("breaker_closed", v1)


async def _is(stage: Stage, name: str) -> bool:
    return await stage.who("/") == name


async def dns_and_service(stage: Stage) -> None:
    assert await stage.who("/") == "iris-v1"
    assert await stage.who("/service/a") == "503"  # no such name here


async def fault(stage: Stage) -> None:
    assert await stage.who("/") == "iris-v1"
    assert (await stage.refused("/", "x-fault: broken"))[:2] == (503, "FI")
    assert len(stage.v1.seen) == 1
    began = time.monotonic()
    assert await stage.who("/", "x-fault: slow") == "iris-v1"
    assert time.monotonic() - began >= 0.3


async def gateway(stage: Stage) -> None:
    models, team = stage.ports[8088], stage.ports[8089]
    assert await stage.who("/", port=models) == "iris-v1"
    assert await stage.who("/", port=models, host="canary.models.example") == "iris-v2"
    assert await stage.who("/", port=team) == "iris-v2"
    with pytest.raises(ConnectionRefusedError):
        await stage.get("/")  # with a Gateway there is no listener but its own


async def grpc(stage: Stage) -> None:
    """The upstreams of the two versions speak gRPC here; what is not gRPC goes to the third."""
    service = "/inference.GRPCInferenceService"
    async with open_channel(stage.proxy.port, "a") as channel:
        canary = ("x-canary", "true")
        assert {await call_once(channel, f"{service}/ModelInfer", canary) for _ in range(10)} == {"iris-v2"}
        got = [await call_once(channel, f"{service}/ModelInfer") for _ in range(200)]
        assert got.count("iris-v1") > got.count("iris-v2") > 0
        assert {await call_once(channel, f"{service}/ModelReady") for _ in range(10)} == {"iris-v1"}
        stage.calls[8081].fails = StatusCode.UNAVAILABLE
        assert {await call_once(channel, f"{service}/ServerLive") for _ in range(5)} == {"UNAVAILABLE"}
        # The version that fails is asked again, as often as the budget allows, and the other is not in its place.
        before = len(stage.calls[8081].seen)
        again = [await call_once(channel, f"{service}/ModelInfer") for _ in range(100)]
        assert 0 < again.count("iris-v2") < again.count("UNAVAILABLE") == 100 - again.count("iris-v2")
        assert len(stage.calls[8081].seen) - before > again.count("UNAVAILABLE")
    assert await stage.who(f"{service}/ModelInfer", method="POST") == "iris-rest"


async def header_match(stage: Stage) -> None:
    assert await stage.who("/", "X-Team: research", "x-version: 2.10") == "iris-v2"
    assert await stage.who("/", "x-team: research", "x-version: 12.1") == "iris-v1"
    assert await stage.who("/", "x-version: 2.1") == "iris-v1"


async def headers_edit(stage: Stage) -> None:
    stage.v1.fields = stage.v2.fields = ["Server: model", "Cache-Control: private"]
    answers = [await stage.get("/", "Cookie: a=b", "X-Tenant: mine") for _ in range(40)]
    for seen in stage.v1.seen + stage.v2.seen:
        assert (seen.get("x-tenant"), seen.get("cookie")) == ("flowers", None)
    for answer in answers:
        assert (answer.get("cache-control"), answer.get("server")) == ("private,no-store", None)
        assert answer.get("x-canary") == ("true" if answer.body == b"iris-v2" else None)
    assert stage.v2.seen


async def health_check(stage: Stage) -> None:
    # It serves after a first round of checks, and both were warmed.
    for echo in (stage.v1, stage.v2):
        asked = [message.target for message in echo.seen[:3]]
        assert asked == ["/v2/health/ready", "/v2/models/iris/ready", "/v2/models/iris/infer"]
        assert json.loads(echo.seen[2].body)["inputs"][0]["shape"] == [1, 4]
    assert {await stage.who("/hello") for _ in range(40)} == {"iris-v1", "iris-v2"}
    stage.v1.status = 503
    await stage.happened("check_failed", stage.v1)
    assert {await stage.who("/hello") for _ in range(20)} == {"iris-v2"}
    stage.v1.seen.clear()
    stage.v1.status = 200
    await until(lambda: _is_available(stage, stage.v1))
    assert [m.method for m in stage.v1.seen if m.target == "/v2/models/iris/infer"] == ["POST"]  # warmed again
    assert 0 < (await stage.endpoint(stage.v1))["slow_start_for_s"] <= 20


async def _is_available(stage: Stage, echo: Echo) -> bool:
    return (await stage.endpoint(echo))["state"] == "AVAILABLE"


async def hostnames(stage: Stage) -> None:
    assert await stage.who("/", host="staging.models.example") == "iris-v2"
    assert await stage.who("/", host="A.b.Models.example:80") == "iris-v1"
    assert await stage.who("/", host="models.example") == "404"


async def load_balancing(stage: Stage) -> None:
    for session in "abcd":
        assert len({await stage.who("/", f"x-session: {session}") for _ in range(10)}) == 1
    assert {await stage.who("/", f"x-session: {number}") for number in range(40)} == {"iris-v1", "iris-v2"}
    # Of four at once, 1.5 times the mean load is three: the fourth of a session goes elsewhere.
    stage.v1.hold()
    stage.v2.hold()
    before = len(stage.v1.seen), len(stage.v2.seen)
    four = [asyncio.create_task(stage.who("/", "x-session: a")) for _ in range(4)]
    await until(lambda: len(stage.v1.seen) + len(stage.v2.seen) == sum(before) + 4)
    assert sorted((len(stage.v1.seen) - before[0], len(stage.v2.seen) - before[1])) == [1, 3]
    stage.v1.release()
    stage.v2.release()
    assert set(await asyncio.gather(*four)) == {"iris-v1", "iris-v2"}
    stage.v1.delay_s = 0.05
    got = [await stage.who("/any") for _ in range(40)]
    assert got.count("iris-v2") > 30  # who answers soonest


async def outlier_detection(stage: Stage) -> None:
    v1, v2 = stage.v1, stage.v2
    v1.delay_s = 0.02
    for _ in range(60):
        await stage.who("/")
    numbers = await stage.happened("ejected", v1, "latency")
    assert numbers["times_slower"] > 4
    assert {await stage.who("/") for _ in range(10)} == {"iris-v2"}
    v1.delay_s = 0.0
    await stage.happened("unejected", v1, "latency")
    v1.status = 500
    got = []
    while got.count("500") < 3:
        got.append(await stage.who("/"))
    assert (await stage.happened("ejected", v1, "consecutive_5xx"))["consecutive"] == 3
    assert {await stage.who("/") for _ in range(10)} == {"iris-v2"}
    v2.status = 500
    assert {await stage.who("/") for _ in range(10)} == {"500"}  # its own answer, not our 503: it is left
    await stage.happened("ejection_forbidden", v2, "consecutive_5xx")


async def path_and_method(stage: Stage) -> None:
    assert await stage.who("/v2/models/iris/infer", method="POST") == "iris-v1"
    assert await stage.who("/v2/models/iris") == "iris-v2"
    assert await stage.who("/v2/models/iris/infer/x", method="POST") == "404"
    assert await stage.who("/v2/models/irises") == "404"
    assert await stage.who("/v2/health/ready") == "iris-v2"


async def query(stage: Stage) -> None:
    assert await stage.who("/a?x=1&version=2") == "iris-v2"
    assert await stage.who("/?debug=17") == "iris-v2"
    assert await stage.who("/?debug=yes&version=3") == "iris-v1"


async def rate_limit(stage: Stage) -> None:
    assert [await stage.who("/", "x-tenant: a") for _ in range(3)] == ["iris-v1"] * 3
    status, flag, answer = await stage.refused("/", "x-tenant: a")
    assert (status, flag) == (429, "RL")
    assert 1 <= int(answer.get("retry-after") or 0) <= 10
    assert await stage.who("/", "x-tenant: b") == "iris-v1"
    assert [await stage.who("/") for _ in range(4)] == ["iris-v1"] * 3 + ["429"]


async def redirect(stage: Stage) -> None:
    answer = await stage.get("/v1/models/iris/infer?a=b", host="models.example")
    port = stage.proxy.port
    location = f"http://models.example:{port}/v2/models/iris/infer?a=b"
    assert (answer.status, answer.get("location"), answer.body) == (301, location, b"")
    answer = await stage.get("/x", "X-Forwarded-Port: 80")
    assert (answer.status, answer.get("location")) == (308, "https://models.example/x")
    assert await stage.who("/x") == "iris-v1"


async def reference_grant(stage: Stage) -> None:
    assert await stage.who("/") == "iris-v1"


async def regex(stage: Stage) -> None:
    assert await stage.who("/v2/models/iris/versions/7/infer") == "iris-v1"
    assert await stage.who("/v2/models/iris/versions/70/infer") == "iris-v2"
    assert await stage.who("/v2/models/iris/versions/7/infer/more") == "404"


async def retries(stage: Stage) -> None:
    stage.v1.status = 503
    async with asyncio.timeout(20):
        while not stage.v1.seen:  # which of them is asked first is left to chance
            assert await stage.who("/anything", method="POST") == "iris-v2"
    again = [message for message in stage.v2.seen if message.get("x-envoy-attempt-count") == "2"]
    assert len(again) == len(stage.v1.seen)
    stage.v2.status = 503
    before = len(stage.v1.seen) + len(stage.v2.seen)
    assert await stage.who("/") == "503"
    assert len(stage.v1.seen) + len(stage.v2.seen) - before == 3
    (line,) = await stage.proxy.access(1, status=503)
    assert (line["flag"], line["attempts"]) == ("URX", 3)
    assert line["reason"] == "answered 503; answered 503"


async def rewrite(stage: Stage) -> None:
    assert await stage.who("/v2/models/flowers/infer?a=b") == "iris-v1"
    assert (stage.v1.seen[0].target, stage.v1.seen[0].all("host")) == ("/v2/models/iris/infer?a=b", ["iris.internal"])


async def several_routes(stage: Stage) -> None:
    assert await stage.who("/v2/models/iris/versions/2/infer") == "iris-v2"
    assert await stage.who("/v2/models/iris/versions/20") == "iris-v1"


async def sticky_split(stage: Stage) -> None:
    for user in range(20):
        assert len({await stage.who("/", f"x-user: {user}") for _ in range(3)}) == 1
    before = [await stage.who("/", f"x-user: {user}") for user in range(100)]
    assert before.count("iris-v1") > before.count("iris-v2") > 0
    assert {await stage.who("/") for _ in range(100)} == {"iris-v1", "iris-v2"}
    text = stage.proxy.rules.read_text()
    await stage.proxy.reload(text.replace("weight: 90", "weight: 80").replace("weight: 10", "weight: 20"))
    after = [await stage.who("/", f"x-user: {user}") for user in range(100)]
    moved = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert set(moved) == {("iris-v1", "iris-v2")}  # and nobody back


async def mirror(stage: Stage) -> None:
    for user in [*range(40)] * 2:
        assert await stage.who("/", f"x-user: {user}") == "iris-v1"
    first = 'turnout_mirrored_total{predictor="default/iris-v2",route="default/iris/0"} '
    copied = int(float((await stage.proxy.admin("/metrics"))[1].partition(first)[2].partition("\n")[0]))
    await until(lambda: len(stage.v2.seen) == copied)
    seen = [message.get("x-user") for message in stage.v2.seen]
    assert {user: seen.count(user) for user in seen} == dict.fromkeys(seen, 2)
    assert 0 < len(set(seen)) < 40


async def timeouts(stage: Stage) -> None:
    assert await stage.who("/") == "iris-v1"
    stage.v1.delay_s = 1.7
    answer = await stage.get("/")
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (504, "UT")
    stage.v1.delay_s = 2.1
    assert await stage.who("/v2/models/iris/generate_stream") == "iris-v1"


SHOWS = {
    "canary": canary, "circuit-breaker": circuit_breaker, "dns-and-service": dns_and_service, "fault": fault,
    "gateway": gateway, "grpc": grpc, "header-match": header_match, "headers-edit": headers_edit,
    "health-check": health_check, "hostnames": hostnames, "load-balancing": load_balancing,
    "mirror": mirror, "outlier-detection": outlier_detection, "path-and-method": path_and_method, "query": query,
    "rate-limit": rate_limit, "redirect": redirect, "reference-grant": reference_grant, "regex": regex,
    "retries": retries, "rewrite": rewrite, "several-routes": several_routes, "sticky-split": sticky_split,
    "timeouts": timeouts,
}  # fmt: skip


@pytest.fixture
async def upstreams() -> AsyncIterator[tuple[Echo, Echo]]:
    async with Echo("iris-v1") as v1, Echo("iris-v2") as v2:
        yield v1, v2


@pytest.fixture
async def rest() -> AsyncIterator[Echo]:
    async with Echo("iris-rest") as rest:
        yield rest


@pytest.fixture
async def models() -> AsyncIterator[dict[int, GrpcModel]]:
    async with GrpcModel("iris-v1") as v1, GrpcModel("iris-v2") as v2:
        yield {8081: v1, 8082: v2}


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
async def test_an_example_does_what_it_says(
    name: str, upstreams: tuple[Echo, Echo], rest: Echo, models: dict[int, GrpcModel], start_proxy: Callable[..., Proxy]
) -> None:
    v1, v2 = upstreams
    ports = {8081: v1.port, 8082: v2.port, 8083: rest.port, 8088: free_port(), 8089: free_port()}
    if name == "grpc":
        ports |= {port: model.port for port, model in models.items()}
    text = (EXAMPLES / f"{name}.yaml").read_text()
    text = re.sub(r"(port: )(80\d\d)\b", lambda found: found[1] + str(ports[int(found[2])]), text)
    for slow, fast in HASTE.get(name, {}).items():
        assert slow in text
        text = text.replace(slow, fast)
    proxy = await asyncio.to_thread(start_proxy, text)  # upstreams may be asked before it is up
    await SHOWS[name](Stage(proxy, ports, v1, v2, models))
