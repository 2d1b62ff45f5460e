"""Spans at a collector, of real proxies: a connected trace, what is recorded late, and a collector that is no good."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic

import aiohttp
import grpc
import grpc.aio
import pytest
from actors.collector import Collector, Seen
from actors.echo import Echo
from actors.grpc_calls import Calls, models, policy, predictor, route, to, use
from actors.proxy import Proxy, free_port, until
from actors.wire import Message, connect
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

T, P = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
INFER = "/v2/models/iris/infer"
TRACED_MODEL = Path(__file__).parent / "actors" / "traced_model.py"
ROTEL = Path(sysconfig.get_path("purelib"), "rotel", "rotel-agent")

Start = Callable[..., Proxy]


def rules(*ports: int, rule: str = "", spec: str = "") -> str:
    endpoints = ", ".join(f"{{address: 127.0.0.1, port: {port}}}" for port in ports)
    return f"""
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: model}}
spec:
  endpoints: [{endpoints}]
  {spec}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route}}
spec:
  hostnames: [model.test]
  rules:
  - name: all
    backendRefs: [{{name: model}}]
    {rule}
"""


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


async def ask(proxy: Proxy, *fields: str, target: str = INFER) -> Message:
    """One POST, on a connection of its own."""
    wire = await connect(proxy.port)
    lines = [f"POST {target} HTTP/1.1", "Host: model.test", "Content-Length: 2", *fields, "", "{}"]
    await wire.send("\r\n".join(lines).encode())
    try:
        return await wire.read_response("POST")
    finally:
        wire.close()


def parent(sampled: bool) -> str:
    return f"traceparent: 00-{T}-{P}-0{int(sampled)}"


@contextmanager
def traced_models(collector: Collector, **refusals: int) -> Iterator[dict[str, int]]:
    """Model servers that trace themselves, each in a process of its own; their ports."""
    with ExitStack() as stack:
        ports = {}
        for name, count in refusals.items():
            process = subprocess.Popen(
                [sys.executable, str(TRACED_MODEL), name, str(count)], stdout=subprocess.PIPE, text=True,
                env={"PATH": "/usr/bin:/bin", **collector.environ},
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            stack.enter_context(process.stdout)
            ports[name] = process
        yield {name: int(process.stdout.readline()) for name, process in ports.items() if process.stdout is not None}


@asynccontextmanager
async def traced_client(collector: Collector) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that traces itself; its spans are exported at the end."""
    provider = TracerProvider(resource=Resource.create({"service.name": "client"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{collector.endpoint}/v1/traces")))
    async with aiohttp.ClientSession(trace_configs=[create_trace_config(tracer_provider=provider)]) as session:
        yield session
    await asyncio.to_thread(provider.shutdown)


# One trace


async def test_one_trace_leads_from_a_client_through_retries_to_each_model(
    start_proxy: Start, collector: Collector
) -> None:
    with traced_models(collector, first=1, second=1) as ports:
        retry = "retry: {attempts: 3, codes: [503], backoff: 1ms}"
        proxy = start_proxy(rules(*ports.values(), rule=retry), environ=collector.environ)
        async with traced_client(collector) as client:
            url = f"http://127.0.0.1:{proxy.port}{INFER}"
            async with client.post(url, data=b"{}", headers={"Host": "model.test", "baggage": "user=7"}) as answer:
                assert (answer.status, await answer.text() in ports) == (200, True)
        (asked,) = await collector.take(1, service="client")
        (server,) = await collector.take(1, service="turnout", kind="server")
        attempts = await collector.take(3, service="turnout", kind="client")
        served = [span for name in ports for span in await collector.take_some(name)]
    everybody = [asked, server, *attempts, *served]
    assert {span.trace for span in everybody} == {asked.trace}
    assert len({span.id for span in everybody}) == len(everybody) == 8
    assert (asked.parent, server.parent) == ("", asked.id)
    assert {attempt.parent for attempt in attempts} == {server.id}
    assert sorted(span.parent for span in served) == sorted(attempt.id for attempt in attempts), "each to its own"
    assert [attempt.attributes["http.response.status_code"] for attempt in attempts] == [503, 503, 200]
    reasons = [attempt.attributes.get("turnout.retry_reason") for attempt in attempts]
    assert reasons == [None, "answered 503", "answered 503"]
    assert [attempt.attributes.get("http.request.resend_count") for attempt in attempts] == [None, 1, 2]
    assert [attempt.error is None for attempt in attempts] == [False, False, True]
    assert (server.name, server.error, server.attributes["turnout.attempts"]) == ("POST default/route/all", None, 3)
    assert server.attributes["turnout.model.name"] == "iris"
    assert all(server.start <= attempt.start <= attempt.end <= server.end for attempt in attempts)
    line = (await proxy.access(1))[0]
    assert (line["trace_id"], line["request_id"]) == (asked.trace, server.attributes["turnout.request_id"])


async def test_a_shadow_is_a_branch_of_the_same_trace(start_proxy: Start, collector: Collector) -> None:
    with traced_models(collector, live=1, shadow=0) as ports:
        retry = "retry: {attempts: 1, codes: [503], backoff: 1ms}"
        mirror = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: shadow}}}]"
        shadow = rules(ports["shadow"]).split("---")[0].replace("name: model", "name: shadow") + "---"
        text = shadow + rules(ports["live"], rule=f"{retry}\n    {mirror}")
        proxy = start_proxy(text, environ=collector.environ)
        async with traced_client(collector) as client:
            url = f"http://127.0.0.1:{proxy.port}{INFER}"
            async with client.post(url, data=b"{}", headers={"Host": "model.test"}) as answer:
                assert (answer.status, await answer.text()) == (200, "live")
        (asked,) = await collector.take(1, service="client")
        (server,) = await collector.take(1, service="turnout", kind="server")
        spans = await collector.take(3, service="turnout", kind="client")
        (copied,) = await collector.take(1, service="shadow")
        served = await collector.take(2, service="live")
    (branch,) = [span for span in spans if span.attributes.get("turnout.shadow")]
    attempts = [span for span in spans if span is not branch]
    assert {span.trace for span in (asked, server, *spans, copied, *served)} == {asked.trace}
    assert {span.parent for span in spans} == {server.id}
    assert copied.parent == branch.id, "the shadow's own spans hang below the copy's"
    assert sorted(span.parent for span in served) == sorted(span.id for span in attempts)
    assert (branch.attributes["turnout.predictor"], branch.error) == ("default/shadow", None)
    assert branch.attributes["http.response.status_code"] == 200
    assert list(branch.events) == ["connected", "first_byte"]
    assert server.attributes["turnout.attempts"] == 2


