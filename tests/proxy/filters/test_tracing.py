"""What a request comes with, and what goes on to the endpoint: by W3C Trace Context's processing model, and B3's."""

import random
from collections.abc import Callable

import pytest

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.tracing import Trace, Tracer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http1 import request_head as http1
from turnout.proxy.http2 import request_head as http2
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import HEADER_WORDS, RECORD_WORDS
from turnout.proxy.telemetry.trace.parent import read_traceparent
from turnout.proxy.telemetry.trace.record import Record
from turnout.proxy.telemetry.trace.sampler import make_sampler
from turnout.rules import snapshot

T, P = "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
PEER = Peer(b"192.0.2.1", trusted=True)
W3C, B3, MULTI = ("tracecontext",), ("b3",), ("b3multi",)
ENDPOINT = Endpoint("127.0.0.1", 8001, 0)
Fields = dict[str, str]
Read = Callable[..., RequestHead]


class NoReports:
    """Nobody is told of endpoints."""

    def on_failing(self, cluster: str, endpoint: Endpoint, kind: str, count: int) -> None: ...

    def on_probing(self, cluster: str, endpoint: Endpoint) -> None: ...

    def on_probed(self, cluster: str, endpoint: Endpoint, well: bool | None) -> None: ...


WORDS = memoryview(bytearray(8 * (HEADER_WORDS + RECORD_WORDS))).cast("Q")
CLUSTER = Cluster(snapshot.Cluster("model"), 0, random.random, Counters(WORDS), NoReports())


def over_http1(*fields: tuple[str, str]) -> RequestHead:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return http1.RequestHeads().read(f"GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n".encode())


def over_http2(*fields: tuple[str, str]) -> RequestHead:
    start = ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/"))
    own = ((name.lower().encode(), value.encode()) for name, value in fields)
    return http2.RequestHeads(65_536).read((*start, *own), True)


@pytest.fixture(params=[over_http1, over_http2])
def read(request: pytest.FixtureRequest) -> Callable[..., RequestHead]:
    return request.param


def tracer(sampler: str = "parentbased_always_on", formats: tuple[str, ...] = W3C) -> Tracer:
    return Tracer(make_sampler(sampler, 1.0), formats, 1.0)


def begin(head: RequestHead, by: Tracer) -> Trace | None:
    """What an exchange does of it, up to its first attempt."""
    trace = by.receive(head, PEER)
    if trace is not None:
        trace.begin_attempt(head, CLUSTER, ENDPOINT, 1.0)
    return trace


def sent(head: RequestHead) -> Fields:
    """The fields of a trace that go on, each of which is there once."""
    names = {"traceparent", "tracestate", "baggage", "b3"}
    found = [(n.decode(), v.decode()) for n, v in head.fields if n.decode() in names or n.startswith(b"x-b3-")]
    assert len(dict(found)) == len(found), found
    return dict(found)


RESTARTED = {
    "nothing": (),
    "a tracestate alone": (("tracestate", "foo=1"),),
    "an invalid one": (("traceparent", f"00-{T}-{P}-xy"), ("tracestate", "foo=1")),
    "the version that is none": (("traceparent", f"ff-{T}-{P}-01"), ("tracestate", "foo=1")),
    "the first version with more": (("traceparent", f"00-{T}-{P}-01-x"), ("tracestate", "foo=1")),
    "zeros": (("traceparent", f"00-{'0' * 32}-{P}-01"), ("tracestate", "foo=1"), ("tracestate", "bar=1")),
    "an empty one": (("traceparent", ""),),
    "several": (("traceparent", f"00-{T}-{P}-01"), ("traceparent", f"00-{T}-{P}-01"), ("tracestate", "foo=1")),
    "two different ones": (("traceparent", f"00-{T}-{P}-01"), ("traceparent", f"00-{'1' * 32}-{P}-01")),
    "one under another name": (("trace-parent", f"00-{T}-{P}-01"), ("tracestate", "foo=1")),
}


