"""gRPC's own xDS client (`xds:///…`) against `turnout control`: it takes the rules of a hostname, without a proxy."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from math import sqrt
from pathlib import Path

import pytest
from actors.control_plane import ControlPlane
from actors.grpc_servers import GrpcXdsClient, grpc_client, grpc_xds_client, named_server
from actors.proxy import until
from actors.tls_rules import policy

HOST = "iris.test"


def predictor(name: str, *ports: int) -> str:
    endpoints = ", ".join(f"{{address: 127.0.0.1, port: {port}}}" for port in ports)
    return f"""
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec: {{endpoints: [{endpoints}]}}
---
"""


def route(*rules: str) -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: iris}}
spec:
  hostnames: [{HOST}]
  rules: [{", ".join(rules)}]
"""


def to(name: str) -> str:
    return f"{{backendRefs: [{{name: {name}}}]}}"


def split(**weights: int) -> str:
    return f"{{backendRefs: [{', '.join(f'{{name: {name}, weight: {weight}}}' for name, weight in weights.items())}]}}"


def within_4_sigma(count: int, calls: int, share: float) -> bool:
    return abs(count - calls * share) <= 4 * sqrt(calls * share * (1 - share))


class Stage:
    """A control plane, gRPC servers by name, and a client."""

    def __init__(self, control: ControlPlane, ports: dict[str, int], client: GrpcXdsClient) -> None:
        self.control = control
        self.ports = ports
        self.client = client
        self._takes = 0

    def write(self, *documents: str) -> None:
        self.control.write("".join(documents))

    async def answered_by(self, *names: str, **metadata: str) -> None:
        """Wait until these answer, and nobody else."""

        async def holds() -> bool:
            return set(await self.client.ask(20, **metadata)) == set(names)

        await until(holds)

    async def take(self, *documents: str, rules: Sequence[str]) -> None:
        """Write these with a route of these rules, and wait until the client has taken it."""
        self._takes += 1
        path = f"/taken.{self._takes}/Call"
        mark = f"{{matches: [{{path: {{type: Exact, value: {path}}}}}], backendRefs: [{{name: mark}}]}}"
        both = [predictor(name, self.ports[server]) for name, server in (("v1", "a"), ("v2", "b"), ("mark", "mark"))]
        self.write(*both, *documents, route(mark, *rules))

        async def holds() -> bool:
            return await self.client.ask(1, path) == {"mark": 1}

        await until(holds)

    async def status(self) -> dict[str, str]:
        """The state of each type, by its short name."""
        (proxy,) = (await self.control.status())["proxies"]
        assert proxy["node"] == "grpc-1", proxy
        return {each["type"]: each["status"] for each in proxy["types"]}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        ports = {name: await stack.enter_async_context(named_server(name)) for name in ("a", "b", "c", "mark")}
        control = ControlPlane(tmp_path / "control")
        stack.callback(control.close)
        control.write(predictor("v1", ports["a"]) + predictor("v2", ports["b"]) + route(to("v1")))
        control.start()
        await control.ready()
        client = await stack.enter_async_context(grpc_xds_client(tmp_path, control.xds, HOST))
        yield Stage(control, ports, client)


async def test_a_channel_finds_the_predictor_and_follows_its_endpoints(stage: Stage) -> None:
    assert await stage.client.ask(10) == {"a": 10}
    stage.write(predictor("v1", stage.ports["b"], stage.ports["c"]), route(to("v1")))
    await stage.answered_by("b", "c")
    both = await stage.client.ask(100)
    assert 40 <= both["b"] <= 60
    stage.write(predictor("v1", stage.ports["c"]), route(to("v1")))
    await stage.answered_by("c")
    assert set((await stage.status()).values()) == {"SYNCED"}


async def test_a_channel_follows_the_weights(stage: Stage) -> None:
    for v1, v2 in ((90, 10), (30, 70)):
        await stage.take(rules=[split(v1=v1, v2=v2)])
        answers = await stage.client.ask(1000)
        assert set(answers) == {"a", "b"}
        assert within_4_sigma(answers["b"], 1000, v2 / 100)
    await stage.take(rules=[split(v1=0, v2=1)])
    assert await stage.client.ask(100) == {"b": 100}


async def test_methods_and_metadata_choose_the_predictor(stage: Stage) -> None:
    await stage.take(
        predictor("v3", stage.ports["c"]),
        rules=[
            "{matches: [{headers: [{name: x-canary, value: 'true'}]}], backendRefs: [{name: v2}]}",
            "{matches: [{path: {type: PathPrefix, value: /iris.Iris}}], backendRefs: [{name: v1}]}",
            "{matches: [{path: {type: Exact, value: /wine.Wine/Infer}}], backendRefs: [{name: v3}]}",
        ],
    )
    assert await stage.client.ask(3) == {"a": 3}
    assert await stage.client.ask(3, "/oak.Oak/Age", **{"x-canary": "true"}) == {"b": 3}
    assert await stage.client.ask(3, "/wine.Wine/Infer") == {"c": 3}
    assert await stage.client.ask(3, "/wine.Wine/Other") == {"UNAVAILABLE": 3}
    assert await stage.client.ask(3, "/iris.IrisToo/Infer") == {"UNAVAILABLE": 3}


async def test_a_grpcroute_is_found_by_its_hostname(stage: Stage) -> None:
    """By service, method, and what is no service of it; its backends are the channel's."""
    calls = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: iris}}
