"""gRPC servers are asked whether they are well: by the Open Inference Protocol, by gRPC's service, by a warm call."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from actors import tls_rules
from actors.certificates import Certificates
from actors.grpc_calls import Calls, GrpcModel, models, predictor, proxied, to
from actors.proxy import Proxy, until
from actors.vitals import states

OIP = "/inference.GRPCInferenceService"
WELL = "0801"
INFER = b"\x0a\x04iris\x3a\x03\x00\x01\xff"
FAST = "interval: 50ms, timeout: 1s, healthyThreshold: 1, unhealthyThreshold: 2"


async def names(calls: Calls) -> set[str]:
    """Who answers, and with which status nobody does."""
    found = set()
    async with calls.channel("iris") as channel:
        for _ in range(12):
            try:
                found.add((await channel.unary_unary("/test.Calls/Name")(b"")).decode())
            except grpc.aio.AioRpcError as error:
                found.add(f"{error.code().name} {str(error.details()).partition(',')[0]}")
    return found


async def test_a_server_gets_calls_when_it_and_its_model_are_ready_and_its_warm_call_is_answered(
    tmp_path: Path,
) -> None:
    warm = f"warm: {{grpc: {{service: {OIP[1:]}, method: ModelInfer, message: '{b64encode(INFER).decode()}'}}}}"
    check = f"api: oip-v2\n  loadBalancing: {{policy: RoundRobin}}\n  healthCheck: {{model: iris, {FAST}, {warm}}}"
    with models("a", "b") as servers:
        a, b = servers.values()
        ready = {f"{OIP}/ServerReady": WELL, f"{OIP}/ModelReady": WELL, f"{OIP}/ModelInfer": ""}
        await b.set({**ready, f"{OIP}/ModelReady": ""})
        rules = predictor("iris", a.port, b.port, spec=check) + to("iris")
        with proxied(tmp_path, rules, servers) as calls:
            assert await names(calls) == {"UNAVAILABLE no healthy endpoint (UH"}
            await a.set({**ready, f"{OIP}/ModelInfer": "HANG"})
            await is_in(calls, a, "warming")
            assert await names(calls) == {"UNAVAILABLE no healthy endpoint (UH"}
            await restart(a, ready)
            await is_in(calls, a, "available")
            assert await names(calls) == {"a"}
            await b.set(ready)
            await is_in(calls, b, "available")
            assert await names(calls) == {"a", "b"}
            asked = {told["path"]: told["request"] for told in (await b.seen())["asked"]}
            assert asked == {
                f"{OIP}/ServerReady": "", f"{OIP}/ModelReady": b"\x0a\x04iris".hex(), f"{OIP}/ModelInfer": INFER.hex(),
            }  # fmt: skip
            await a.set({**ready, f"{OIP}/ServerReady": ""})
            await is_in(calls, a, "failed_check")
            assert await names(calls) == {"b"}


async def test_the_health_service_of_grpc_is_asked_for_the_service_that_is_named(tmp_path: Path) -> None:
    health = "/grpc.health.v1.Health/Check"
    with models("a") as servers:
        (a,) = servers.values()
        await a.set({health: WELL})
        check = f"healthCheck: {{grpc: {{serviceName: iris.Service}}, {FAST}}}"
        with proxied(tmp_path, predictor("iris", a.port, spec=check) + to("iris"), servers) as calls:
            await is_in(calls, a, "available")
            assert await names(calls) == {"a"}
            (asked, *_) = (await a.seen())["asked"]
            assert asked["request"] == b"\x0a\x0ciris.Service".hex()
            for answer in ("0802", "UNAVAILABLE"):
                await a.set({health: answer})
                await is_in(calls, a, "failed_check")
                assert await names(calls) == {"UNAVAILABLE no healthy endpoint (UH"}
                await a.set({health: WELL})
                await is_in(calls, a, "available")


async def is_in(calls: Calls, model: GrpcModel, state: str) -> None:
    async def holds() -> bool:
        return (await states(calls.proxy))[model.port].lower() == state

    await until(holds)


async def restart(model: GrpcModel, answers: dict[str, str]) -> None:
    """Nothing hangs in it any more."""
    model.kill()
    model.start()
    await model.set(answers)


async def test_a_grpc_server_behind_tls_is_asked_and_called_over_tls(
    tmp_path: Path, start_proxy: Callable[..., Proxy]
) -> None:
    certificates = Certificates(tmp_path / "ca")
    certificate, key = certificates.issue("model", dns="iris.test")
    asked = []

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            async def answer(request: bytes, context: Any) -> bytes:
                asked.append(details.method)
                return b"\x08\x01"

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    pairs = [(key.read_bytes(), certificate.read_bytes())]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pairs))
    await server.start()
    tls = "{serverName: iris.test, caCertificate: {name: mesh}}"
    more = f"protocol: h2, healthCheck: {{grpc: {{}}, {FAST}}}, tls: {tls}"
    meta = "---\napiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {name: iris}\n"
    spec = f"spec: {{endpoints: [{{address: 127.0.0.1, port: {port}}}], {more}}}\n---\n"
    rules = tls_rules.certificate("mesh", certificates.folder, "model") + meta + spec + to("iris")
    proxy = await asyncio.to_thread(start_proxy, rules)  # this loop answers the checks meanwhile
    try:
        async with Calls(proxy, {}).channel("iris") as channel:
            assert await channel.unary_unary("/iris.Service/Infer")(b"") == b"\x08\x01"
        assert asked[0] == "/grpc.health.v1.Health/Check"
        assert asked.count("/iris.Service/Infer") == 1
    finally:
        await server.stop(None)
