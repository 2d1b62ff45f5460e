"""What is used of OpenTelemetry's Python packages: the resource that the environment describes, and the client of its
OTLP exporter, which knows endpoints, headers, certificates, compression, time limits and when to try again.

The exporter is young, so it is pinned, and this is the only module that knows OpenTelemetry. It is imported in the
exporter's thread: it takes a while, and most proxies need none of it.
"""

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry.exporter.http.transport._base import BaseHTTPResult, BaseHTTPTransport
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

from turnout.proxy.supervisor.tracing.answer import Answer, read_answer
from turnout.proxy.supervisor.tracing.otlp import Envelope

SERVICE = "turnout"
"""The name of the service where the environment gives none."""


class Sender:
    """Sends spans to the collector at `endpoint`, one batch after the other, each within `timeout_s` or what the
    environment says, whichever is less."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        exporter = OTLPSpanExporter(endpoint)
        self._exporter = exporter
        self._client = exporter._client
        self._client._timeout = min(self._client._timeout, timeout_s)
        self._transport = self._client._transport = _Remembering(self._client._transport)
        self._envelope = Envelope(describe_resource(), SERVICE, version("turnout"))
        # It would speak for each batch; `Exporter` says once that it fails, and once that it does no longer.
        logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.CRITICAL)

    def send(self, spans: Sequence[bytes]) -> Answer:
        """How the collector took spans, which are encoded. Blocks."""
        result = self._client.export(self._envelope.wrap(spans))
        if not result.success:
            return Answer(taken=False, why=str(result.reason or result.error or "not in time"))
        return read_answer(self._transport.take_body(), len(spans))

    def close(self) -> None:
        """Stop trying; what is being sent may fail."""
        self._exporter.shutdown()


class _Remembering(BaseHTTPTransport):
    """A transport that keeps the last answer: the client reads its status, and drops what it says."""

    def __init__(self, transport: BaseHTTPTransport) -> None:
        self._transport = transport
        self._last: BaseHTTPResult | None = None

    def request(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, timeout: float | None = None,
        data: bytes | None = None,
    ) -> BaseHTTPResult:  # fmt: skip
        self._last = self._transport.request(method, url, headers=headers, timeout=timeout, data=data)
        return self._last

    def take_body(self) -> bytes:
        """That of the last answer; empty if there was none."""
        result, self._last = self._last, None
        return b"" if result is None or result.error is not None else result.content()

    def close(self) -> None:
        self._transport.close()

    def is_connection_error(self, exception: Exception | None) -> bool:
        return self._transport.is_connection_error(exception)


def describe_resource() -> Mapping[str, Any]:
    """Who it is that speaks: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and what the SDK adds."""
    attributes = dict(Resource.create().attributes)
    if str(attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        attributes[SERVICE_NAME] = SERVICE
    attributes.setdefault(SERVICE_VERSION, version("turnout"))
    return attributes
