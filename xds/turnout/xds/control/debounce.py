"""When to push: a moment after the last of several changes, and not too long after the first. Sans I/O."""

QUIET_S = 0.1
MAX_S = 1.0


class Debounce:
    """`on_change` for each change; at `due`, or later, `take` says that it is time, once."""

    def __init__(self, quiet_s: float = QUIET_S, max_s: float = MAX_S) -> None:
        self._quiet_s = quiet_s
        self._max_s = max_s
        self._first: float | None = None
        self._last = 0.0

    def __repr__(self) -> str:
        return f"<Debounce {'idle' if self._first is None else f'due at {self.due():.3f}'}>"

    def on_change(self, now: float) -> None:
        """Something has changed."""
        if self._first is None:
            self._first = now
        self._last = now

    def due(self) -> float | None:
        """When to call `take`; None: nothing waits."""
        if self._first is None:
            return None
        return min(self._last + self._quiet_s, self._first + self._max_s)

    def take(self, now: float) -> bool:
        """Whether it is time; if so, nothing waits any more."""
        due = self.due()
        if due is None or now < due:
            return False
        self._first = None
        return True
