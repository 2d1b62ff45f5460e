"""Rules by model, through a real proxy: which model answers, and what the model server is told."""

from collections import Counter
from collections.abc import Callable

from actors.documents import predictor, route
from actors.echo import Echo
from actors.proxy import Proxy
from actors.wire import Message, Wire, connect

StartProxy = Callable[..., Proxy]

RULES = """
  rules:
  - name: bert-1
    matches: [{headers: [{name: x-gateway-model-name, value: bert}, {name: x-gateway-model-version, value: "1"}]}]
    backendRefs: [{name: old}]
  - name: bert
    matches: [{headers: [{name: X-Gateway-Model-Name, value: bert}]}]
    backendRefs: [{name: new}]
  - name: llama
    matches: [{headers: [{name: x-gateway-model-name, value: meta-llama/Llama-3}]}]
    backendRefs: [{name: new}]
  - name: rest
    backendRefs: [{name: rest}]
"""
BY_VERSION = """
apiVersion: turnout.dev/v1alpha1
kind: RoutePolicy
metadata: {name: by-version}
spec: {splitBy: {header: x-gateway-model-version}}
"""


async def ask(wire: Wire, target: str, *fields: str) -> Message:
    lines = [f"POST {target} HTTP/1.1", "Host: a", "Content-Length: 2", *fields, "", "{}"]
    await wire.send("\r\n".join(lines).encode())
    return await wire.read_response()


async def test_the_model_of_a_path_chooses_the_rule_and_is_told_upstream(start_proxy: StartProxy) -> None:
    async with Echo("old") as old, Echo("new") as new, Echo("rest") as rest:
        servers = "".join(predictor(echo.name, echo.port) for echo in (old, new, rest))
        wire = await connect(start_proxy(servers + route(RULES)).port)
        for target, expected in (
            ("/v2/models/bert/infer", b"new"),
            ("/v2/models/bert/versions/1/infer", b"old"),
            ("/v2/models/bert/versions/2/generate_stream", b"new"),
            ("/v1/models/bert:predict", b"new"),
            ("/v2/models/b%65rt/infer?x=1", b"new"),
            ("/v2/models/meta-llama%2FLlama-3/infer", b"new"),
            ("/v2/models/other/infer", b"rest"),
            ("/prefix/v2/models/bert/infer", b"rest"),
            ("/v1/chat/completions", b"rest"),
        ):
            assert ((await ask(wire, target)).body, target) == (expected, target)
        told = [(seen.get("x-gateway-model-name"), seen.get("x-gateway-model-version")) for seen in new.seen]
        assert told == [("bert", None), ("bert", "2"), ("bert", None), ("bert", None), ("meta-llama/Llama-3", None)]
        assert [(seen.get("x-gateway-model-name")) for seen in rest.seen] == ["other", None, None]
        wire.close()


async def test_a_clients_own_word_for_the_model_does_not_count(start_proxy: StartProxy) -> None:
    async with Echo("old") as old, Echo("new") as new, Echo("rest") as rest:
        servers = "".join(predictor(echo.name, echo.port) for echo in (old, new, rest))
        wire = await connect(start_proxy(servers + route(RULES)).port)
        lie = "X-Gateway-Model-Name: bert"
        assert (await ask(wire, "/v2/models/other/infer", lie)).body == b"rest"
        assert (await ask(wire, "/v1/chat/completions", lie)).body == b"rest"
        assert rest.seen[0].all("x-gateway-model-name") == ["other"]
        assert rest.seen[1].all("x-gateway-model-name") == []
        wire.close()


async def test_versions_of_a_model_keep_their_backend_in_a_split(start_proxy: StartProxy) -> None:
    async with Echo("a") as a, Echo("b") as b:
        servers = predictor("a", a.port) + predictor("b", b.port) + BY_VERSION + "---"
        policy = "[{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: by-version}}]"
        rule = f"{{filters: {policy}, backendRefs: [{{name: a}}, {{name: b}}]}}"
        wire = await connect(start_proxy(servers + route(f"{{rules: [{rule}]}}")).port)
        answers: dict[int, Counter[bytes]] = {}
        for version in range(12):
            target = f"/v2/models/bert/versions/{version}/infer"
            answers[version] = Counter([(await ask(wire, target)).body for _ in range(5)])
        assert all(len(answer) == 1 for answer in answers.values()), "one version, one backend"
        assert {body for answer in answers.values() for body in answer} == {b"a", b"b"}
        wire.close()


async def test_a_predictor_that_hashes_on_the_model_keeps_models_apart(start_proxy: StartProxy) -> None:
    async with Echo("a") as a, Echo("b") as b:
        endpoints = ", ".join(f"{{address: 127.0.0.1, port: {echo.port}}}" for echo in (a, b))
        server = f"""
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: models}}
spec: {{endpoints: [{endpoints}], loadBalancing: {{policy: Maglev, hashOn: {{model: true}}}}}}
---
"""
        wire = await connect(start_proxy(server + route("{rules: [{backendRefs: [{name: models}]}]}")).port)
        found = {}
        for model in range(12):
            targets = (f"/v2/models/m{model}/infer", f"/v1/models/m{model}:predict", f"/v2/models/m{model}/versions/2")
            found[model] = {(await ask(wire, target)).body for target in targets}
        assert all(len(answers) == 1 for answers in found.values()), "one model, one endpoint"
        assert set.union(*found.values()) == {b"a", b"b"}
        wire.close()
