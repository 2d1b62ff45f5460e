"""The environment variables of OpenTelemetry: what they say, and what is refused."""

import importlib.util
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from turnout.deploy.certs.authority import Authority, Names, create_authority
from turnout.proxy.supervisor.tracing.environment import Batching, read_tracing
from turnout.proxy.supervisor.tracing.variables import TracingError
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
        (
            {**AT, "OTEL_TRACES_EXPORTER": "OTLP", "OTEL_EXPORTER_OTLP_PROTOCOL": "HTTP/JSON"},
            "http://collector:4318/v1/traces",
        ),
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
        (" Parentbased_ALWAYS_on", "", Sampler(parent_based=True, bound=ALL)),
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
        ("B3,TraceContext", ("tracecontext", "b3")),
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
    small = read_tracing({**AT, "OTEL_BSP_MAX_QUEUE_SIZE": "64"}, 1.0)
    assert small is not None
    assert small.batching.max_batch == 64, "what was not said fits what was"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:43180000"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix:/run/otlp"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/jsno"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "nan"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", __file__),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", __file__),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", __file__),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=vision,production"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER", "parentbased_sometimes"),
        ("OTEL_PROPAGATORS", "tracecontext,jaeger"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
    ],
)
def test_what_means_nothing_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(TracingError, match=f"^{name}"):
        read_tracing({**AT, name: value}, 1.0)


@pytest.mark.parametrize("text", ["s3cret", "a=1, =s3cret", 'a="s3cret"', "a=s3cret\r\nb: 2", "a b=s3cret"])
def test_a_header_that_would_not_be_sent_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(TracingError, match=r"^OTEL_EXPORTER_OTLP_HEADERS: header [12] of the list") as refused:
        read_tracing({**AT, "OTEL_EXPORTER_OTLP_HEADERS": text}, 1.0)
    assert "s3cret" not in str(refused.value)


def test_what_the_exporter_understands_is_let_through(tmp_path: Path) -> None:
    create_authority(tmp_path, "collectors", 30)
    certificate, key = Authority(tmp_path).issue("proxy", Names(("proxy",), (), ()), 7)
    environ = {
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=1%2C2, authorization=Basic dXNlcjpwdw==,",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "never",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "2.5",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "ca.pem"),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificate),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(key),
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test, query=a=b,",
    }
    assert read_tracing({**AT, **environ}, 1.0) is not None, "and what comes first is what counts"


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
