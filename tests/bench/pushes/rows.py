"""The rows of the report, in their order. One control plane serves all of them.

An endpoint of one predictor after the other moves: `nobody` is connected; `one` client that takes everything; `all`,
many of these; `few`: as many, of which each names ten clusters, as gRPC's clients do.
A route changes that is for other proxies: `none-alone`, nobody is connected; `none`, many that take everything.
`selected` is `one` again, while that route exists: then what a proxy gets is compiled apart from the whole.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from pushes.fleet import Fleet
from pushes.measure import Edit, measure, summarise
from pushes.plane import Plane
from pushes.rules import cluster, everything, other, predictor
from sidebyside.processes import Cores

NAMES_EACH = 10
"""Clusters that a client of the row `few` names."""


class Size(NamedTuple):
    """How much of everything; `window_s` is how long the CPU of a change is watched."""

    clients: int
    routes: int
    changes: int
    window_s: float
    debounce_s: float = 0.1


def measure_rows(size: Size, cores: Cores, folder: Path) -> dict[str, Any]:
    """All rows, with one control plane, and its memory at the end of each."""
    rows = {}
    with Plane(folder, size.debounce_s, cores.proxy) as plane:
        plane.wait_published(plane.apply(everything(size.routes)))
        numbers = iter(range(1, 1 << 15))
        for name, clients, edit in _plan(size, numbers):
            with Fleet(plane.xds, clients, cores.load) if clients else nullcontext() as fleet:
                changes = measure(plane, fleet, edit, range(size.changes), size.window_s)
                rows[name] = summarise(name, len(clients), changes, size.debounce_s)
                rows[name]["pss_bytes"] = plane.child.pss_bytes()
    return rows


def _plan(size: Size, numbers: Iterator[int]) -> Iterator[tuple[str, dict[int, list[str]], Callable[[int], Edit]]]:
    """Name, clients with what they name, and the change of a number. `numbers` makes each change a new one."""

    def move(change: int) -> Edit:
        number = change * 7 % size.routes
        return Edit(predictor(number, next(numbers)), cluster(number))

    def move_none(_: int) -> Edit:
        return Edit(other(next(numbers)), None)

    everyone: dict[int, list[str]] = {number: [] for number in range(size.clients)}
    few = {number: _names(number, size.routes) for number in range(size.clients)}
    yield "nobody", {}, move
    yield "one", {0: []}, move
    yield "all", everyone, move
    yield "few", few, move
    yield "none-alone", {}, move_none
    yield "none", everyone, move_none
    yield "selected", {0: []}, move


def _names(client: int, routes: int) -> list[str]:
    count = min(NAMES_EACH, routes)
    return sorted({cluster((client * count + i) % routes) for i in range(count)})
