"""The report: one Markdown table of the rows, and the aims beside what was measured."""

from collections.abc import Iterator
from typing import Any, NamedTuple

_TITLES = {
    "nobody": "an endpoint moves, nobody is connected",
    "one": "an endpoint moves, one client",
    "all": "an endpoint moves, all take it",
    "few": "an endpoint moves, each names ten clusters",
    "none-alone": "a route for others changes, nobody is connected",
    "none": "a route for others changes",
    "selected": "an endpoint moves, one client, a route for others exists",
}
_MB = 1e6
_US = 1e6


class Aim(NamedTuple):
    """Reached when `measured` is not above `limit`."""

    name: str
    limit: float
    measured: float
    unit: str

    @property
    def reached(self) -> bool:
        return self.measured <= self.limit


def idle_cpu_us(rows: dict[str, Any]) -> float:
    """CPU of a push that changes nothing for a client, for each of the clients (µs)."""
    alone, many = rows["none-alone"], rows["none"]
    return float((many["cpu_s"] - alone["cpu_s"]) / many["clients"] * _US)


def judge(rows: dict[str, Any]) -> list[Aim]:
    """What is to be reached, for the worst of the changes (p99)."""
    everyone, one = rows["all"], rows["one"]
    most = max(row["pss_bytes"] for row in rows.values())
    clients = everyone["clients"]
    return [
        Aim(f"accept to the last ACK, {clients} clients, p99", 1.0, everyone["acked_p99_s"], " s"),
        Aim("accept to the ACK, one client, p50, without the debounce", 20, _bare_ms(one, "acked_p50_s"), " ms"),
        Aim("accept to the ACK, one client, p99, without the debounce", 20, _bare_ms(one, "acked_p99_s"), " ms"),
        Aim("memory (PSS), the most of all rows", 300, most / _MB, " MB"),
        Aim("CPU of a push that changes nothing for a client, each", 10, idle_cpu_us(rows), " µs"),
    ]


def markdown(rows: dict[str, Any], routes: int, endpoints: int) -> str:
    """All of it."""
    debounce_ms = next(iter(rows.values()))["debounce_s"] * 1e3
    parts = [
        f"**Pushes**: {routes} routes, {endpoints:,} endpoints; delta clients on loopback. Times are in ms, from accept"
        f" to the last ACK, as the control plane counts them; those without the debounce are {debounce_ms:g} ms less."
        " Outside is from the request of the apply to the last client's answer, as the clients see it. CPU is that of"
        " the control plane for the whole change, with its check, the store and the translation.",
        _table(
            ["", "clients", "told", "p50", "p99", "without: p50", "p99", "outside: p50", "bytes", "CPU ms", "PSS MB"],
            [_row(name, row) for name, row in rows.items()],
        ),
        f"Others used {_others(rows)} % of the control plane's core in the row where they used most: the less, the more"
        " the times can be trusted.",
        "**Aims**",
        _table(["Aim", "to reach", "measured", "reached"], [_aim(aim) for aim in judge(rows)]),
    ]
    return "\n\n".join(parts) + "\n"


def _others(rows: dict[str, Any]) -> str:
    return f"{max(row['others'] for row in rows.values()) * 100:.0f}"


def _row(name: str, row: dict[str, Any]) -> list[str]:
    times = [""] * 5
    if row["acked_p50_s"] is not None:
        keys = ("acked_p50_s", "acked_p99_s")
        times = [*(f"{row[key] * 1e3:.1f}" for key in keys), *(f"{_bare_ms(row, key):.1f}" for key in keys)]
        times.append(f"{row['seen_p50_s'] * 1e3:.1f}")
    return [
        _TITLES[name],
        f"{row['clients']}",
        f"{row['pushes']:g}",
        *times,
        f"{row['bytes']:,.0f}",
        f"{row['cpu_s'] * 1e3:.1f}",
        f"{row['pss_bytes'] / _MB:.0f}",
    ]


def _bare_ms(row: dict[str, Any], key: str) -> float:
    return float((row[key] - row["debounce_s"]) * 1e3)


def _aim(aim: Aim) -> list[str]:
    measured = f"{aim.measured:.2f}" if abs(aim.measured) < 10 else f"{aim.measured:.0f}"
    return [aim.name, f"≤ {aim.limit:g}{aim.unit}", f"{measured}{aim.unit}", "yes" if aim.reached else "**no**"]


def _table(header: list[str], lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in _with_rule(header, lines))


def _with_rule(header: list[str], lines: list[list[str]]) -> Iterator[list[str]]:
    yield header
    yield ["---", *["---:"] * (len(header) - 1)]
    yield from lines
