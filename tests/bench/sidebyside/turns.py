"""Turns: the same load on one proxy after the other, again and again (A B C D A B C D …).

Interleaving spreads what changes over minutes (a neighbour on the machine, clock and heat) over all of
them; the median of a proxy's turns is what counts.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sidebyside.checks import AccessLog, check_answers, check_load, check_split
from sidebyside.load import Load, Target, at_rate, saturate, stream
from sidebyside.processes import busy_s
from sidebyside.stage import Runner
from sidebyside.work import FIXED_RATE, Shape

SATURATION = "saturation"
FIXED = "fixed rate"
FEW, MANY = "4 × 10", "1 × 100"
"""Connections of HTTP/2, and streams at a time on each of them, as fast as it goes."""

LOADS: dict[str, Callable[[Target, float], Load]] = {
    SATURATION: saturate,
    FIXED: lambda target, seconds: at_rate(target, FIXED_RATE, seconds),
    FEW: lambda target, seconds: stream(target, 4, 10, seconds),
    MANY: lambda target, seconds: stream(target, 1, 100, seconds),
}
"""Name of a kind of load → what makes it."""


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    turns: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True)
class Turn:
    """What one turn showed. CPU time is that of all the proxy's processes, for each request of the turn.

    `others` is the share of the proxy's core that anybody else used: what is measured beside a busy neighbour has
    cold caches, and waits, so the report says how much of that there was.
    """

    lane: str
    load: str
    requests: int
    cpu_us: float
    per_second: float
    p50_ms: float
    p99_ms: float
    pss_bytes: int
    others: float


def measure(
    runners: list[Runner], shape: Shape, plan: Plan, loads: tuple[str, ...], folder: Path,
    check: Callable[[Runner], None] = lambda runner: None,
) -> list[Turn]:  # fmt: skip
    """Check and warm up all, then take the turns; `check` is one more, before and after them. Raises WrongAnswer,
    LoadFailed, ProcessDied."""
    folder.mkdir(parents=True, exist_ok=True)
    seats = [Seat(runner, Target(folder, runner.setup.listen, runner.lane.table, shape)) for runner in runners]
    for seat in seats:
        check_split(seat.runner, seat.target)
        seat.log.expect(LOADS[loads[0]](seat.target, plan.warm_up_s).requests)
    for runner in runners:
        check(runner)
    turns = [seat.take_turn(load, plan.seconds) for _ in range(plan.turns) for load in loads for seat in seats]
    for seat in seats:
        seat.log.settle()
        check(seat.runner)
    return turns


class Seat:
    """A proxy at the table: what it is asked, and its access log."""

    def __init__(self, runner: Runner, target: Target) -> None:
        self.runner = runner
        self.target = target
        self.log = AccessLog(runner.launch.access_log)

    def take_turn(self, kind: str, seconds: float) -> Turn:
        """One turn, with all its checks."""
        child, target = self.runner.child, self.target
        child.check()
        self.log.settle()
        check_answers(self.runner, target)
        before_s, busy_before_s, began_s = child.cpu_s(), busy_s(child.cores), time.monotonic()
        load = LOADS[kind](target, seconds)
        cpu_s, seconds_passed = child.cpu_s() - before_s, time.monotonic() - began_s
        others_s = max(0.0, busy_s(child.cores) - busy_before_s - cpu_s)
        check_load(self.runner.lane.label, load, target)
        self.log.expect(load.requests)
        return _turn(self.runner, kind, load, cpu_s, others_s / seconds_passed)


def _turn(runner: Runner, kind: str, load: Load, cpu_s: float, others: float) -> Turn:
    return Turn(
        lane=runner.lane.label,
        load=kind,
        requests=load.requests,
        cpu_us=cpu_s / load.requests * 1e6,
        per_second=load.per_second,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        pss_bytes=runner.child.pss_bytes(),
        others=others,
    )


def medians(turns: list[Turn]) -> dict[str, dict[str, dict[str, float]]]:
    """Lane → load → figure → median over the turns."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for turn in turns:
        groups.setdefault((turn.lane, turn.load), []).append(asdict(turn))
    result: dict[str, dict[str, dict[str, float]]] = {}
    for (lane, load), group in groups.items():
        figures = {name: statistics.median(t[name] for t in group) for name in group[0] if name not in ("lane", "load")}
        result.setdefault(lane, {})[load] = figures
    return result
