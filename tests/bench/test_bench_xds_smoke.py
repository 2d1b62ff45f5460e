"""The measurement of pushes at a small size: it runs, counts right, and notices what must not be."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pushes.fleet import FleetFailed, Heard, Push
from pushes.measure import Change, check_heard, summarise
from pushes.report import judge, markdown
from pushes.rows import Size, measure_rows
from pushes.rules import cluster, everything, predictor
from sidebyside.processes import Cores

from turnout.rules.compile import compile_documents
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Report

ENDPOINTS = "ClusterLoadAssignment"


def test_a_small_measurement_passes_its_own_checks_and_is_reported(tmp_path: Path) -> None:
    cores = frozenset(os.sched_getaffinity(0))
    size = Size(clients=6, routes=20, changes=2, window_s=0.05, debounce_s=0.02)
    rows = measure_rows(size, Cores(cores, cores), tmp_path)
    assert {name: row["pushes"] for name, row in rows.items()} == {
        "nobody": 0, "one": 1, "all": 6, "few": 3, "none-alone": 0, "none": 0, "selected": 1,
    }  # fmt: skip
    assert rows["all"]["acked_p50_s"] > size.debounce_s
    assert len(judge(rows)) == 5
    assert "| an endpoint moves, all take it | 6 | 6 |" in markdown(rows, 20, 40)


def test_the_rules_have_a_route_and_two_endpoints_for_each_number() -> None:
    report = Report()
    compiled = compile_documents(read_documents("rules.yaml", everything(30), report), report)
    assert report.found == []
    assert compiled.snapshot is not None
    assert len(list(compiled.snapshot.routes())) == len(compiled.snapshot.clusters) == 30
    assert sum(len(c.endpoints) for c in compiled.snapshot.clusters) == 60
    assert cluster(7) in {c.name for c in compiled.snapshot.clusters}


def test_a_change_moves_one_endpoint() -> None:
    before, after = predictor(3).split(), predictor(3, 9).split()
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


@pytest.mark.parametrize(
    "pushes",
    [
        [],
        [Push(1, ENDPOINTS, ["a"], 9)],
        [Push(n, ENDPOINTS, ["a"], 9) for n in (1, 2, 2)],
        [Push(1, ENDPOINTS, ["a"], 9), Push(2, ENDPOINTS, ["a", "b"], 9)],
        [Push(1, ENDPOINTS, ["a"], 9), Push(2, "Cluster", ["a"], 9)],
    ],
    ids=["nothing came", "too few", "one came twice", "more than what changed", "another type"],
)
def test_a_push_that_is_not_what_it_should_be_is_noticed(pushes: list[Push]) -> None:
    with pytest.raises(FleetFailed):
        check_heard(Heard(pushes, 0.0), {1, 2}, "a")


def test_percentiles_are_of_the_changes_that_told_somebody() -> None:
    changes = [Change(ms / 1e3, 0.5, 0.01, 1, 200, 0.02, 0.0) for ms in range(101, 201)]
    row = summarise("one", 1, changes, 0.1)
    assert (row["acked_p50_s"], row["acked_p99_s"]) == (0.150, 0.199)
    assert summarise("none", 5, [Change(None, None, 0.01, 0, 0, 0.02, 0.0)], 0.1)["acked_p50_s"] is None