async def test_a_call_is_traced_from_end_to_end(start_proxy: Start, collector: Collector) -> None:
    with models("a") as servers:
        text = predictor("a", servers["a"].port) + to("a")
        calls = Calls(start_proxy(text, environ=collector.environ), servers)
        async with calls.channel("a") as channel:
            told = json.loads(
                await channel.unary_unary("/test.Calls/Tell")(b"", metadata=[("traceparent", f"00-{T}-{P}-01")])
            )
    server, attempt = await collector.take(2, trace=T)
    told = dict(told)
    assert told["traceparent"] == f"00-{T}-{attempt.id}-01"
    assert (server.name, attempt.name) == ("test.Calls/Tell", "test.Calls/Tell")
    assert (server.parent, attempt.parent) == (P, server.id)
    for span in (server, attempt):
        assert span.attributes["rpc.method"] == "test.Calls/Tell"
        assert span.attributes["rpc.response.status_code"] == "OK"
    assert server.attributes["network.protocol.version"] == "2"


async def test_calls_that_are_tried_again_and_fail(start_proxy: Start, collector: Collector) -> None:
    with models("a", "b") as servers:
        text = predictor("m", *(server.port for server in servers.values())) + policy(
            "again", "grpcRetry: {attempts: 2, codes: [UNAVAILABLE], backoff: 1ms}, idempotent: true"
        ) + route("m", f"[{{{use('again')}, backendRefs: [{{name: m}}]}}]")  # fmt: skip
        calls = Calls(start_proxy(text, environ=collector.environ), servers)
        async with calls.channel("m") as channel:
            metadata = [("traceparent", f"00-{T}-{P}-00"), ("code", "UNAVAILABLE"), ("details", "no")]
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/test.Calls/Fail")(b"", metadata=metadata)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    server, *attempts = await collector.take(4, trace=T)
    assert (server.kind, server.error is None, server.attributes["error.type"]) == ("server", False, "UNAVAILABLE")
    assert [attempt.attributes.get("turnout.reason") for attempt in attempts] == ["answered UNAVAILABLE"] * 2 + [None]
    assert all(span.attributes["turnout.sampled_late"] for span in (server, *attempts))


