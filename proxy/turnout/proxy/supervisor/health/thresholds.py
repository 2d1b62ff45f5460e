"""What the active checks of one endpoint amount to: Envoy's thresholds, and the warm check.

Rules (Envoy's `HealthCheck`, where not said otherwise):

* An endpoint is not healthy before its first check; the first one that passes is enough to make it so.
* After that `healthy_threshold` passed checks in a row make it healthy, and `unhealthy_threshold` that were not
  answered make it unhealthy. An answer with a status that is not expected does so at once: it was asked and said no.
* Ours: what has become healthy gets no request before its warm check passed. What was unhealthy is warmed again: a
  model server that is back is mostly a new process.
"""

from typing import Literal

import msgspec

from turnout.proxy.cluster.target import State
from turnout.rules.resilience import HealthCheck


class Result(msgspec.Struct, frozen=True):
    """How one check went: `refused` is an answer that is not the expected one, `unanswered` everything else."""

    outcome: Literal["passed", "refused", "unanswered"]
    detail: str = ""
    took_s: float = 0.0

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"


class Health:
    """One endpoint's; `healthy` is one that served before it was checked.

    `state` is AVAILABLE, FAILED_CHECK or WARMING; methods return whether it changed.
    """

    __slots__ = ("_config", "_failed", "_passed", "_warm", "checked", "healthy", "last", "last_warm")

    def __init__(self, config: HealthCheck, healthy: bool = False) -> None:
        self._config = config
        self._passed = 0
        self._failed = 0
        self._warm = healthy or not config.warms
        self.checked = healthy
        self.healthy = healthy
        self.last = Result("unanswered", "not checked yet")
        self.last_warm: Result | None = None

    def __repr__(self) -> str:
        return f"<Health {self.state.name} {self._passed}+ {self._failed}- last {self.last.outcome}>"

    @property
    def state(self) -> State:
        if not self.healthy:
            return State.FAILED_CHECK
        return State.AVAILABLE if self._warm else State.WARMING

    def configure(self, config: HealthCheck) -> None:
        """Go by other settings; what is known stays."""
        self._config = config
        if not config.warms:
            self._warm = True

    def on_checked(self, result: Result) -> bool:
        """A check ended."""
        before = self.state
        first, self.checked = not self.checked, True
        self.last = result
        if result.passed:
            self._failed = 0
            self._passed += 1
            if not self.healthy and (first or self._passed >= self._config.healthy_threshold):
                self.healthy = True
        else:
            self._passed = 0
            self._failed += 1
            if result.outcome == "refused" or self._failed >= self._config.unhealthy_threshold:
                self.healthy = False
                self._warm = not self._config.warms
        return self.state is not before

    def on_warmed(self, result: Result) -> bool:
        """A warm check ended."""
        before = self.state
        self.last_warm = result
        if result.passed:
            self._warm = True
        return self.state is not before