@pytest.mark.parametrize("sampler", ["parentbased_always_on", "parentbased_always_off"])
@pytest.mark.parametrize("fields", RESTARTED.values(), ids=RESTARTED)
def test_a_trace_begins_here(read: Read, fields: tuple[tuple[str, str], ...], sampler: str) -> None:
    head = read(*fields)
    trace = begin(head, tracer(sampler))
    on = sent(head)
    assert set(on) == {"traceparent"}, "no state of another trace goes on"
    assert read_traceparent(on["traceparent"].encode()) == on["traceparent"].encode()
    assert T not in on["traceparent"]
    assert on["traceparent"].endswith("-01" if trace is not None else "-00")
    assert head.trace_id.decode() in on["traceparent"], "what is logged is what is sent"
    if trace is not None:
        assert (trace.parent_id, trace.trace_id) == (b"", head.trace_id)
        assert on["traceparent"][36:52] == trace.attempts[0].span_id.decode()


JOINED = {
    "sampled": (f"00-{T}-{P}-01", "01"),
    "with flags that nobody knows": (f"00-{T}-{P}-fd", "01"),
    "with a random id": (f"00-{T}-{P}-03", "03"),
    "of a later version": (f"cc-{T}-{P}-01", "01"),
    "of a later version with more": (f"cc-{T}-{P}-01-more", "01"),
}


@pytest.mark.parametrize(("came", "flags"), JOINED.values(), ids=JOINED)
def test_a_trace_that_is_sampled_goes_on_with_our_span(read: Read, came: str, flags: str) -> None:
    head = read(("TraceParent", came), ("TraceState", "foo=1"), ("baggage", "user=7"))
    trace = begin(head, tracer())
    assert trace is not None
    assert (trace.trace_id.decode(), trace.parent_id.decode(), trace.state) == (T, P, b"foo=1")
    span_id = trace.attempts[0].span_id.decode()
    assert sent(head) == {"traceparent": f"00-{T}-{span_id}-{flags}", "tracestate": "foo=1", "baggage": "user=7"}
    assert len({P, span_id, trace.span_id.decode()}) == 3


@pytest.mark.parametrize("came", [f"00-{T}-{P}-00", f"00-{T}-{P}-02", f"cc-{T}-{P}-fe-more"])
def test_a_trace_that_is_not_sampled_goes_on_as_it_came(read: Read, came: str) -> None:
    head = read(("traceparent", came), ("tracestate", "foo=1, bar=2"))
    assert begin(head, tracer()) is None
    assert sent(head) == {"traceparent": came, "tracestate": "foo=1, bar=2"}
    assert head.trace_id.decode() == T


def test_who_does_not_ask_the_parent_decides_alone(read: Read) -> None:
    on, off = read(("traceparent", f"00-{T}-{P}-00")), read(("traceparent", f"00-{T}-{P}-01"))
    assert begin(on, tracer("always_on")) is not None
    assert sent(on)["traceparent"].endswith("-01")
    assert begin(off, tracer("always_off")) is None


@pytest.mark.parametrize(
    ("came", "goes_on"),
    [
        (["foo=1", "bar=2"], "foo=1,bar=2"),
        (["foo=1", "", "bar=2"], "foo=1,bar=2"),
        (["foo=1 , bar=2"], "foo=1,bar=2"),
        ([""], None),
        (["FOO=1"], None),
        (["foo=1", "BAR=2"], None),
        ([",".join(f"k{at}=1" for at in range(17)), ",".join(f"j{at}=1" for at in range(16))], None),
    ],
)
def test_a_tracestate_goes_on_as_one_valid_field(read: Read, came: list[str], goes_on: str | None) -> None:
    head = read(("traceparent", f"00-{T}-{P}-01"), *(("tracestate", value) for value in came))
    trace = begin(head, tracer())
    assert trace is not None
    assert sent(head).get("tracestate") == goes_on
    assert trace.trace_id.decode() == T, "a bad state is no reason to restart"


def test_each_attempt_has_a_span_of_its_own(read: Read) -> None:
    head = read(("traceparent", f"00-{T}-{P}-01"))
    trace = begin(head, tracer())
    assert trace is not None
    first = sent(head)
    trace.end_attempt(503, "answered 503", 2.0)
    trace.begin_attempt(head, CLUSTER, ENDPOINT, 3.0)
    assert sent(head) != first
    assert [a.span_id.decode() for a in trace.attempts] == [
        first["traceparent"][36:52],
        sent(head)["traceparent"][36:52],
    ]
    assert [(a.status, a.reason, a.start, a.end) for a in trace.attempts] == [
        (503, "answered 503", 1, 2),
        (0, "", 3, 3),
    ]