# What is recorded


async def test_what_is_not_sampled_is_not_recorded_unless_it_fails_or_is_slow(
    start_proxy: Start, collector: Collector
) -> None:
    async with Echo() as model:
        sampler = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
        proxy = start_proxy(rules(model.port), "--trace-slow", "300ms", environ={**collector.environ, **sampler})
        for _ in range(20):
            assert (await ask(proxy)).status == 200
            assert (await ask(proxy, parent(False))).status == 200
        model.delay_s = 0.35
        await ask(proxy, "x-request-id: slow")
        model.delay_s, model.status = 0.0, 500
        await ask(proxy, "x-request-id: broken", parent(False))

    async def find(request: str) -> Seen:
        spans: list[Seen] = await until(
            lambda: [span for span in collector.spans if span.attributes.get("turnout.request_id") == request]
        )
        return spans[0]

    slow, broken = [await find(name) for name in ("slow", "broken")]
    assert (slow.error, slow.parent) == (None, "")
    assert (broken.trace, broken.parent, broken.error, broken.attributes["error.type"]) == (T, P, "", "500")
    attempts = [span for span in collector.spans if span.parent in (slow.id, broken.id)]
    assert len(attempts) == 2
    assert all(span.attributes["turnout.sampled_late"] for span in (slow, broken, *attempts))
    others = [span for span in collector.spans if span.kind == "server" and span not in (slow, broken)]
    assert all(span.end - span.start >= 300e6 for span in others), "unless the machine was that slow"
    # What went to the model said that it is not sampled, and of whom it is.
    sent = {message.get("x-request-id"): message.get("traceparent") for message in model.seen}
    assert sent["slow"] == f"00-{slow.trace}-{slow.id}-00"
    assert sent["broken"] == f"00-{T}-{P}-00"
    others = {message.get("traceparent") for message in model.seen}
    assert len(others) == 22, "each of the others has a trace of its own"


async def test_answers_of_our_own_name_the_trace(start_proxy: Start, collector: Collector) -> None:
    dead = rules(free_port()) + "---\n" + predictor("dead", free_port()) + to("dead")
    proxy = start_proxy(dead, environ=collector.environ)
    answer = json.loads((await ask(proxy, parent(True))).body)["error"]
    assert (answer["flag"], answer["trace_id"]) == ("UF", T)
    begun = json.loads((await ask(proxy)).body)["error"]
    assert len(begun["trace_id"]) == 32
    async with Calls(proxy, {}).channel("dead") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/test.Calls/Echo")(b"", metadata=[("traceparent", f"00-{T}-{P}-01")])
    assert f"trace {T}" in failed.value.details()
    wire = await connect(proxy.port)
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    malformed = json.loads((await wire.read_response("GET")).body)["error"]
    wire.close()
    servers = await collector.take(4, kind="server")
    by_request = {span.attributes["turnout.request_id"]: span for span in servers}
    for told in (answer, begun, malformed):
        assert by_request[told["request_id"]].trace == told["trace_id"]
    refused = by_request[malformed["request_id"]]
    assert (refused.error, refused.attributes["turnout.flag"]) == (None, "DPE"), "the client's fault, not ours"
    assert by_request[answer["request_id"]].attributes["error.type"] == "UF"


async def test_without_a_collector_the_trace_of_the_client_is_named_and_no_other(start_proxy: Start) -> None:
    proxy = start_proxy(rules(free_port()) + "---\n" + predictor("dead", free_port()) + to("dead"))
    named = json.loads((await ask(proxy, "x-request-id: named", parent(False))).body)["error"]
    malformed = json.loads((await ask(proxy, "x-request-id: malformed", f"traceparent: 00-{T}")).body)["error"]
    alone = json.loads((await ask(proxy, "x-request-id: alone")).body)["error"]
    assert [answer["trace_id"] for answer in (named, malformed, alone)] == [T, "", ""]
    async with Calls(proxy, {}).channel("dead") as channel:
        for metadata, told in (([("traceparent", f"00-{T}-{P}-01")], f", trace {T})"), ([], ")")):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/test.Calls/Echo")(b"", metadata=metadata)
            details = failed.value.details() or ""
            assert details.endswith(told)
            assert ("trace" in details) == bool(metadata)
    lines = {line["request_id"]: line["trace_id"] for line in await proxy.access(5)}
    assert [lines[name] for name in ("named", "malformed", "alone")] == [T, "", ""]
    assert sorted(lines.values()) == ["", "", "", T, T]


