"""What is used of OpenTelemetry's Python packages: the resource that the environment describes, and the client of its
OTLP exporter, which knows endpoints, headers, certificates, compression, time limits and when to try again.

The exporter is young, so it is pinned, and this is the only module that knows OpenTelemetry. It is imported in the
exporter's thread: it takes a while, and most proxies need none of it.
"""

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

from turnout.proxy.supervisor.tracing.describe import Span
from turnout.proxy.supervisor.tracing.otlp import Encoder

SERVICE = "turnout"
"""The name of the service where the environment gives none."""


class Sender:
    """Sends spans to the collector at `endpoint`, one batch after the other, each within `timeout_s` or what the
    environment says, whichever is less. `why` is why the last one failed."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        exporter = OTLPSpanExporter(endpoint)
        self._exporter = exporter
        self._client = exporter._client
        self._client._timeout = min(self._client._timeout, timeout_s)
        self._encoder = Encoder(describe_resource(), SERVICE, version("turnout"))
        self.why = ""
        # It would speak for each batch; `Exporter` says once that it fails, and once that it does no longer.
        logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.CRITICAL)

    def send(self, spans: list[Span], offset_s: float) -> bool:
        """Whether the collector took them. Blocks."""
        result = self._client.export(self._encoder.encode(spans, offset_s))
        self.why = "" if result.success else str(result.reason or result.error or "not in time")
        return bool(result.success)

    def close(self) -> None:
        """Stop trying; what is being sent may fail."""
        self._exporter.shutdown()


def describe_resource() -> Mapping[str, Any]:
    """Who it is that speaks: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and what the SDK adds."""
    attributes = dict(Resource.create().attributes)
    if str(attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        attributes[SERVICE_NAME] = SERVICE
    attributes.setdefault(SERVICE_VERSION, version("turnout"))
    return attributes
