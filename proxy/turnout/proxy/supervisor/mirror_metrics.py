"""The numbers of mirrors as metrics: what was eligible, what became of it, how its answers went.

`route` is the rule's name, `predictor` the mirror's. Reasons and ends are the words of `telemetry.mirrors`.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from turnout.proxy.http.grpc import GrpcStatus
from turnout.proxy.supervisor.counters import RecordWords
from turnout.proxy.telemetry.layout import BOUNDS_S, CODE_CLASSES
from turnout.proxy.telemetry.mirrors import MirrorWord, ShadowEnd, Skip

LABELS = ("route", "predictor")
MIRROR_COUNTERS = (
    (MirrorWord.ELIGIBLE, "turnout_mirror_eligible", "Requests whose route has the mirror, and which its share took"),
    (MirrorWord.MIRRORED, "turnout_mirrored", "Requests that were copied"),
    (MirrorWord.BYTES_SENT, "turnout_mirror_sent_bytes", "Bytes of bodies that were copied"),
    (MirrorWord.BYTES_RECEIVED, "turnout_mirror_received_bytes", "Bytes of bodies of the answers to copies"),
)
MIRROR_HISTOGRAMS = (
    (
        MirrorWord.FIRST_BYTE,
        "turnout_mirror_first_byte_seconds",
        "From the end of a copied request to the head of its answer",
    ),
    (MirrorWord.TOTAL, "turnout_mirror_seconds", "From the end of a copied request to the end of its answer"),
)
_NS = 1e-9

Row = tuple[list[str], RecordWords]


def mirror_families(rows: Sequence[Row]) -> Iterator[Metric]:
    """All of them, of the records that were written: labels and words."""
    for word, name, text in MIRROR_COUNTERS:
        family = CounterMetricFamily(name, text, labels=LABELS)
        for labels, words in rows:
            family.add_metric(labels, words[word])
        yield family
    active = GaugeMetricFamily("turnout_mirror_active", "Copies in flight", labels=LABELS)
    for labels, words in rows:
        active.add_metric(labels, words[MirrorWord.ACTIVE])
    yield active
    yield _skips(rows)
    yield _results(rows)
    yield _calls(rows)
    for word, name, text in MIRROR_HISTOGRAMS:
        yield _histogram(rows, name, text, word)


def _skips(rows: Sequence[Row]) -> Metric:
    family = CounterMetricFamily("turnout_mirror_skipped", "Requests that were not copied", labels=[*LABELS, "reason"])
    for labels, words in rows:
        for reason in Skip:
            if words[MirrorWord.SKIPPED + reason]:
                family.add_metric([*labels, reason.name.lower()], words[MirrorWord.SKIPPED + reason])
    return family


def _results(rows: Sequence[Row]) -> Metric:
    family = CounterMetricFamily(
        "turnout_mirror_results", "Copies that ended", labels=[*LABELS, "outcome", "code_class"]
    )
    for labels, words in rows:
        for place, code_class in enumerate(CODE_CLASSES):
            if words[MirrorWord.ANSWERS + place]:
                family.add_metric([*labels, "answered", code_class], words[MirrorWord.ANSWERS + place])
        for end in ShadowEnd:
            if words[MirrorWord.ENDS + end]:
                family.add_metric([*labels, end.name.lower(), "none"], words[MirrorWord.ENDS + end])
    return family


def _calls(rows: Sequence[Row]) -> Metric:
    family = CounterMetricFamily(
        "turnout_mirror_grpc_results", "Copies of gRPC calls that were answered", labels=[*LABELS, "grpc_status"]
    )
    for labels, words in rows:
        for status in GrpcStatus:
            if words[MirrorWord.GRPC + status]:
                family.add_metric([*labels, status.name], words[MirrorWord.GRPC + status])
    return family


def _histogram(rows: Sequence[Row], name: str, text: str, word: int) -> Metric:
    family = HistogramMetricFamily(name, text, labels=LABELS)
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    for labels, words in rows:
        buckets = words[word : word + len(bounds)]
        if any(buckets):
            total = words[word + len(bounds)] * _NS
            family.add_metric(labels, list(zip(bounds, accumulate(buckets), strict=True)), total)
    return family
