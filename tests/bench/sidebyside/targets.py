"""What the project aims at, and whether the figures reach it. Ratios are Turnout's to the named proxy's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sidebyside.tools import COMPILED
from sidebyside.turns import FEW, FIXED, MANY, SATURATION


@dataclass(frozen=True)
class Target:
    """One aim: reached when `measured` is not above `limit`."""

    name: str
    limit: float
    measured: float
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether the aim is reached."""
        return self.measured <= self.limit


_RATIOS = (
    ("CPU of a small request, × Envoy", "small", SATURATION, "cpu_us", "envoy", 0.5),
    ("CPU of a small request, × nginx", "small", SATURATION, "cpu_us", "nginx", 2.0),
    ("CPU of a small request with a trace of its own, × Envoy", "small-traced", SATURATION, "cpu_us", "envoy", 0.6),
    ("p99 of a small request at 3,000/s, × Envoy", "small", FIXED, "p99_ms", "envoy", 1.1),
    ("CPU of a request of 100 KB, × Envoy", "large-request", SATURATION, "cpu_us", "envoy", 1.0),
    ("CPU of an answer of 100 KB, × Envoy", "large-answer", SATURATION, "cpu_us", "envoy", 1.0),
    ("CPU of a small request that is mirrored, × Envoy", "mirror", SATURATION, "cpu_us", "envoy", 0.7),
    ("CPU of a unary call, 4 connections × 10 streams, × Envoy", "grpc", FEW, "cpu_us", "envoy", 0.6),
    ("CPU of a unary call, 1 connection × 100 streams, × Envoy", "grpc", MANY, "cpu_us", "envoy", 0.6),
    ("CPU of a call of 1 MB there and back, × Envoy", "grpc-large", FEW, "cpu_us", "envoy", 1.0),
    (
        "CPU of a unary call through mutual TLS, 4 connections × 10 streams, × Envoy",
        "grpc-tls",
        FEW,
        "cpu_us",
        "envoy",
        1.0,
    ),
    (
        "CPU of a unary call through mutual TLS, 1 connection × 100 streams, × Envoy",
        "grpc-tls",
        MANY,
        "cpu_us",
        "envoy",
        1.0,
    ),
    ("memory of supervisor and worker, × Envoy", "small", SATURATION, "pss_bytes", "envoy", 1.0),
)


def judge(rows: dict[str, Any]) -> list[Target]:
    """The aims for which `rows` has figures."""
    return [*_ratios(rows), *_rules(rows), *_armed(rows), *_spans(rows), *_single(rows)]


def _ratios(rows: dict[str, Any]) -> Iterator[Target]:
    for name, row, load, figure, other, limit in _RATIOS:
        medians = rows.get(row, {}).get("medians", {})
        for ours, which in (("turnout", ""), (COMPILED, " (compiled)")):
            if ours in medians and other in medians:
                yield Target(name + which, limit, medians[ours][load][figure] / medians[other][load][figure])


def _rules(rows: dict[str, Any]) -> Iterator[Target]:
    medians = rows.get("rules", {}).get("medians", {})
    lanes = [lane for lane in medians if lane.startswith("turnout ")]
    if len(lanes) == 2:
        few, many = (medians[lane][SATURATION]["cpu_us"] for lane in lanes)
        yield Target("CPU with 10,000 rules, × with 20", 1.2, many / few)


def _armed(rows: dict[str, Any]) -> Iterator[Target]:
    medians = rows.get("armed", {}).get("medians", {})
    if {"turnout pair", "turnout armed"} <= medians.keys():
        bare, armed = (medians[lane][SATURATION]["cpu_us"] for lane in ("turnout pair", "turnout armed"))
        yield Target("CPU with retries, breakers, outlier detection and health checks, × without", 1.1, armed / bare)


def _spans(rows: dict[str, Any]) -> Iterator[Target]:
    medians = rows.get("spans", {}).get("medians", {})
    for proxy, which in (("turnout", ""), (COMPILED, " (compiled)")):
        costs = {share: medians.get(f"{proxy} spans {share}", {}) for share in ("off", "not sampled", "1 %")}
        if all(costs.values()):
            off, none, some = (cost[SATURATION]["cpu_us"] for cost in costs.values())
            yield Target(f"CPU of spans for a request that is not sampled{which}", 1.0, none - off, " µs")
            yield Target(f"CPU with spans of 1 %, × without{which}", 1.03, some / off)


def _single(rows: dict[str, Any]) -> Iterator[Target]:
    if "turnout" in rows.get("idle", {}):
        yield Target("memory of an idle connection", 10, rows["idle"]["turnout"]["bytes_each"] / 1e3, " KB")
    if "turnout" in rows.get("start", {}):
        yield Target("start to ready", 0.5, rows["start"]["turnout"]["median_s"], " s")