async def test_a_wait_for_a_limit_and_for_a_connection_is_told(start_proxy: Start, collector: Collector) -> None:
    async with Echo() as model:
        limit = "circuitBreaker: {maxRequests: 1, overflow: Queue, maxPendingRequests: 5}"
        proxy = start_proxy(rules(model.port, spec=limit), environ=collector.environ)
        model.hold()
        first = asyncio.create_task(ask(proxy))
        await until(lambda: model.seen)
        second = asyncio.create_task(ask(proxy, parent(True)))

        async def is_waiting() -> bool:
            return (
                'turnout_predictor_pending_requests{predictor="default/model"} 1.0'
                in (await proxy.admin("/metrics"))[1]
            )

        await until(is_waiting)
        model.release()
        await first
        await second
    server, attempt = await collector.take(2, trace=T)
    assert list(server.events) == ["queued", "dequeued", "first_byte"]
    assert server.events["queued"] <= server.events["dequeued"] <= attempt.start
    begun = next(span for span in collector.spans if span.kind == "client" and span.trace != T)
    assert list(begun.events) == ["connected", "first_byte"]


# Collectors


async def test_the_end_of_a_proxy_loses_no_span(start_proxy: Start, collector: Collector) -> None:
    async with Echo() as model:
        later = {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100"}
        proxy = start_proxy(rules(model.port), environ={**collector.environ, **later}, workers=2)
        for _ in range(100):
            await ask(proxy)
        await until(lambda: collector.spans)  # the first ones have gone, and so the exporter is up
        for _ in range(50):
            await ask(proxy)
        assert len(collector.spans) < 300
        proxy.signal(signal.SIGTERM)
        assert await proxy.wait() == 0
    await collector.take(300, within_s=1)


async def count_spans(proxy: Proxy) -> dict[str, int]:
    """What became of the spans that are settled: `exported`, or why not."""
    lines = (await proxy.admin("/metrics"))[1].splitlines()
    dropped = [line for line in lines if line.startswith("turnout_spans_dropped_total{")]
    found = {line.split('"')[1]: int(float(line.split()[-1])) for line in dropped}
    (exported,) = [line for line in lines if line.startswith("turnout_spans_exported_total ")]
    return {**found, "exported": int(float(exported.split()[-1]))}


async def test_spans_of_a_worker_that_is_killed_are_counted(start_proxy: Start, collector: Collector) -> None:
    asked = 0
    async with Echo() as model:
        proxy = start_proxy(rules(model.port), environ=collector.environ)
        while (await count_spans(proxy))["worker_died"] == 0:  # it tells of spans once a second, perhaps just before
            for _ in range(10):
                assert (await ask(proxy)).status == 200
            asked += 10
            (worker,) = await proxy.workers()
            os.kill(worker, signal.SIGKILL)

            async def is_replaced(killed: int = worker) -> bool:
                workers = (await proxy.stats())["supervisor"]["workers"]
                return [w["pid"] != killed and w["state"] == "serving" for w in workers] == [True]

            await until(is_replaced)
    counts = await count_spans(proxy)
    rounds = asked // 10
    # The last answer of a round may be there before its exchange is over.
    assert 2 * (asked - rounds) <= counts["exported"] + counts["worker_died"] <= 2 * asked
    assert f"died before it told of {counts['worker_died']} spans" in proxy.events()


async def test_spans_that_a_collector_rejects_are_not_counted_as_exported(
    start_proxy: Start, collector: Collector
) -> None:
    collector.answer = {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too old"}}
    async with Echo() as model:
        proxy = start_proxy(rules(model.port), environ=collector.environ)
        await ask(proxy)
        await collector.take(2)

        async def is_settled() -> bool:
            return sum((await count_spans(proxy)).values()) == 2

        await until(is_settled)
    counts = await count_spans(proxy)
    assert (counts["exported"], counts["rejected"]) == (1, 1)
    assert "the collector rejected 1 spans: 'too old'" in proxy.events()


@pytest.mark.parametrize("fault", ["nobody is there", "it hangs", "it refuses"])
async def test_a_collector_that_is_no_good_costs_no_request(
    start_proxy: Start, collector: Collector, fault: str
) -> None:
    collector.status, collector.frozen = 400 if fault == "it refuses" else 200, fault == "it hangs"
    endpoint = f"http://127.0.0.1:{free_port()}" if fault == "nobody is there" else collector.endpoint
    queue = {"OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    async with Echo() as model:
        environ = {**collector.environ, **queue, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        proxy = start_proxy(rules(model.port), environ=environ)
        for _ in range(100):
            assert (await ask(proxy)).status == 200

        async def is_known() -> bool:
            return (await count_spans(proxy))["export"] > 0

        await until(is_known)
        assert (await count_spans(proxy))["worker"] == 0, "the supervisor takes what comes"
        assert proxy.events().count("spans cannot be exported") == 1
        assert "opentelemetry" not in proxy.events(), "one voice is enough"
        begun = monotonic()
        proxy.signal(signal.SIGTERM)
        assert await proxy.wait() == 0
        assert monotonic() - begun < 15, "the drain takes what it takes, and 2 s more"
        assert len(model.seen) == 100


async def test_another_ones_collector_reads_the_same(start_proxy: Start, tmp_path: Path) -> None:
    """rotel, which is not made of OpenTelemetry's code, prints what it gets."""
    port, log = free_port(), tmp_path / "rotel.log"
    command = [
        str(ROTEL), "start", "--otlp-http-endpoint", f"127.0.0.1:{port}",
        "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}",
        "--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed",
    ]  # fmt: skip
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)
    try:
        async with Echo() as model:
            at = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
            named = {"OTEL_SERVICE_NAME": "router", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
            proxy = start_proxy(rules(model.port), environ={**at, **named})
            await ask(proxy, parent(True), "tracestate: foo=1")
            await until(lambda: "SPAN_KIND_CLIENT" in log.read_text() and "first_byte" in log.read_text())
    finally:
        process.kill()
        await process.wait()
    text = log.read_text()
    for told in (
        "service.name: Str(router)", "deployment.environment.name: Str(test)", "telemetry.sdk.language: Str(python)",
        f"Trace ID       : {T}", f"Parent ID      : {P}", "TraceState     : foo=1",
        "Name           : POST default/route/all", "SPAN_KIND_SERVER", "http.response.status_code: Int(200)",
        "Name: connected",
    ):  # fmt: skip
        assert told in text, text


async def test_a_variable_that_means_nothing_ends_the_start(start_proxy: Start, collector: Collector) -> None:
    with pytest.raises(AssertionError, match="OTEL_TRACES_SAMPLER is 'sometimes', which is none of always_on, "):
        start_proxy(rules(free_port()), environ={**collector.environ, "OTEL_TRACES_SAMPLER": "sometimes"})


# Packages


def run_python(source: str) -> str:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.strip()


def test_envoys_messages_and_opentelemetry_get_along_in_one_process() -> None:
    """xds-protos brings an old copy of `opentelemetry/proto`, which breaks exporters that are made of protobuf."""
    source = """
from envoy.config.route.v3.route_components_pb2 import Route
from turnout.xds.client.source import XdsSource
from turnout.proxy.supervisor.tracing.sender import Sender, describe_resource
route, sender = Route(name="a"), Sender("http://127.0.0.1:9/v1/traces", 0.2)
sent = sender.send([])
print(Route.FromString(route.SerializeToString()).name, describe_resource()["service.name"], sent.taken, bool(sent.why))
"""
    assert run_python(source) == "a turnout False True"


def test_nothing_of_opentelemetry_is_loaded_without_spans() -> None:
    source = """
import sys
import turnout.proxy.supervisor.admin, turnout.proxy.supervisor.metrics, turnout.proxy.supervisor.run
import turnout.proxy.worker.main
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    assert run_python(source) == "[]"
