"""The book of a cluster's ejections: who is out, how long, and whether one more may go.

Rules (Envoy's `DetectorImpl::ejectHost`, but for the last two):

* One more may go if (ejected + 1) / all is at most `max_ejection_percent`, or none is out and `always_eject_one`.
* An ejection lasts min(base × multiplier, max) + jitter. The multiplier grows by one with each ejection, as far as the
  maximum has room for it, and falls by one at each interval that begins with the endpoint back for an interval.
* With `min_available_percent`, so many of all endpoints, rounded up and at least one, are not ejected. None is ejected
  either that is needed because others are out for another reason (a failed check, an open breaker).
* Where endpoints go away ejected ones come back for that, the one that would have come first. But what is bad does
  not come back for what is out for another reason, unless there is nothing else.
"""

from collections.abc import Callable, Collection, Iterator
from math import ceil

from turnout.proxy.cluster.outliers.decision import Kind, Reason
from turnout.rules.resilience import OutlierDetection


class _Record:
    """What is remembered of an endpoint. `until` None: it is not ejected."""

    __slots__ = ("ejected_at", "kind", "multiplier", "times", "unejected_at", "until")

    def __init__(self) -> None:
        self.kind: Kind = "consecutive_5xx"
        self.ejected_at = 0.0
        self.until: float | None = None
        self.unejected_at: float | None = None
        self.multiplier = 0
        self.times = 0


class Ejections:
    """`random` gives numbers in [0, 1), for the jitter."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._records: dict[str, _Record] = {}
        self._held: frozenset[str] = frozenset()

    def __contains__(self, key: str) -> bool:
        """Whether it is an endpoint, ejected or not."""
        return key in self._records

    def set_endpoints(self, keys: Collection[str], held: Collection[str]) -> None:
        """`held` are those of `keys` that get no requests for another reason than an ejection."""
        self._records = {key: self._records.get(key) or _Record() for key in keys}
        self._held = frozenset(held)

    @property
    def ejected(self) -> dict[str, float]:
        """Until when, by key."""
        return {key: record.until for key, record in self._records.items() if record.until is not None}

    def is_ejected(self, key: str) -> bool:
        return self._records[key].until is not None

    def present(self) -> list[str]:
        """Those that are not ejected."""
        return [key for key, record in self._records.items() if record.until is None]

    def kind(self, key: str) -> Kind:
        """Of the last ejection."""
        return self._records[key].kind

    def counts(self) -> dict[str, float | int]:
        """For an event's numbers."""
        return {"endpoints": len(self._records), "ejected": len(self._records) - len(self.present())}

    # Out

    def refusal(self, config: OutlierDetection, key: str) -> Reason:
        """Why this endpoint, which is not ejected, may not be; "" if it may."""
        out, total = sum(record.until is not None for record in self._records.values()), len(self._records)
        within = 100.0 * (out + 1) / total <= config.max_ejection_percent
        if not (within or (config.always_eject_one and not out)):
            return "max_ejection_percent"
        if config.min_available_percent is None:
            return ""
        left = total - out if key in self._held else self._available()
        return "min_available" if left - 1 < _floor(total, config.min_available_percent) else ""

    def eject(self, config: OutlierDetection, key: str, kind: Kind, now: float) -> float:
        """Returns when it ends."""
        record = self._records[key]
        record.kind, record.ejected_at = kind, now
        record.times += 1
        base_s, max_s = config.base_ejection_s, config.max_ejection_s
        if record.multiplier * base_s < max_s + base_s:
            record.multiplier += 1
        # Whole milliseconds from 0 to the jitter inclusive, as Envoy draws them.
        jitter_s = int(self._random() * (int(config.ejection_jitter_s * 1000) + 1)) / 1000
        record.until = now + min(base_s * record.multiplier, max_s) + jitter_s
        return record.until

    # Back

    def due(self, now: float) -> list[str]:
        return [key for key, until in self.ejected.items() if until <= now]

    def missing(self, config: OutlierDetection) -> Iterator[str]:
        """Ejected ones whose return `min_available_percent` asks for; asked again after each that came back."""
        if config.min_available_percent is None:
            return
        floor = _floor(len(self._records), config.min_available_percent)
        ejected = sorted((key in self._held, until, key) for key, until in self.ejected.items())
        for is_held, _, key in ejected:
            is_all_there_is = not is_held and not self._available()
            if not is_all_there_is and len(self.present()) >= floor:
                return
            yield key

    def uneject(self, key: str, now: float) -> dict[str, float | int]:
        """End an ejection. Returns what is to be told of it."""
        record = self._records[key]
        record.until, record.unejected_at = None, now
        return {"lasted_s": round(now - record.ejected_at, 3), "times": record.times}

    def on_interval_end(self, interval_s: float, now: float) -> None:
        """Forgive those that have been back for an interval."""
        for record in self._records.values():
            if record.until is None and record.unejected_at is not None and record.multiplier:
                record.multiplier -= now - record.unejected_at >= interval_s

    def _available(self) -> int:
        return sum(record.until is None and key not in self._held for key, record in self._records.items())


def _floor(total: int, percent: float) -> int:
    return max(1, ceil(total * percent / 100.0))
