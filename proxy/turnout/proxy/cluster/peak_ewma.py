"""Peak EWMA: the cheaper of a few endpoints, by how late their first bytes come and how much they have to do.

    cost = estimate · (requests in flight + 1) / weight

The estimate is Linkerd's and Finagle's (`tower::load::PeakEwma`): a time above it is believed at once, one below it
pulls it down by `1 - exp(-Δ / decay)`, Δ the time since the last one. What is not heard of fades in the same way.

Both estimates of a comparison fade at the same pace, so only the difference in age of the two counts, and `now` cancels
out: the older one is faded to the age of the newer. There we differ from Linkerd in one thing: it fades to the other's
estimate, not below it, unless it was below it when it was measured. For answers that take seconds an estimate near
zero is a trap: all requests would go to an endpoint that was away for a minute, until its first answer.

An endpoint that has not answered well yet has no estimate (`ewma_s` below 0). One that was never asked is as good as
`default_rtt_s`, so that it is tried (Envoy contrib `peak_ewma`); then it counts as the other one does, and so the
requests in flight decide, until it has answered (Envoy: a penalty of 10⁶).

A failed attempt counts as twice what the endpoint was thought to take, and at least as the time that it took. So an
endpoint that refuses within a millisecond attracts nothing: its cost doubles until it is above the others', and then it
is tried again when that has faded, after `decay · ln 2` or more. In `ewma_s` below 0 stands that factor, and not an
estimate.
"""

from collections.abc import Callable, Sequence
from math import exp
from typing import Final

from turnout.proxy.cluster.draw import draw
from turnout.proxy.cluster.endpoint import Endpoint

UNKNOWN: Final = -1.0
"""`ewma_s` of an endpoint that has not answered; -2, -4 … if it failed."""
LEAST_RTT_S: Final = 1e-5
"""No endpoint costs nothing, however coarse the clock: requests in flight must count."""
FAILURE_FACTOR: Final = 2.0
MAX_FAILURE_FACTOR: Final = 64.0
NEGLIGIBLE: Final = 0.001
"""Of the decay time: what is no older than this has not faded."""
MAX_PENALTY_S: Final = 3600.0
"""Failures alone raise an estimate to here at most: above the cost of a live endpoint with many long answers in flight
(40 of 10 s are 400), so that a dead one never looks like the better choice; it fades within 10 decay times."""


def observe_peak(endpoint: Endpoint, rtt_s: float, now: float, decay_s: float) -> None:
    """The first byte of an answer came `rtt_s` seconds after the request was sent."""
    ewma = endpoint.ewma_s
    if rtt_s < LEAST_RTT_S:
        rtt_s = LEAST_RTT_S
    if rtt_s >= ewma or ewma < 0.0:
        endpoint.ewma_s = rtt_s
    else:
        age = (now - endpoint.ewma_at) / decay_s
        # 1 - exp(-age), to within half of its square where requests come one after the other.
        endpoint.ewma_s = ewma - (ewma - rtt_s) * (age if age < NEGLIGIBLE else 1.0 - exp(-age))
    endpoint.ewma_at = now


def observe_failure(endpoint: Endpoint, rtt_s: float, now: float, decay_s: float) -> None:
    """An attempt failed after `rtt_s` seconds: no connection, no answer, or one that says it is the server's fault."""
    ewma = endpoint.ewma_s
    fading = exp((endpoint.ewma_at - now) / decay_s)
    # Never less than before: twice what has faded to a trace would make a failure look like an improvement.
    if ewma < 0.0:
        endpoint.ewma_s = -max(-ewma, min(FAILURE_FACTOR * max(1.0, -ewma * fading), MAX_FAILURE_FACTOR))
    else:
        endpoint.ewma_s = max(rtt_s, ewma, min(FAILURE_FACTOR * ewma * fading, MAX_PENALTY_S))
    endpoint.ewma_at = now


