"""Slow start: an endpoint that is new or came back gets its full share bit by bit (Envoy `SlowStartConfig`).

    factor = max(min_percent / 100, (t / window) ** (1 / aggression))

It scales the weight in round robin, least request (both Envoy's) and peak EWMA.
"""

from turnout.rules.resilience import SlowStart

LEAST_ELAPSED_S = 0.001
"""Envoy's: at the first moment too some weight is left."""


def factor(config: SlowStart, since: float, now: float) -> float:
    """By how much a weight is scaled, in (0, 1]: 1 once the window that began at `since` is over."""
    elapsed = max(now - since, LEAST_ELAPSED_S)
    if elapsed >= config.window_s:
        return 1.0
    grown: float = (elapsed / config.window_s) ** (1 / config.aggression)
    return min(1.0, max(config.min_percent / 100, grown))
