"""The rows of the report, each a function from what was asked for to plain data for the JSON file.

`small`, `large-request` and `large-answer`: all proxies, at saturation and at the fixed rate. `small-traced`: small
requests of which no two have the same head. `rules`: 20 rules against 10,000, for Turnout and, to compare, Envoy.
`armed`: two endpoints with retries, breakers, outlier detection and health checks against without, for the same two.
`mirror`: every request is copied. `spans`: a share of the requests is traced, for Turnout. `grpc` and `grpc-large`:
unary calls of gRPC, over HTTP/2 on both sides; `grpc-tls` with mutual TLS towards the client. `idle`: connections that
do nothing. `start`: until ready.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sidebyside.exports import check_exports
from sidebyside.processes import Cores
from sidebyside.single import measure_idle, measure_start
from sidebyside.stage import VARIANTS, Lane, Runner, Stage
from sidebyside.tools import COMPILED
from sidebyside.turnout import SPANS
from sidebyside.turns import FEW, FIXED, MANY, SATURATION, Plan, Turn, measure, medians
from sidebyside.upstream import UpstreamArgv, grpc_upstream_argv, upstream_argv
from sidebyside.work import SHAPES, big_table, grpc_table, small_table

RULES_PROXIES = ("turnout", "envoy")
"""Whose cost by the number of rules, and of what is armed, is measured."""

SPANS_STARTS = 4
"""Of the processes of the row `spans`: two of the same code differ by 2 or 3 %, and so much is to be told apart."""


@dataclass(frozen=True)
class Ask:
    """What to measure, for how long, and where."""

    proxies: list[str]
    plan: Plan
    cores: Cores
    folder: Path


def measure_shape(name: str, ask: Ask, loads: tuple[str, ...] = (SATURATION, FIXED)) -> dict[str, Any]:
    """One kind of work, all proxies. h2load sends one and the same head, so a shape of many has no fixed rate."""
    table = small_table()
    lanes = [Lane(proxy, proxy, table) for proxy in ask.proxies]
    return _turns(name, ask, lanes, name, loads)


def measure_rules(ask: Ask) -> dict[str, Any]:
    """Small requests with 20 and with 10,000 rules."""
    tables = [small_table(), big_table()]
    proxies = [proxy for proxy in ask.proxies if proxy in RULES_PROXIES]
    lanes = [Lane(f"{proxy} {len(table.rules)} rules", proxy, table) for proxy in proxies for table in tables]
    return _turns("rules", ask, lanes, "small", (SATURATION,))


def measure_armed(ask: Ask) -> dict[str, Any]:
    """Small requests without and with all that there is for models that fail."""
    table = small_table()
    proxies = [proxy for proxy in ask.proxies if proxy in RULES_PROXIES]
    lanes = [Lane(name, name, table) for proxy in proxies for name in (f"{proxy} pair", f"{proxy} armed")]
    return _turns("armed", ask, lanes, "small", (SATURATION,))


def measure_mirror(ask: Ask) -> dict[str, Any]:
    """Small requests, each copied to a shadow; CPU is for both."""
    table = small_table()
    lanes = [Lane(proxy, f"{proxy} mirror", table) for proxy in ask.proxies if f"{proxy} mirror" in VARIANTS]
    return _turns("mirror", ask, lanes, "small", (SATURATION,))


def measure_spans(ask: Ask) -> dict[str, Any]:
    """Small requests that bring no trace, of which none, some or all have spans; by several starts of each. Those with
    all of them export for seconds after a turn, so they have no turn between the others'."""
    table = small_table()
    proxies = [proxy for proxy in ask.proxies if proxy in ("turnout", COMPILED)]
    starts = SPANS_STARTS if ask.plan.turns > 1 else 1
    *few, every = [[f"{proxy} spans {share}" for proxy in proxies] for share in SPANS]
    found: dict[str, Any] = {"turns": [], "medians": {}}
    for row, names, times in (("spans", [name for share in few for name in share], starts), ("spans-all", every, 1)):
        lanes = [Lane(name, name, table) for name in names]
        more = _turns(row, ask, lanes, "untraced", (SATURATION,), check=check_exports, starts=times)
        found = {"turns": found["turns"] + more["turns"], "medians": found["medians"] | more["medians"]}
    return found


def measure_grpc(
    name: str, ask: Ask, loads: tuple[str, ...], shape: str = "grpc", variant: str = "grpc"
) -> dict[str, Any]:
    """Calls of a shape, for the row `name`; `variant` of each proxy is what is measured."""
    table = grpc_table()
    lanes = [Lane(proxy, f"{proxy} {variant}", table) for proxy in ask.proxies]
    return _turns(name, ask, lanes, shape, loads, grpc_upstream_argv)


def measure_idle_row(ask: Ask) -> dict[str, Any]:
    """2,000 idle keep-alive connections."""
    table = small_table()
    with Stage(ask.folder / "idle", ask.cores) as stage:
        results = [measure_idle(stage, Lane(proxy, proxy, table)) for proxy in ask.proxies]
    return {r.lane: {**asdict(r), "bytes_each": r.bytes_each} for r in results}


def measure_start_row(ask: Ask) -> dict[str, Any]:
    """From process start to ready, with 20 rules."""
    table = small_table()
    every = ask.cores.proxy | ask.cores.load
    result = {}
    with Stage(ask.folder / "start", ask.cores) as stage:
        for proxy in ask.proxies:
            median_s, each_s = measure_start(stage, Lane(proxy, proxy, table), ask.plan.turns, every)
            result[proxy] = {"median_s": median_s, "each_s": each_s}
    return result


def _turns(
    row: str, ask: Ask, lanes: list[Lane], shape: str, loads: tuple[str, ...], upstream: UpstreamArgv = upstream_argv,
    check: Callable[[Runner], None] = lambda runner: None, starts: int = 1,
) -> dict[str, Any]:  # fmt: skip
    turns: list[Turn] = []
    for start in range(starts if lanes else 0):
        folder = ask.folder / f"{row}-{start}"
        with Stage(folder, ask.cores, upstream) as stage:
            turns += measure(stage.start_all(lanes), SHAPES[shape], ask.plan, loads, folder, check)
    return {"turns": [asdict(turn) for turn in turns], "medians": medians(turns)}


ROWS: dict[str, Callable[[Ask], dict[str, Any]]] = {
    "small": lambda ask: measure_shape("small", ask),
    "small-traced": lambda ask: measure_shape("small-traced", ask, (SATURATION,)),
    "large-request": lambda ask: measure_shape("large-request", ask),
    "large-answer": lambda ask: measure_shape("large-answer", ask),
    "rules": measure_rules,
    "armed": measure_armed,
    "mirror": measure_mirror,
    "spans": measure_spans,
    "grpc": lambda ask: measure_grpc("grpc", ask, (FEW, MANY)),
    "grpc-large": lambda ask: measure_grpc("grpc-large", ask, (FEW,), shape="grpc-large"),
    "grpc-tls": lambda ask: measure_grpc("grpc-tls", ask, (FEW, MANY), variant="grpc tls"),
    "idle": measure_idle_row,
    "start": measure_start_row,
}
"""Name → what measures it, in the order of the report."""


def measure_rows(names: list[str], ask: Ask) -> dict[str, Any]:
    """Measure the rows one after the other; says on standard error which one it is at."""
    os.sched_setaffinity(0, ask.cores.load)
    result = {}
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        result[name] = ROWS[name](ask)
    return result
