"""Our samplers decide as OpenTelemetry's own do: those who sample the same trace decide alike."""

import random

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from turnout.proxy.filters.tracing import Tracer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark
from turnout.proxy.telemetry.trace.sampler import ALL, NONE, bound_of, make_sampler

RATIOS = [0.0, 1e-9, 0.001, 0.01, 1 / 3, 0.5, 0.99, 1 - 1e-12, 1.0]
ROOTS = {"always_on": sampling.ALWAYS_ON, "always_off": sampling.ALWAYS_OFF}


def ids(bound: int) -> list[int]:
    """Trace ids at random, and those around a bound."""
    numbers = random.Random(7)
    edges = [low & ((1 << 64) - 1) for low in (bound - 1, bound, bound + 1, 1, (1 << 64) - 1)]
    return [numbers.getrandbits(128) | 1 << 127 for _ in range(200)] + [1 << 100 | edge for edge in edges]


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_share_of_the_traces_is_the_sdks(ratio: float) -> None:
    theirs, ours = TraceIdRatioBased(ratio), make_sampler("traceidratio", ratio)
    for number in ids(TraceIdRatioBased.get_bound_for_rate(ratio)):
        taken = theirs.should_sample(None, number, "any").decision.is_sampled()
        assert ours.takes(b"%032x" % number) == taken, hex(number)


def test_no_share_is_none_and_all_is_all() -> None:
    assert bound_of(1.0) == ALL
    assert not make_sampler("always_off", 1.0).takes(b"0" * 31 + b"1")
    assert not make_sampler("traceidratio", 0.0).takes(b"0" * 32)
    assert make_sampler("always_on", 0.0).takes(b"f" * 32)
    assert make_sampler("always_off", 1.0).bound == NONE


@pytest.mark.parametrize("name", ["always_on", "always_off", "traceidratio"])
@pytest.mark.parametrize("parent_based", [True, False])
@pytest.mark.parametrize("came", ["sampled", "not sampled", "nothing"])
def test_a_request_is_decided_on_as_the_sdk_would(name: str, parent_based: bool, came: str) -> None:
    root: Sampler = ROOTS.get(name) or TraceIdRatioBased(0.5)
    theirs = ParentBased(root) if parent_based else root
    ours = Tracer(make_sampler(f"parentbased_{name}" if parent_based else name, 0.5), ("tracecontext",), 1.0)
    for number in ids(1 << 63):
        head, context = RequestHead(), None
        if came == "nothing":
            head.request_id = b"%032x" % number
        else:
            head.marks = int(Mark.TRACEPARENT)
            head.traceparent = b"00-%032x-00f067aa0ba902b7-0%d" % (number, came == "sampled")
            flags = trace.TraceFlags(came == "sampled")
            parent = trace.SpanContext(number, 0xF067AA0BA902B7, is_remote=True, trace_flags=flags)
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        taken = theirs.should_sample(context, number, "any").decision.is_sampled()
        assert (ours.begin(head) is not None) == taken
