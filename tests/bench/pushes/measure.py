"""Changes, one after the other, and what each of them costs.

The time from accept to the last ACK is the control plane's own (`turnout_control_convergence_seconds`): accept is when
the change is in the store. It includes the debounce, which a single change waits out whole, so the time without it is
that less the debounce. Bytes and pushes are the control plane's, too; what came where is checked against the clients.

CPU is that of the control plane in a window that begins with the apply, less what it uses in as long a time when
nothing happens. It includes the check of all documents, the store, compiling and translating, as well as the push.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from pushes.fleet import Fleet, FleetFailed, Heard
from pushes.plane import Plane
from sidebyside import processes

IDLE_WINDOWS = 3
ANSWERS_S = 30.0
RESPONSE_TYPE = "ClusterLoadAssignment"


class Edit(NamedTuple):
    """A document to apply, and the cluster whose endpoints it changes (None: nothing that a client here gets)."""

    text: str
    cluster: str | None


@dataclass(frozen=True)
class Change:
    """What one change cost.

    `acked_s` is from accept to the last ACK; `seen_s` is from the request of the apply until the last client has
    answered, seen from outside. None if nobody was told anything. `applied_s` is how long the request took.
    """

    acked_s: float | None
    seen_s: float | None
    applied_s: float
    pushes: int
    bytes: int
    cpu_s: float
    others: float
    """What others used of the control plane's core meanwhile: 0 is nothing, 1 all of it."""


def measure(
    plane: Plane, fleet: Fleet | None, edit: Callable[[int], Edit], changes: range, window_s: float
) -> list[Change]:
    """So many changes, with these clients. Raises FleetFailed if a push is not what it should be."""
    idle = _idle_cpu_s(plane, window_s)
    found = [_measure(plane, fleet, edit(number), window_s, idle) for number in changes]
    if fleet is not None:
        check_heard(_hear(fleet, set()), set(), None)
    return found


def summarise(name: str, clients: int, changes: list[Change], debounce_s: float) -> dict[str, Any]:
    """A row of the report."""
    acked = [change.acked_s for change in changes if change.acked_s is not None]
    return {
        "name": name,
        "clients": clients,
        "changes": len(changes),
        "debounce_s": debounce_s,
        "acked_p50_s": _percentile(acked, 50),
        "acked_p99_s": _percentile(acked, 99),
        "seen_p50_s": _percentile([change.seen_s for change in changes if change.seen_s is not None], 50),
        "applied_p50_s": statistics.median(change.applied_s for change in changes),
        "pushes": statistics.median(change.pushes for change in changes),
        "bytes": statistics.median(change.bytes for change in changes),
        "others": statistics.median(change.others for change in changes),
        "cpu_s": statistics.median(change.cpu_s for change in changes),
        "each": [change.__dict__ for change in changes],
    }


def _measure(plane: Plane, fleet: Fleet | None, edit: Edit, window_s: float, idle_s: float) -> Change:
    takers = fleet.takers(edit.cluster) if fleet is not None and edit.cluster is not None else set()
    before = plane.numbers()
    if fleet is not None and takers:
        fleet.expect(takers)
    with _window(window_s):
        busy_s, cpu_s, started = processes.busy_s(plane.cores), plane.child.cpu_s(), time.monotonic()
        state = plane.apply(edit.text)
        applied_s = time.monotonic() - started
        heard = fleet.hear() if fleet is not None and takers else None
    cpu_s = plane.child.cpu_s() - cpu_s
    others = (processes.busy_s(plane.cores) - busy_s - cpu_s) / (time.monotonic() - started) / len(plane.cores)
    plane.wait_published(state)
    if fleet is not None:
        check_heard(heard or _hear(fleet, set()), takers, edit.cluster)
    # The clients have sent their answers, which is a moment before they are counted.
    told = min(1, len(takers))
    processes.wait_until(lambda: plane.numbers().since(before).converged >= told, "all answers are counted", ANSWERS_S)
    cost = plane.numbers().since(before)
    if (cost.pushes, cost.nacks, cost.converged) != (len(takers), 0, told):
        raise FleetFailed(f"{len(takers)} clients are concerned by a change, and the control plane counts {cost}")
    acked_s, seen_s = (cost.converged_s, heard.last - started) if heard is not None else (None, None)
    return Change(acked_s, seen_s, applied_s, cost.pushes, cost.bytes, cpu_s - idle_s, max(0.0, others))


def _hear(fleet: Fleet, clients: set[int]) -> Heard:
    fleet.expect(clients)
    return fleet.hear()


def check_heard(heard: Heard, takers: set[int], cluster: str | None) -> None:
    """Only that resource, and to those who subscribe to it alone."""
    found = sorted(push.client for push in heard.pushes)
    if found != sorted(takers):
        raise FleetFailed(f"{len(found)} pushes came to {len(set(found))} clients, where {len(takers)} should get one")
    for push in heard.pushes:
        if (push.type, push.names) != (RESPONSE_TYPE, [cluster]):
            raise FleetFailed(f"client {push.client} got {push.type} {push.names} where {cluster} has changed")


def _idle_cpu_s(plane: Plane, window_s: float) -> float:
    """The least of a few windows: clients that have just connected are still settling."""
    found = []
    for _ in range(IDLE_WINDOWS):
        before = plane.child.cpu_s()
        with _window(window_s):
            pass
        found.append(plane.child.cpu_s() - before)
    return min(found)


@contextmanager
def _window(seconds: float) -> Iterator[None]:
    """Lasts so long at least: what is measured is what happens in a stretch of time."""
    end = time.monotonic() + seconds
    yield
    time.sleep(max(0.0, end - time.monotonic()))


def _percentile(values: list[float], percent: int) -> float | None:
    """By the nearest rank; of few values, the 99th is the largest."""
    if not values:
        return None
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
