"""The report: Markdown tables of medians, with ratios to Envoy, and what the project aims at beside them."""

import statistics
from collections.abc import Iterator
from typing import Any

from sidebyside.targets import judge
from sidebyside.turns import FEW, FIXED, MANY, SATURATION
from sidebyside.work import CONNECTIONS, FIXED_RATE

_TITLES = {
    "small": "POST of 100 B, answer of 130 B",
    "small-traced": "The same, each request with a traceparent of its own",
    "large-request": "POST of 100 KB, answer of 130 B",
    "large-answer": "POST of 100 B, answer of 100 KB",
    "grpc": "Unary call of gRPC, 150 B there and 150 B back",
    "grpc-large": "Unary call of gRPC, 1 MB there and 1 MB back",
    "grpc-tls": "Unary call of gRPC, 150 B there and 150 B back, mutual TLS towards the client",
}
_CALLS = ("grpc", "grpc-large", "grpc-tls")
_MB = 1e6


def markdown(rows: dict[str, Any]) -> str:
    """All measured rows as Markdown."""
    parts = [(_calls if name in _CALLS else _shape)(name, rows[name]) for name in _TITLES if name in rows]
    for name, title in (
        ("rules", "Number of rules"),
        ("armed", "Armed against models that fail"),
        ("mirror", "Every request mirrored"),
        ("spans", "Spans"),
    ):
        if name in rows:
            parts.append(_lanes(title, rows[name]["medians"]))
    if "idle" in rows or "start" in rows:
        parts.append(_single(rows.get("idle", {}), rows.get("start", {})))
    parts += [_targets(rows), _others(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _shape(name: str, row: dict[str, Any]) -> str:
    medians = row["medians"]
    envoy = medians.get("envoy")
    header = ["", "CPU/request", "× Envoy", "requests/s", "p50 ms", "p99 ms"]
    header += ["CPU/request", "× Envoy", "p50 ms", "p99 ms", "× Envoy", "PSS MB", "× Envoy"]
    lines = []
    for lane, loads in medians.items():
        full = loads[SATURATION]
        lines.append(
            [
                lane,
                f"{full['cpu_us']:.1f} µs {_range(row['turns'], lane)}",
                _ratio(full, envoy and envoy[SATURATION], "cpu_us"),
                f"{full['per_second']:,.0f}",
                f"{full['p50_ms']:.2f}",
                f"{full['p99_ms']:.2f}",
                *(_fixed(loads[FIXED], envoy and envoy[FIXED]) if FIXED in loads else [""] * 5),
                f"{full['pss_bytes'] / _MB:.1f}",
                _ratio(full, envoy and envoy[SATURATION], "pss_bytes"),
            ]
        )
    loads_text = f"{CONNECTIONS} connections; columns 2-6 at saturation, 7-11 at {FIXED_RATE:,} requests/s."
    return f"**{_TITLES[name]}**. {loads_text}\n\n{_table(header, lines)}"


def _fixed(figures: dict[str, float], envoy: dict[str, float] | None) -> list[str]:
    return [
        f"{figures['cpu_us']:.1f} µs",
        _ratio(figures, envoy, "cpu_us"),
        f"{figures['p50_ms']:.2f}",
        f"{figures['p99_ms']:.2f}",
        _ratio(figures, envoy, "p99_ms"),
    ]


def _calls(name: str, row: dict[str, Any]) -> str:
    medians = row["medians"]
    envoy = medians.get("envoy")
    header = ["", "connections × streams", "CPU/call", "× Envoy", "calls/s", "p50 ms", "p99 ms", "PSS MB"]
    lines = [
        [
            lane,
            load,
            f"{figures['cpu_us']:.1f} µs {_range(row['turns'], lane, load)}",
            _ratio(figures, envoy and envoy[load], "cpu_us"),
            f"{figures['per_second']:,.0f}",
            f"{figures['p50_ms']:.2f}",
            f"{figures['p99_ms']:.2f}",
            f"{figures['pss_bytes'] / _MB:.1f}",
        ]
        for load in (FEW, MANY)
        for lane, loads in medians.items()
        if load in loads
        for figures in [loads[load]]
    ]
    return f"**{_TITLES[name]}**. HTTP/2 on both sides, at saturation.\n\n{_table(header, lines)}"


def _lanes(title: str, medians: dict[str, Any]) -> str:
    lines = [
        [lane, f"{m['cpu_us']:.1f} µs", f"{m['per_second']:,.0f}", f"{m['pss_bytes'] / _MB:.1f}"]
        for lane, loads in medians.items()
        for m in [loads[SATURATION]]
    ]
    header = ["", "CPU/request", "requests/s", "PSS MB"]
    return f"**{title}** (small requests, at saturation)\n\n{_table(header, lines)}" if lines else ""


def _single(idle: dict[str, Any], start: dict[str, Any]) -> str:
    lines = [
        [
            lane,
            f"{idle[lane]['bytes_each'] / 1e3:.1f} KB" if lane in idle else "",
            f"{start[lane]['median_s'] * 1e3:.0f} ms" if lane in start else "",
        ]
        for lane in dict.fromkeys([*idle, *start])
    ]
    return "**Idle connections and start**\n\n" + _table(["", "memory of an idle connection", "start to ready"], lines)


def _targets(rows: dict[str, Any]) -> str:
    lines = [
        [t.name, f"≤ {t.limit:g}{t.unit}", f"{t.measured:.2f}{t.unit}", "yes" if t.reached else "**no**"]
        for t in judge(rows)
    ]
    header = ["Aim", "to reach", "measured", "reached"]
    return f"**Aims**\n\n{_table(header, lines)}" if lines else ""


def _range(turns: list[dict[str, Any]], lane: str, load: str = SATURATION) -> str:
    """How far apart the turns at saturation were: a ratio within this is chance."""
    seen = [turn["cpu_us"] for turn in turns if turn["lane"] == lane and turn["load"] == load]
    return f"({min(seen):.0f}-{max(seen):.0f})"


def _others(rows: dict[str, Any]) -> str:
    shares = [turn["others"] * 100 for row in rows.values() for turn in row.get("turns", ())]
    if not shares:
        return ""
    text = f"{statistics.median(shares):.0f} % of the proxy's core during a turn (median; at most {max(shares):.0f} %)"
    return f"Others used {text}: the less, the more the figures can be trusted."


def _ratio(figures: dict[str, float], envoy: dict[str, float] | None, name: str) -> str:
    return f"{figures[name] / envoy[name]:.2f}" if envoy else ""


def _table(header: list[str], lines: list[list[str]]) -> str:
    return "\n".join(_line(cells) for cells in _with_rule(header, lines))


def _with_rule(header: list[str], lines: list[list[str]]) -> Iterator[list[str]]:
    yield header
    yield ["---", *["---:"] * (len(header) - 1)]
    yield from lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
