"""The environment variables of OpenTelemetry: what they say, and what is refused."""

import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec

import pytest

from turnout.proxy.supervisor.tracing.environment import Batching, TracingError, read_tracing
from turnout.proxy.telemetry.trace.sampler import ALL, NONE, Sampler

AT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SERVICE_NAME": "router", "OTEL_TRACES_SAMPLER": "no such thing"},
        {**AT, "OTEL_TRACES_EXPORTER": "none"},
        {**AT, "OTEL_SDK_DISABLED": "TRUE"},
    ],
)
def test_without_a_place_to_go_there_are_no_spans(environ: dict[str, str]) -> None:
    assert read_tracing(environ, 1.0) is None


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        (AT, "http://collector:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a.test/otlp/"}, "https://a.test/otlp/v1/traces"),
        ({**AT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other:80/here"}, "http://other:80/here"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"),
        ({**AT, "OTEL_TRACES_EXPORTER": "otlp"}, "http://collector:4318/v1/traces"),
        ({**AT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http://collector:4318/v1/traces"),
        (
            {**AT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
            "http://collector:4318/v1/traces",
        ),
        ({**AT, "OTEL_SDK_DISABLED": "1"}, "http://collector:4318/v1/traces"),
    ],
)
def test_where_spans_go(environ: dict[str, str], endpoint: str) -> None:
    tracing = read_tracing(environ, 1.0)
    assert tracing is not None
    assert tracing.endpoint == endpoint


def test_what_is_not_said_is_as_the_sdk_has_it() -> None:
    tracing = read_tracing(AT, 2.5)
    assert tracing is not None
    assert tracing.options.sampler == Sampler(parent_based=True, bound=ALL)
    assert (tracing.options.formats, tracing.options.slow_s) == (("tracecontext",), 2.5)
    assert tracing.batching == Batching(5.0, 2048, 512, 30.0)


@pytest.mark.parametrize(
    ("name", "ratio", "sampler"),
    [
        ("always_on", "", Sampler(parent_based=False, bound=ALL)),
        ("always_off", "0.5", Sampler(parent_based=False, bound=NONE)),
        ("traceidratio", "0.5", Sampler(parent_based=False, bound=b"8000000000000000")),
        ("traceidratio", "", Sampler(parent_based=False, bound=ALL)),
        ("parentbased_traceidratio", "0", Sampler(parent_based=True, bound=b"0" * 16)),
        ("parentbased_always_off", "", Sampler(parent_based=True, bound=NONE)),
    ],
)
def test_samplers(name: str, ratio: str, sampler: Sampler) -> None:
    tracing = read_tracing({**AT, "OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": ratio}, 1.0)
    assert tracing is not None
    assert tracing.options.sampler == sampler


@pytest.mark.parametrize(
    ("text", "formats"),
    [
        ("tracecontext,baggage", ("tracecontext",)),
        ("b3", ("b3",)),
        ("b3multi, b3,tracecontext,b3", ("tracecontext", "b3", "b3multi")),
        ("none", ()),
    ],
)
def test_propagators(text: str, formats: tuple[str, ...]) -> None:
    tracing = read_tracing({**AT, "OTEL_PROPAGATORS": text}, 1.0)
    assert tracing is not None
    assert tracing.options.formats == formats


def test_batches() -> None:
    sizes = {"OTEL_BSP_MAX_QUEUE_SIZE": "9", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8", "OTEL_BSP_EXPORT_TIMEOUT": "1500"}
    tracing = read_tracing({**AT, **sizes, "OTEL_BSP_SCHEDULE_DELAY": "250"}, 1.0)
    assert tracing is not None
    assert tracing.batching == Batching(0.25, 9, 8, 1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix:/run/otlp"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER", "parentbased_sometimes"),
        ("OTEL_PROPAGATORS", "tracecontext,jaeger"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
    ],
)
def test_what_means_nothing_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(TracingError, match="OTEL_EXPORTER_OTLP_ENDPOINT" if name.endswith("ENDPOINT") else name):
        read_tracing({**AT, name: value}, 1.0)


@pytest.mark.parametrize("ratio", ["1.5", "-0.1", "half", "nan"])
def test_a_share_is_between_none_and_all(ratio: str) -> None:
    with pytest.raises(TracingError, match="OTEL_TRACES_SAMPLER_ARG"):
        read_tracing({**AT, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio}, 1.0)


def test_without_the_packages_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[[str], ModuleSpec | None] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name.startswith("opentelemetry") else find(name)
    )
    assert read_tracing({}, 1.0) is None, "and they are not missed where there are no spans"
    with pytest.raises(TracingError, match=r"pip install 'turnout\[tracing\]'"):
        read_tracing(AT, 1.0)