spec:
  hostnames: [{HOST}]
  rules:
  - {{matches: [{{method: {{service: iris.Iris, method: Infer}}}}], {to("v1")[1:-1]}}}
  - {{matches: [{{method: {{service: oak.Oak}}, headers: [{{name: x-canary, value: "true"}}]}}], {to("v2")[1:-1]}}}
  - {{matches: [{{method: {{type: RegularExpression, method: "Get.*"}}}}], {to("v2")[1:-1]}}}
"""
    both = [
        predictor(n, stage.ports[server]).replace("endpoints:", "protocol: h2c, endpoints:")
        for n, server in (("v1", "a"), ("v2", "b"))
    ]
    stage.write(*both, calls)

    async def is_taken() -> bool:
        return await stage.client.ask(1, "/any.Service/GetOne") == {"b": 1}

    await until(is_taken)
    assert await stage.client.ask(3) == {"a": 3}
    assert await stage.client.ask(3, "/oak.Oak/Age", **{"x-canary": "true"}) == {"b": 3}
    assert await stage.client.ask(3, "/oak.Oak/Age") == {"UNAVAILABLE": 3}
    assert set((await stage.status()).values()) == {"SYNCED"}


async def test_a_channel_outlives_its_control_plane_and_follows_the_next_one(stage: Stage) -> None:
    assert await stage.client.ask(10) == {"a": 10}
    stage.control.kill()
    assert await stage.client.ask(10) == {"a": 10}
    stage.write(predictor("v2", stage.ports["b"]), route(to("v2")))
    stage.control.start()
    await stage.control.ready()
    await stage.answered_by("b")


async def test_each_document_says_which_channels_it_is_for(stage: Stage, tmp_path: Path) -> None:
    """The labels are the metadata of the bootstrap file."""
    assert await stage.client.ask(3) == {"a": 3}
    canary = route(to("v2")).replace("name: iris}", "name: canary, annotations: {turnout.dev/proxies: tier=canary}}")
    main = route(to("v1")).replace("name: iris}", "name: iris, annotations: {turnout.dev/proxies: tier!=canary}}")
    stage.write(predictor("v1", stage.ports["a"]), predictor("v2", stage.ports["b"]), main, "---", canary)
    async with grpc_xds_client(tmp_path, stage.control.xds, HOST, "grpc-2", tier="canary") as other:

        async def has_moved() -> bool:
            return await other.ask(3) == {"b": 3}

        await until(has_moved)
        assert await stage.client.ask(3) == {"a": 3}


async def test_a_name_with_the_port_is_found(stage: Stage, tmp_path: Path) -> None:
    async with grpc_xds_client(tmp_path, stage.control.xds, f"{HOST}:8080", "with-port") as client:
        assert await client.ask(3) == {"a": 3}


async def test_a_hostname_that_is_taken_away_fails_and_comes_back(stage: Stage) -> None:
    assert await stage.client.ask(3) == {"a": 3}
    stage.write(predictor("v1", stage.ports["a"]), route(to("v1")).replace(HOST, "other.test"))
    await stage.answered_by("UNAVAILABLE")
    stage.write(predictor("v2", stage.ports["b"]), route(to("v2")))
    await stage.answered_by("b")


async def test_what_grpc_has_no_words_for_costs_its_own_rule_alone(stage: Stage) -> None:
    """A redirect fails the calls that it takes, a rewrite does nothing; the configuration is taken."""
    await stage.take(
        rules=[
            "{matches: [{path: {value: /gone}}], filters: [{type: RequestRedirect, "
            "requestRedirect: {hostname: b.test}}]}",
            "{matches: [{path: {value: /lost}}], backendRefs: [{name: nobody}]}",
            "{matches: [{path: {value: /new}}], filters: [{type: URLRewrite, urlRewrite: {hostname: c.test}}], "
            "backendRefs: [{name: v1}]}",
            to("v1"),
        ]
    )
    assert await stage.client.ask(3, "/gone/Infer") == {"UNAVAILABLE": 3}
    assert await stage.client.ask(3, "/lost/Infer") == {"UNAVAILABLE": 3}
    assert await stage.client.ask(3, "/new/Infer") == {"a": 3}
    assert await stage.client.ask(3) == {"a": 3}
    assert "ERROR" not in (await stage.status()).values()


async def test_the_example_of_the_page_works(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/control-plane.md").read_text()
    section = page.split("## Without a proxy")[1].split("\n## ")[0]
    rules, bootstrap = (found[1] for found in re.finditer(r"```(?:yaml|json)\n(.*?)```", section, re.DOTALL))
    control = ControlPlane(tmp_path / "control")
    try:
        async with named_server("iris") as port:
            control.write(rules.replace("8085", str(port)))
            control.start()
            await control.ready()
            path = tmp_path / "bootstrap.json"
            path.write_text(bootstrap.replace("127.0.0.1:18000", control.xds))
            async with grpc_client("xds:///iris.models.example", path) as client:
                assert await client.ask(3, "/inference.GRPCInferenceService/ModelInfer") == {"iris": 3}
                assert await client.ask(3, "/other.Service/ModelInfer") == {"UNAVAILABLE": 3}
    finally:
        control.close()


async def test_a_channel_does_not_get_to_what_only_known_identities_may_ask(stage: Stage) -> None:
    """It goes to the endpoints by itself, so nobody would look at who it is."""
    only = f"---\n{policy('only', 'spiffe://td.test/apps/*')}---"
    ref = "{group: turnout.dev, kind: RoutePolicy, name: only}"
    guarded = f"{{filters: [{{type: ExtensionRef, extensionRef: {ref}}}], backendRefs: [{{name: v1}}]}}"
    await stage.take(only, rules=[guarded])
    assert await stage.client.ask(5) == {"UNAVAILABLE": 5}
    await stage.take(rules=[to("v1")])
    assert await stage.client.ask(5) == {"a": 5}