def test_one_number_makes_the_ids_of_a_request_that_has_none(read: Read) -> None:
    head = read()
    trace = begin(head, tracer())
    assert trace is not None
    assert trace.trace_id == head.request_id
    named = read(("x-request-id", "mine"))
    assert begin(named, tracer()) is not None
    assert (named.request_id, len(named.trace_id)) == (b"mine", 32)


# B3

ASKED: dict[str, tuple[tuple[str, ...], Fields, str, bool, str]] = {
    # what is spoken, what came, the trace that it is, whether it is sampled, its parent
    "single": (B3, {"b3": f"{T}-{P}-1"}, T, True, P),
    "single, of 64 bits": (B3, {"b3": f"{T[16:]}-{P}-1"}, "0" * 16 + T[16:], True, P),
    "single, left open": (B3, {"b3": f"{T}-{P}"}, T, True, P),
    "single, not sampled": (B3, {"b3": f"{T}-{P}-0"}, T, False, P),
    "single, no to all": (B3, {"b3": "0"}, "", False, ""),
    "single, broken": (B3, {"b3": "nonsense"}, "", True, ""),
    "multi": (MULTI, {"x-b3-traceid": T, "x-b3-spanid": P, "x-b3-sampled": "1"}, T, True, P),
    "multi, with a parent": (
        MULTI, {"x-b3-traceid": T, "x-b3-spanid": P, "x-b3-parentspanid": P, "x-b3-sampled": "1"}, T, True, P,
    ),
    "multi, not sampled": (MULTI, {"x-b3-traceid": T, "x-b3-spanid": P, "x-b3-sampled": "0"}, T, False, P),
    "multi, no to all": (MULTI, {"x-b3-sampled": "0"}, "", False, ""),
    "multi, broken": (MULTI, {"x-b3-traceid": T, "x-b3-sampled": "1"}, "", True, ""),
    "multi, where single is written": (
        B3, {"x-b3-traceid": T, "x-b3-spanid": P, "x-b3-sampled": "1"}, T, True, P,
    ),
    "single, where multi is written": (MULTI, {"b3": f"{T}-{P}-1"}, T, True, P),
    "multi, where single is broken": (B3, {"b3": "x", "x-b3-traceid": T, "x-b3-spanid": P}, T, True, P),
    "both, one there": ((*B3, *MULTI), {"x-b3-traceid": T, "x-b3-spanid": P, "x-b3-sampled": "1"}, T, True, P),
    "W3C before B3": ((*W3C, *B3), {"traceparent": f"00-{T}-{P}-01", "b3": f"{'1' * 32}-{P}-0"}, T, True, P),
    "B3 where W3C is broken": ((*W3C, *B3), {"traceparent": "00", "tracestate": "a=1", "b3": f"{T}-{P}-1"}, T, True, P),
    "W3C alone, where only B3 is spoken": (B3, {"traceparent": f"00-{T}-{P}-00"}, "", True, ""),
}  # fmt: skip


@pytest.mark.parametrize(("spoken", "came", "trace_id", "sampled", "parent"), ASKED.values(), ids=ASKED)
def test_b3_is_spoken_where_it_is_asked_for(
    read: Read, spoken: tuple[str, ...], came: Fields, trace_id: str, sampled: bool, parent: str
) -> None:
    head = read(*came.items())
    trace = begin(head, tracer(formats=spoken))
    assert (trace is not None) == sampled
    on = sent(head)
    if trace_id:
        assert head.trace_id.decode() == trace_id
    else:
        assert head.trace_id.decode() != T
    if trace is None and trace_id:
        assert on == came, "as it came"
        return
    ids = (
        head.trace_id.decode(),
        trace.attempts[0].span_id.decode() if trace is not None else head.trace_id.decode()[16:],
    )
    decision = "1" if sampled else "0"
    expected = {k: v for k, v in came.items() if k.startswith("trace") and "tracecontext" not in spoken}
    if "tracecontext" in spoken:
        expected["traceparent"] = f"00-{ids[0]}-{ids[1]}-0{decision}"
    if "b3" in spoken:
        expected["b3"] = f"{ids[0]}-{ids[1]}-{decision}"
    if "b3multi" in spoken:
        expected |= {"x-b3-traceid": ids[0], "x-b3-spanid": ids[1], "x-b3-sampled": decision}
    assert on == expected
    if trace is not None:
        assert trace.parent_id.decode() == parent


