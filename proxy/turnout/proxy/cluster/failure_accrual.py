"""The breaker of one endpoint: closed → (failures in a row) → open → (back-off) → half-open → closed or open again.

Linkerd's `failure-accrual: consecutive`. Owned by the supervisor, so there is one for all workers. Rules:

* Workers count failures in a row and say when there were enough; what a breaker that is not closed hears of them comes
  of requests that began before, and changes nothing.
* Half-open, the right to send one request is given to the worker of one slot. A slot that has nothing to send for
  `PROBE_WAIT_S` loses it, and the next one has it. Between the two lies `WITHDRAWAL_S` in which nobody has it: what
  the first one sent before it heard of that is still the probe. So there is one at a time.
* While a probe is under way nobody has the right. One whose client left, or takes its time to send it, says nothing,
  and the next slot has it.
* A probe that went well closes the breaker; one that failed opens it for twice as long as before, up to a bound.
"""

from collections.abc import Callable, Collection

from turnout.proxy.cluster.target import State
from turnout.rules.resilience import FailureAccrual

PROBE_WAIT_S = 1.0
WITHDRAWAL_S = 0.1
NO_SLOT = -1


class Breaker:
    """One endpoint's. Times are seconds; `random` gives numbers in [0, 1).

    Methods return whether `state` or `probe_slot` changed; `slots` are those whose workers serve. `wake_at` is when
    `on_timer` is to be called, None for never.
    """

    __slots__ = ("_config", "_holder", "_random", "opened", "probe_slot", "probing", "state", "wake_at")

    def __init__(self, config: FailureAccrual, random: Callable[[], float]) -> None:
        self._config = config
        self._random = random
        self._holder = NO_SLOT
        self.state = State.AVAILABLE
        self.opened = 0
        """How often it opened since it was last closed."""
        self.probe_slot = NO_SLOT
        self.probing = False
        self.wake_at: float | None = None

    def __repr__(self) -> str:
        return f"<Breaker {self.state.name} opened {self.opened}×, probe by {self.probe_slot}, wakes {self.wake_at}>"

    def on_failing(self, now: float) -> bool:
        """So many requests in a row failed as the configuration bears."""
        if self.state is not State.AVAILABLE:
            return False
        self._open(now)
        return True

    def on_probing(self, slot: int) -> bool:
        """That slot's worker sent the probe."""
        if self.state is not State.HALF_OPEN or slot != self._holder or self.probing:
            return False
        self.probing = True
        self.wake_at = None
        before, self.probe_slot = self.probe_slot, NO_SLOT
        return before != NO_SLOT

    def on_probed(self, slot: int, well: bool | None, slots: Collection[int], now: float) -> bool:
        """The probe of that slot's worker ended: well, or not, or (None) in a way that tells nothing."""
        if self.state is not State.HALF_OPEN or slot != self._holder:
            return False
        if well is None:
            return self._grant(slots, now)
        if well:
            self._settle(State.AVAILABLE, None)
            self.opened = 0
        else:
            self._open(now)
        return True

    def on_timer(self, slots: Collection[int], now: float) -> bool:
        """It is `wake_at`."""
        if self.wake_at is None or now < self.wake_at:
            return False
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN
            self._grant(slots, now)
            return True
        if self.probe_slot == NO_SLOT:
            return self._grant(slots, now)
        if set(slots) == {self.probe_slot}:
            self.wake_at = now + PROBE_WAIT_S
            return False
        self.probe_slot = NO_SLOT
        self.wake_at = now + WITHDRAWAL_S
        return True

    def on_slot_gone(self, slot: int, slots: Collection[int], now: float) -> bool:
        """That slot's worker died, with its probe if it had sent it."""
        if self.state is not State.HALF_OPEN or slot != self._holder:
            return False
        return self._grant([other for other in slots if other != slot], now)

    def _open(self, now: float) -> None:
        config = self._config
        # The exponent is bounded: what is opened for years must not compute ever larger numbers.
        penalty = min(config.max_s, config.min_s * 2 ** min(self.opened, 32))
        penalty = min(config.max_s, penalty * (1 + config.jitter * self._random()))
        self.opened += 1
        self._settle(State.OPEN, now + penalty)

    def _settle(self, state: State, wake_at: float | None) -> None:
        self.state = state
        self.probe_slot = self._holder = NO_SLOT
        self.probing = False
        self.wake_at = wake_at

    def _grant(self, slots: Collection[int], now: float) -> bool:
        """Give the probe to the slot after the one that had it."""
        before, self.probing = self.probe_slot, False
        if slots:
            later = [slot for slot in slots if slot > self._holder]
            self.probe_slot = self._holder = min(later or slots)
            self.wake_at = now + PROBE_WAIT_S
        else:
            self.probe_slot = self._holder = NO_SLOT
            self.wake_at = now + WITHDRAWAL_S
        return self.probe_slot != before
