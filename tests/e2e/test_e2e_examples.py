"""Every file in routing-rules/examples, run by a real proxy, with requests that show what it is about."""

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from actors.echo import Echo
from actors.proxy import Proxy, free_port
from actors.wire import Message, connect

EXAMPLES = Path(__file__).parents[2] / "routing-rules" / "examples"


class Stage:
    """One example that runs: its ports are changed to those of two upstreams and to free ones."""

    def __init__(self, proxy: Proxy, ports: dict[int, int], v1: Echo, v2: Echo) -> None:
        self.proxy = proxy
        self.ports = ports
        self.v1 = v1
        self.v2 = v2

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


async def canary(stage: Stage) -> None:
    target = "/v2/models/iris/infer"
    assert [await stage.who(target, "x-canary: true") for _ in range(20)] == ["iris-v2"] * 20
    assert await stage.who("/other", "x-canary: true") in ("iris-v1", "iris-v2")
    got = [await stage.who(target) for _ in range(200)]
    assert got.count("iris-v1") > got.count("iris-v2") > 0


async def dns_and_service(stage: Stage) -> None:
    assert await stage.who("/") == "iris-v1"
    assert await stage.who("/service/a") == "503"  # no such name here


async def gateway(stage: Stage) -> None:
    models, team = stage.ports[8088], stage.ports[8089]
    assert await stage.who("/", port=models) == "iris-v1"
    assert await stage.who("/", port=models, host="canary.models.example") == "iris-v2"
    assert await stage.who("/", port=team) == "iris-v2"
    with pytest.raises(ConnectionRefusedError):
        await stage.get("/")  # with a Gateway there is no listener but its own


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


async def hostnames(stage: Stage) -> None:
    assert await stage.who("/", host="staging.models.example") == "iris-v2"
    assert await stage.who("/", host="A.b.Models.example:80") == "iris-v1"
    assert await stage.who("/", host="models.example") == "404"


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


async def rewrite(stage: Stage) -> None:
    assert await stage.who("/v2/models/flowers/infer?a=b") == "iris-v1"
    assert (stage.v1.seen[0].target, stage.v1.seen[0].all("host")) == ("/v2/models/iris/infer?a=b", ["iris.internal"])


async def several_routes(stage: Stage) -> None:
    assert await stage.who("/v2/models/iris/versions/2/infer") == "iris-v2"
    assert await stage.who("/v2/models/iris/versions/20") == "iris-v1"


async def timeouts(stage: Stage) -> None:
    assert await stage.who("/") == "iris-v1"
    stage.v1.delay_s = 1.7
    answer = await stage.get("/")
    assert (answer.status, json.loads(answer.body)["error"]["flag"]) == (504, "UT")
    stage.v1.delay_s = 2.1
    assert await stage.who("/v2/models/iris/generate_stream") == "iris-v1"


SHOWS = {
    "canary": canary, "dns-and-service": dns_and_service, "gateway": gateway, "header-match": header_match,
    "headers-edit": headers_edit, "hostnames": hostnames, "path-and-method": path_and_method, "query": query,
    "redirect": redirect, "reference-grant": reference_grant, "regex": regex, "rewrite": rewrite,
    "several-routes": several_routes, "timeouts": timeouts,
}  # fmt: skip


@pytest.fixture
async def upstreams() -> AsyncIterator[tuple[Echo, Echo]]:
    async with Echo("iris-v1") as v1, Echo("iris-v2") as v2:
        yield v1, v2


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
async def test_an_example_does_what_it_says(
    name: str, upstreams: tuple[Echo, Echo], start_proxy: Callable[..., Proxy]
) -> None:
    v1, v2 = upstreams
    ports = {8081: v1.port, 8082: v2.port, 8088: free_port(), 8089: free_port()}
    text = (EXAMPLES / f"{name}.yaml").read_text()
    text = re.sub(r"(port: )(80\d\d)\b", lambda found: found[1] + str(ports[int(found[2])]), text)
    proxy = start_proxy(text)
    await SHOWS[name](Stage(proxy, ports, v1, v2))