def test_a_debug_flag_is_kept(read: Read) -> None:
    head = read(("b3", f"{T}-{P}-d"))
    assert begin(head, tracer("parentbased_always_off", B3)) is not None
    assert sent(head)["b3"].endswith("-d")
    by = tracer("parentbased_always_off", B3)
    trace, copied = begin(read(("b3", f"{T}-{P}-d")), by), read(("b3", f"{T}-{P}-d"))
    assert by.begin_shadow(trace, copied, CLUSTER, ENDPOINT, 1.0) is not None
    assert sent(copied)["b3"].endswith("-d"), "and told to a shadow"
    head = read(("x-b3-flags", "1"))
    assert begin(head, tracer("always_off", MULTI)) is None, "unless nobody is asked"


def test_b3_that_is_not_spoken_passes_unread(read: Read) -> None:
    head = read(("b3", f"{T}-{P}-1"), ("x-b3-traceid", T))
    assert begin(head, tracer("parentbased_always_off")) is None
    on = sent(head)
    assert (on.pop("b3"), on.pop("x-b3-traceid")) == (f"{T}-{P}-1", T)
    assert T not in on["traceparent"]


def test_where_nothing_is_spoken_nothing_is_told(read: Read) -> None:
    head = read(("traceparent", f"00-{T}-{P}-00"))
    assert begin(head, tracer(formats=())) is not None
    assert sent(head) == {"traceparent": f"00-{T}-{P}-00"}


# What is recorded late, and copies


def test_a_late_trace_is_the_one_that_went_on(read: Read) -> None:
    ours, by = read(), tracer("parentbased_always_off")
    begin(ours, by)
    late = by.begin_late(ours)
    assert f"00-{late.trace_id.decode()}-{late.span_id.decode()}-00" == sent(ours)["traceparent"]
    assert (late.parent_id, late.flags) == (b"", 0)
    theirs = read(("traceparent", f"00-{T}-{P}-02"), ("tracestate", "foo=1"))
    begin(theirs, by)
    late = by.begin_late(theirs)
    assert (late.trace_id, late.parent_id, late.flags, late.state) == (T.encode(), P.encode(), 2, b"foo=1")
    late.begin_attempt(theirs, CLUSTER, ENDPOINT, 1.0)
    assert sent(theirs)["traceparent"] == f"00-{T}-{P}-02", "nobody behind us is told another thing"


def test_a_late_trace_of_a_broken_field_began_here(read: Read) -> None:
    head, by = read(("traceparent", f"00-{T}-{P}-zz")), tracer("parentbased_always_off")
    begin(head, by)
    assert by.begin_late(head).parent_id == b""


def test_a_copy_is_a_child_of_the_request(read: Read) -> None:
    by, kept = tracer(), list[Record]()
    by.keep = kept.append
    head = read(("traceparent", f"00-{T}-{P}-01"))
    trace = begin(head, by)
    assert trace is not None
    copy = head.copy()
    span = by.begin_shadow(trace, copy, CLUSTER, ENDPOINT, 2.0)
    assert span is not None
    assert sent(head)["traceparent"] == f"00-{T}-{trace.attempts[0].span_id.decode()}-01", "the request has its own"
    span.on_first_byte(2.5)
    span.end(200, -1, "", 3.0)
    (record,) = kept
    (shadow,) = record.attempts
    assert sent(copy)["traceparent"] == f"00-{T}-{shadow.span_id.decode()}-01"
    assert (record.detached, record.span_id, record.trace_id) == (True, trace.span_id, T.encode())
    assert (shadow.shadow, shadow.status, shadow.start, shadow.end) == (True, 200, 2.0, 3.0)
    assert shadow.moments == [("first_byte", 2.5)]
    assert by.begin_shadow(None, copy, CLUSTER, ENDPOINT, 2.0) is None
