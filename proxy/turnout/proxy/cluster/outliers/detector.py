"""Outlier detection of one cluster, owned by the supervisor: what was seen goes in, decisions come out.

It is told three kinds of things: that a worker saw failures in a row (`on_failing`, at once), what all endpoints did in
an interval (`on_interval`, at `wake_at`), and that an active health check passed. Each answers with the decisions that
follow from it, already entered in the book of ejections. Formulas and their order are Envoy's
(`source/common/upstream/outlier_detection_impl.cc`); other than there

* an endpoint that the success rate has just ejected is not ejected once more by the failure percentage;
* latency is looked at, after the rest, and a passed health check does not end an ejection for latency, since a check
  says nothing about it;
* `min_available_percent` holds (`ejections`), and what is forbidden is told, with its numbers.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from turnout.proxy.cluster.latency import Cells
from turnout.proxy.cluster.outliers.decision import Decision, Kind, Numbers, Reason
from turnout.proxy.cluster.outliers.ejections import Ejections
from turnout.proxy.cluster.outliers.sample import Sample
from turnout.proxy.cluster.outliers.slow import WINDOW, find_slow
from turnout.proxy.cluster.outliers.success_rate import (
    Outlier,
    Rate,
    failure_percentage_outliers,
    success_rate_outliers,
)
from turnout.rules.resilience import OutlierDetection


class OutlierDetector:
    """`config` may be replaced at any time: what was learnt stays. `random` gives numbers in [0, 1)."""

    def __init__(self, config: OutlierDetection, random: Callable[[], float]) -> None:
        self.config = config
        self._random = random
        self._interval_began: float | None = None
        self._ejections = Ejections(random)
        self._history: dict[str, deque[Cells]] = {}
        self._told: set[tuple[str, Kind, Reason]] = set()
        self._returned: set[str] = set()

    @property
    def wake_at(self) -> float | None:
        """When the interval ends and `on_interval` is to be called, in seconds; None while there are no endpoints."""
        return None if self._interval_began is None else self._interval_began + self.config.interval_s

    @property
    def ejected(self) -> dict[str, float]:
        """Who is ejected, and until when at least."""
        return self._ejections.ejected

    def set_endpoints(self, keys: Collection[str], now: float, held: Collection[str] = ()) -> list[Decision]:
        """These are the endpoints now, each with a key of its own. To be told at each change.

        `held` are those that get no requests for another reason (unhealthy, a failed check, an open breaker). By
        `min_available_percent`, ejected ones may have to come back.
        """
        self._ejections.set_endpoints(keys, held)
        self._history = {key: self._history.get(key) or deque(maxlen=WINDOW) for key in keys}
        if not keys:
            self._interval_began = None
        elif self._interval_began is None:
            self._interval_began = now
        return [self._uneject(key, "min_available", now) for key in self._ejections.missing(self.config)]

    def on_failing(self, key: str, kind: Kind, count: int, now: float) -> list[Decision]:
        """A worker saw `count` failures of a kind in a row. What is old news (an endpoint that is gone or ejected, a
        threshold that is another now) decides nothing.

        Raises ValueError if `kind` is not one of failures in a row.
        """
        threshold, enforcing = self._consecutive(kind)
        if not 0 < threshold <= count or key not in self._ejections or self._ejections.is_ejected(key):
            return []
        return list(self._eject(key, kind, {"consecutive": count, "threshold": threshold}, enforcing, now))

    def on_health_check_passed(self, key: str, now: float) -> list[Decision]:
        """An active health check says that it is healthy, not only that one check of several went well."""
        if not self.config.uneject_on_health_check or key not in self.ejected:
            return []
        if self._ejections.kind(key) == "latency":
            return []
        return [self._uneject(key, "health_check_passed", now)]

    def on_interval(self, samples: Mapping[str, Sample], now: float) -> list[Decision]:
        """An interval is over; `samples` are what each endpoint did in it."""
        config = self.config
        self._told.clear()
        self._interval_began = now if self._history else None
        decisions = [self._uneject(key, "time_is_over", now) for key in self._ejections.due(now)]
        decisions += self._judge_rates(_external_rates(samples, split=config.split_local_origin), now, local=False)
        if config.split_local_origin:
            decisions += self._judge_rates(_local_rates(samples), now, local=True)
        decisions += self._judge_latency(samples, now)
        self._ejections.on_interval_end(config.interval_s, now)
        return decisions

    # What is judged

    def _consecutive(self, kind: Kind) -> tuple[int, int]:
        """The threshold and the enforcing percentage; a threshold of 0 is none."""
        config = self.config
        match kind:
            case "consecutive_5xx":
                return config.consecutive_5xx, config.enforcing_consecutive_5xx
            case "consecutive_gateway_failure":
                return config.consecutive_gateway_failure, config.enforcing_consecutive_gateway_failure
            case "consecutive_local_origin_failure":
                threshold = config.consecutive_local_origin_failure if config.split_local_origin else 0
                return threshold, config.enforcing_consecutive_local_origin_failure
            case _:
                raise ValueError(f"{kind!r} is not told by failures in a row")

    def _judge_rates(self, rates: Iterable[Rate], now: float, *, local: bool) -> Iterator[Decision]:
        config = self.config
        present = set(self._ejections.present())
        valid = [rate for rate in rates if rate.key in present]
        yield from self._eject_all(
            "success_rate_local_origin" if local else "success_rate",
            success_rate_outliers(
                valid,
                config.success_rate_minimum_hosts,
                config.success_rate_request_volume,
                config.success_rate_stdev_factor,
            ),
            config.enforcing_local_origin_success_rate if local else config.enforcing_success_rate,
            now,
        )
        yield from self._eject_all(
            "failure_percentage_local_origin" if local else "failure_percentage",
            failure_percentage_outliers(
                valid,
                config.failure_percentage_minimum_hosts,
                config.failure_percentage_request_volume,
                config.failure_percentage_threshold,
            ),
            config.enforcing_failure_percentage_local_origin if local else config.enforcing_failure_percentage,
            now,
        )

    def _judge_latency(self, samples: Mapping[str, Sample], now: float) -> Iterator[Decision]:
        if self.config.latency is None:
            return
        present = self._ejections.present()
        for key in present:
            # Of one that came back in this interval it is not known what it did while it was ejected.
            if key not in self._returned:
                self._history[key].append(samples[key].cells() if key in samples else {})
        self._returned.clear()
        found = find_slow({key: self._history[key] for key in present}, self.config.latency)
        yield from self._eject_all("latency", found, 100, now)

    # What follows

    def _eject_all(self, kind: Kind, outliers: Iterable[Outlier], enforcing: int, now: float) -> Iterator[Decision]:
        for key, numbers in outliers:
            if not self._ejections.is_ejected(key):
                yield from self._eject(key, kind, numbers, enforcing, now)

    def _eject(self, key: str, kind: Kind, numbers: Numbers, enforcing: int, now: float) -> Iterator[Decision]:
        """Eject it if the bounds allow it, and then with the probability of the enforcing percentage."""
        numbers = {**numbers, **self._ejections.counts()}
        reason = self._ejections.refusal(self.config, key)
        if not reason and self._random() * 100 >= enforcing:
            reason = "not_enforced"
        if not reason:
            until = self._ejections.eject(self.config, key, kind, now)
            yield Decision("eject", key, kind, until, "", {**numbers, "ejection_s": round(until - now, 3)})
        elif (key, kind, reason) not in self._told:
            self._told.add((key, kind, reason))
            yield Decision("kept", key, kind, 0.0, reason, numbers)

    def _uneject(self, key: str, reason: Reason, now: float) -> Decision:
        self._history[key].clear()
        self._returned.add(key)
        numbers = self._ejections.uneject(key, now)
        return Decision("uneject", key, self._ejections.kind(key), 0.0, reason, numbers)


def _external_rates(samples: Mapping[str, Sample], *, split: bool) -> Iterator[Rate]:
    """What upstreams answered. Unless the origins are split, a request without an answer is one that failed there."""
    for key, sample in samples.items():
        requests = sample.requests - sample.local_failures if split else sample.requests
        failures = sample.answers_5xx if split else sample.answers_5xx + sample.local_failures
        yield Rate(key, max(0, requests), max(0, requests - failures))


def _local_rates(samples: Mapping[str, Sample]) -> Iterator[Rate]:
    """Whether upstreams could be reached and asked at all."""
    for key, sample in samples.items():
        yield Rate(key, sample.requests, max(0, sample.requests - sample.local_failures))
