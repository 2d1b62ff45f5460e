"""The active checks of one endpoint, again and again: check → (warm check) → interval → check …

The interval runs from the end of one check to the begin of the next, with a random part of the jitter on top (Envoy).
An endpoint that waits for its warm check is asked for it after each check that passes.
"""

import asyncio
import random
from collections.abc import Callable

from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.proxy.supervisor.health.probes import Prober
from turnout.proxy.supervisor.health.thresholds import Result
from turnout.proxy.supervisor.options import Address
from turnout.rules.resilience import HealthCheck

LEAST_INTERVAL_S = 0.001
"""Envoy's: whatever the settings, there is time for other things."""


class Checker:
    """One endpoint's task. `judged` is set after the first round.

    `tls` gives that of the endpoint as it is now, None for none. `on_checked` takes a result and says whether the
    endpoint waits for its warm check now.
    """

    def __init__(
        self,
        prober: Prober,
        config: HealthCheck,
        address: Address,
        on_checked: Callable[[Result], bool],
        on_warmed: Callable[[Result], None],
        tls: Callable[[], UpstreamContext | None] = lambda: None,
    ) -> None:
        self.config = config
        self.judged = asyncio.Event()
        self._prober = prober
        self._address = address
        self._on_checked = on_checked
        self._on_warmed = on_warmed
        self._tls = tls
        self.task = asyncio.create_task(self._run(), name=f"health checks of {address}")

    def cancel(self) -> None:
        self.task.cancel()
        self.judged.set()

    async def _run(self) -> None:
        config, prober = self.config, self._prober
        while True:
            wants_warm = self._on_checked(await prober.check(config, self._address, self._tls))
            if wants_warm and config.warms:
                self._on_warmed(await prober.warm(config, self._address, self._tls))
            self.judged.set()
            await asyncio.sleep(max(LEAST_INTERVAL_S, config.interval_s + random.random() * config.interval_jitter_s))
