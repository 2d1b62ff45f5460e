"""Do the spans of a lane come to the collector? What nobody takes is cheaper than what somebody takes, or dearer.

Looked at before the turns, so that the first export, which loads OpenTelemetry (0.2 s), is in none of them; and after.
"""

import urllib.request

from sidebyside.checks import WrongAnswer
from sidebyside.processes import wait_until
from sidebyside.stage import Runner

_FIRST_S = 30.0
"""Spans wait 5 s for others, and OpenTelemetry is loaded."""
_FAULTS = ('{reason="export"}', '{reason="rejected"}')


def check_exports(runner: Runner) -> None:
    """Wait for a first export of a lane that is to have spans. Raises WrongAnswer if its collector did not take what it
    was sent. (More may be recorded than can be sent: what does not fit into the queue is no fault.)"""
    if runner.lane.label.endswith("%"):
        wait_until(lambda: _read(runner, "exported_total") > 0, f"{runner.lane.label} exports spans", _FIRST_S)
    for fault in _FAULTS:
        if lost := _read(runner, f"dropped_total{fault}"):
            raise WrongAnswer(f"{runner.lane.label}: {lost:.0f} spans dropped {fault}")


def _read(runner: Runner, name: str) -> float:
    """One of the counters of spans; 0 if there is none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{runner.setup.admin}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"turnout_spans_{name} "))