def observe_wait(endpoint: Endpoint, waited_s: float, now: float) -> None:
    """No answer for `waited_s` seconds, and nobody waits any longer: so its time would have been more than that.

    With 0 seconds also for an answer that says nothing of how fast it is (4xx): it has been asked.
    """
    if endpoint.ewma_s == UNKNOWN:
        endpoint.ewma_at = now
    elif waited_s > endpoint.ewma_s >= 0.0:
        endpoint.ewma_s = waited_s
        endpoint.ewma_at = now


def is_cheaper(one: Endpoint, other: Endpoint, decay_s: float, default_rtt_s: float) -> bool:
    """Whether the cost of `one` is less than that of `other`."""
    a, b = one.ewma_s, other.ewma_s
    if a < 0.0 or b < 0.0:
        a, b = _assume(one, other, decay_s, default_rtt_s)
    age = one.ewma_at - other.ewma_at
    if age < 0.0:
        if a > b:
            a = max(b, a * exp(age / decay_s))
    elif b > a:
        b = max(a, b * exp(-age / decay_s))
    return a * (one.active + 1) * other.weight < b * (other.active + 1) * one.weight


def _assume(one: Endpoint, other: Endpoint, decay_s: float, default_rtt_s: float) -> tuple[float, float]:
    """Estimates where at least one of two has none."""
    a, b = one.ewma_s, other.ewma_s
    if a < 0.0 and b < 0.0:
        return -a * default_rtt_s, -b * default_rtt_s
    if a < 0.0:
        return _assume_one(one, b, default_rtt_s), b
    return a, _assume_one(other, a, default_rtt_s)


def _assume_one(unknown: Endpoint, known_s: float, default_rtt_s: float) -> float:
    if not unknown.ewma_at and not unknown.active:
        return default_rtt_s
    return -unknown.ewma_s * known_s


class PeakEwma:
    """The cheapest of `choice_count` endpoints drawn at random, each at most once; of all, if there are no more.

    `random` gives numbers in [0, 1).
    """

    __slots__ = ("_choices", "_decay_s", "_default_rtt_s", "_negligible_s", "_random")

    def __init__(self, decay_s: float, default_rtt_s: float, choice_count: int, random: Callable[[], float]) -> None:
        self._decay_s = decay_s
        self._negligible_s = NEGLIGIBLE * decay_s
        self._default_rtt_s = default_rtt_s
        self._choices = choice_count
        self._random = random

    def pick(self, endpoints: Sequence[Endpoint], now: float, hash: int = 0) -> Endpoint:
        """One of `endpoints`, which are not empty."""
        count = len(endpoints)
        if count == 2:
            one, other = endpoints
        elif count == 1:
            return endpoints[0]
        elif self._choices == 2:
            # Both from one number: a pair in order, (i, j) with i != j.
            i, j = divmod(int(self._random() * (count * (count - 1))), count - 1)
            one, other = endpoints[i], endpoints[j + (j >= i)]
        else:
            return self._pick_of_many(endpoints)
        a, b, age, least = one.ewma_s, other.ewma_s, one.ewma_at - other.ewma_at, self._negligible_s
        if age >= least or age <= -least or a < 0.0 or b < 0.0:
            return self._pick_carefully(one, other)
        # The same where both were heard of just now, so that nothing has faded: the path of most requests.
        a *= (one.active + 1) * other.weight
        b *= (other.active + 1) * one.weight
        return one if a < b or (a == b and self._random() < 0.5) else other

    def _pick_carefully(self, one: Endpoint, other: Endpoint) -> Endpoint:
        if self._random() < 0.5:
            one, other = other, one
        return other if is_cheaper(other, one, self._decay_s, self._default_rtt_s) else one

    def _pick_of_many(self, endpoints: Sequence[Endpoint]) -> Endpoint:
        best, *others = draw(endpoints, self._choices, self._random)
        for other in others:
            if is_cheaper(other, best, self._decay_s, self._default_rtt_s):
                best = other
        return best
