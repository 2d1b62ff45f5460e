"""Which protocol an accepted connection gets: one that serves, or, beyond the limits, one that says 503.

A connection is counted when it is told that it is made. uvloop does that before it accepts the next (asyncio's own loop
accepts all that wait first), so that the count is true whenever this is asked; a test holds it to that.
"""

import asyncio
import socket
from collections.abc import Callable

from turnout.proxy.net.refusal import Refusals
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import Word
from turnout.proxy.worker.overload import OverloadManager

_CONNECTIONS = int(Word.CONNECTIONS_ACTIVE)


class Door:
    """One per worker, for all of its listeners."""

    __slots__ = ("_counters", "_manager", "_refusals")

    def __init__(self, manager: OverloadManager, counters: Counters, refusals: Refusals) -> None:
        self._manager = manager
        self._counters = counters
        self._refusals = refusals

    def admit(self, make: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """What `make` gives, or a refusal."""
        return make() if self.is_open() else self._refusals.refuse()

    def admit_tls(self, sock: socket.socket, begin: Callable[[], object]) -> None:
        """Let a handshake begin, or cut it: an answer would have to be in TLS, which costs more than all the rest."""
        if self.is_open():
            begin()
        else:
            self._counters.add(Word.CONNECTIONS_REFUSED)
            sock.close()

    def is_open(self) -> bool:
        """Whether one more may come."""
        counters = self._counters
        return self._manager.may_accept(counters.words[_CONNECTIONS], counters.total(_CONNECTIONS))
