"""A collector that takes spans as OTLP/JSON over HTTP, reads them strictly, and keeps them."""

import asyncio
import gzip
import json
from types import TracebackType
from typing import Any, NamedTuple

from actors.proxy import until
from aiohttp import web

KINDS = {2: "server", 3: "client"}


class Seen(NamedTuple):
    """One span. Ids are hex digits, `parent` empty for none; times are nanoseconds since the epoch; `error` is None, or
    what the status says."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    start: int
    end: int
    flags: int
    state: str
    attributes: dict[str, Any]
    events: dict[str, int]
    error: str | None
    service: str


class Collector:
    """`async with Collector() as collector`: listens at `collector.endpoint`. `status` and `answer` may be changed at
    any time, and what comes while `frozen` is set is not answered before the end."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.requests: list[web.Request] = []
        self.status = 200
        self.answer: dict[str, Any] = {}
        self.frozen = False
        self.port = 0
        self._thawed = asyncio.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What has a proxy send its spans here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    async def __aenter__(self) -> "Collector":
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thawed.set()
        await self._runner.cleanup()

    async def take(self, count: int, within_s: float = 20, **fields: Any) -> list[Seen]:
        """Wait for that many spans with these values; exactly those, in the order in which they began."""

        def found() -> list[Seen]:
            spans = [span for span in self.spans if all(getattr(span, k) == v for k, v in fields.items())]
            return spans if len(spans) >= count else []

        spans = sorted(await until(found, within_s), key=lambda span: span.start)
        assert len(spans) == count, spans
        return spans

    async def take_some(self, service: str) -> list[Seen]:
        """Wait for a first span of a service; all that there are then."""
        return list(await until(lambda: [span for span in self.spans if span.service == service]))

    async def _take(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        body = await request.read()
        if self.frozen:
            await self._thawed.wait()
        if self.status == 200:
            self.spans += read_spans(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
        return web.json_response(self.answer, status=self.status)


def read_spans(body: bytes) -> list[Seen]:
    """The spans of an ExportTraceServiceRequest."""
    return [
        _read_span(span, _read_attributes(resource["resource"]["attributes"])["service.name"])
        for resource in json.loads(body)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _read_span(span: dict[str, Any], service: str) -> Seen:
    assert len(bytes.fromhex(span["traceId"])) == 16
    assert len(bytes.fromhex(span["spanId"])) == 8
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    assert 0 < start <= end
    events = {event["name"]: int(event["timeUnixNano"]) for event in span.get("events", ())}
    assert all(start <= at <= end for at in events.values()), (start, events, end)
    status = span.get("status", {})
    return Seen(
        span["traceId"], span["spanId"], span.get("parentSpanId", ""), span["name"], KINDS.get(span["kind"], "?"),
        start, end, span.get("flags", 0), span.get("traceState", ""), _read_attributes(span["attributes"]), events,
        status.get("message", "") if status.get("code") == 2 else None, service,
    )  # fmt: skip


def _read_attributes(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    found = {pair["key"]: _read_value(pair["value"]) for pair in attributes}
    assert len(found) == len(attributes), "keys are unique"
    return found


def _read_value(value: dict[str, Any]) -> Any:
    ((kind, told),) = value.items()
    if kind == "arrayValue":
        return [_read_value(item) for item in told["values"]]
    return int(told) if kind == "intValue" else told
