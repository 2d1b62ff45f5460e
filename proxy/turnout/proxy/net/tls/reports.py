"""Failed handshakes as the supervisor is told of them: each counted, and not more than so many told.

Anybody can make a handshake fail, as often as he likes; a log has to stay readable. Of one place (a listener, or an
endpoint) and one reason a line comes at most every `EVERY_S`, and says how many there were in between; and no more
than `MAX_PLACES` of them are remembered.
"""

from collections.abc import Callable
from typing import NamedTuple

from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import Word
from turnout.proxy.telemetry.tls import Side, TlsFailure, failure_offset

EVERY_S = 1.0
MAX_PLACES = 256


class Report(NamedTuple):
    """One line. `others`: so many more there were since the last one."""

    side: Side
    place: str
    peer: str
    reason: str
    text: str
    others: int


class TlsReports:
    """Of one worker."""

    def __init__(self, counters: Counters, clock: Callable[[], float], tell: Callable[[Report], None]) -> None:
        self._counters = counters
        self._clock = clock
        self._tell = tell
        self._told: dict[tuple[str, TlsFailure], tuple[float, int]] = {}

    def on_connection(self, side: Side) -> None:
        """A handshake went well."""
        word = Word.TLS_DOWNSTREAM_TOTAL if side == "downstream" else Word.TLS_UPSTREAM_TOTAL
        self._counters.add(word)

    def on_failure(self, side: Side, place: str, peer: str, failure: TlsFailure, text: str) -> None:
        """A handshake failed. A client that goes away in the middle of one is counted and no more: so do port scans."""
        self._counters.add(Word.TLS_FAILURES + failure_offset(side, failure))
        if side == "downstream" and failure is TlsFailure.CLOSED:
            return
        now, key = self._clock(), (place, failure)
        told_at, others = self._told.get(key, (now - EVERY_S, 0))
        if now < told_at + EVERY_S:
            self._told[key] = told_at, others + 1
            return
        if len(self._told) >= MAX_PLACES:
            self._told.clear()
        self._told[key] = now, 0
        self._tell(Report(side, place, peer, str(failure), text, others))
