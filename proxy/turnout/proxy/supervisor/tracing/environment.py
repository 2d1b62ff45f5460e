"""Whether spans are exported, and how: the environment variables of OpenTelemetry, without loading anything of it.

Off until there is somewhere to export to: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or
`OTEL_TRACES_EXPORTER=otlp` for the usual place. Headers, time limits, compression and certificates are read by the
exporter itself, and are only checked (`variables`). An empty variable is one that is not set, and words may be written
in either case (OpenTelemetry, Environment Variable Specification).
"""

import importlib.util
from collections.abc import Mapping

import msgspec

from turnout.proxy.filters.trace_context import FORMATS
from turnout.proxy.net.options import TraceOptions
from turnout.proxy.supervisor.tracing.variables import TracingError, check_endpoint, check_variables, read_word
from turnout.proxy.telemetry.trace.sampler import ALL_NAMES, Sampler, make_sampler

DEFAULT_ENDPOINT = "http://localhost:4318"
TRACES_PATH = "/v1/traces"
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.json.http")
_PASSING = frozenset({"baggage", "none"})
"""Propagators that ask for nothing: baggage always passes."""


class Batching(msgspec.Struct, frozen=True):
    """`OTEL_BSP_*`: how spans wait for the exporter. Sizes are in spans."""

    delay_s: float = 5.0
    max_queue: int = 2048
    max_batch: int = 512
    timeout_s: float = 30.0


class Tracing(msgspec.Struct, frozen=True):
    """How spans are exported, and which there are."""

    endpoint: str
    sampler: str
    options: TraceOptions
    batching: Batching = Batching()


def read_tracing(environ: Mapping[str, str], slow_s: float) -> Tracing | None:
    """What the environment says; None if nothing is to be exported. Raises TracingError."""
    endpoint = find_endpoint(environ)
    if endpoint is None:
        return None
    check_variables(environ)
    _check_packages()
    sampler = read_word(environ, "OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    options = TraceOptions(_read_sampler(environ, sampler), _read_formats(environ), slow_s)
    ratio = environ.get("OTEL_TRACES_SAMPLER_ARG")
    told = f"{sampler} {ratio}" if ratio and sampler.endswith("ratio") else sampler
    return Tracing(endpoint, told, options, _read_batching(environ))


def find_endpoint(environ: Mapping[str, str]) -> str | None:
    """The URL that spans are sent to; None if there is none. Raises TracingError."""
    exporter = read_word(environ, "OTEL_TRACES_EXPORTER")
    if read_word(environ, "OTEL_SDK_DISABLED") == "true" or exporter == "none":
        return None
    if exporter not in ("", "otlp"):
        raise TracingError(f"OTEL_TRACES_EXPORTER is {exporter!r}: spans can be exported by `otlp`, or not (`none`)")
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    endpoint = environ.get(name)
    if not endpoint:
        name = "OTEL_EXPORTER_OTLP_ENDPOINT"
        base = environ.get(name) or (DEFAULT_ENDPOINT if exporter else "")
        if not base:
            return None
        endpoint = base.removesuffix("/") + TRACES_PATH
    check_endpoint(name, endpoint)
    return endpoint


def _check_packages() -> None:
    for package in PACKAGES:
        try:
            found = importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise TracingError(
                "OTEL_EXPORTER_OTLP_ENDPOINT asks for spans, which need OpenTelemetry: pip install 'turnout[tracing]', "
                "or say OTEL_TRACES_EXPORTER=none"
            )


def _read_sampler(environ: Mapping[str, str], name: str) -> Sampler:
    if name not in ALL_NAMES:
        raise TracingError(f"OTEL_TRACES_SAMPLER is {name!r}, which is none of {', '.join(ALL_NAMES)}")
    text = environ.get("OTEL_TRACES_SAMPLER_ARG") or "1"
    if not name.endswith("ratio"):
        return make_sampler(name, 1.0)
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise TracingError(f"OTEL_TRACES_SAMPLER_ARG is {text!r}, which is no share from 0 to 1")
    return make_sampler(name, ratio)


def _read_formats(environ: Mapping[str, str]) -> tuple[str, ...]:
    names = [name.strip() for name in (read_word(environ, "OTEL_PROPAGATORS") or "tracecontext,baggage").split(",")]
    for name in names:
        if name not in FORMATS and name not in _PASSING:
            raise TracingError(f"OTEL_PROPAGATORS: {name!r} is none of {', '.join((*FORMATS, *sorted(_PASSING)))}")
    return tuple(name for name in FORMATS if name in names)


def _read_batching(environ: Mapping[str, str]) -> Batching:
    default = Batching()
    max_queue = _read_number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", default.max_queue)
    batching = Batching(
        _read_number(environ, "OTEL_BSP_SCHEDULE_DELAY", round(default.delay_s * 1000)) / 1000,
        max_queue,
        _read_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(default.max_batch, max_queue)),
        _read_number(environ, "OTEL_BSP_EXPORT_TIMEOUT", round(default.timeout_s * 1000)) / 1000,
    )
    if batching.max_batch > batching.max_queue:
        raise TracingError("OTEL_BSP_MAX_EXPORT_BATCH_SIZE is more than OTEL_BSP_MAX_QUEUE_SIZE")
    return batching


def _read_number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text)):
        raise TracingError(f"{name} is {text!r}, which is no whole number above 0")
    return int(text)
