"""Faults on purpose (Envoy `HTTPFault`), to see what clients do when a model is slow or gone.

A delay and an abort are drawn each by itself, so that of a request that is delayed the same share is aborted as of one
that is not; who gets both waits first (Envoy's fault filter). The flags are DI and FI.
"""

from collections.abc import Callable

from turnout.rules.resilience import Fault

_MILLION = 1_000_000


class FaultInjector:
    """Draws the faults of a route's requests."""

    __slots__ = ("_abort_share", "_abort_status", "_delay_s", "_delay_share")

    def __init__(self, config: Fault) -> None:
        self._delay_s = config.delay_s
        self._delay_share = config.delay_per_million / _MILLION if config.delay_s > 0 else 0.0
        self._abort_status = config.abort_status
        self._abort_share = config.abort_per_million / _MILLION if config.abort_status else 0.0

    def draw(self, random: Callable[[], float]) -> tuple[float, int]:
        """How long the request waits, in seconds, and the status that it is answered with then; 0 for neither.

        `random` gives floats in [0, 1).
        """
        delay_share, abort_share = self._delay_share, self._abort_share
        delay_s = self._delay_s if delay_share and random() < delay_share else 0.0
        return delay_s, self._abort_status if abort_share and random() < abort_share else 0
