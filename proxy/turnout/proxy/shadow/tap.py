"""What an exchange knows of its shadows: it hands on what comes of the request, and tells how the answer went.

There is one for a request that is copied, and for every request of a route whose gate counts times. It is the bulkhead
between both: what goes wrong with a shadow ends the shadow, and no exception of it comes through to the exchange.
"""

from collections.abc import Sequence

from turnout.proxy.http.head import Data, RequestHead, ResponseHead
from turnout.proxy.shadow.gate import Gate
from turnout.proxy.shadow.observer import Answer, Pair
from turnout.proxy.shadow.shadow import Shadow
from turnout.proxy.shadow.shadows import Shadows


class Tap:
    """Of one request. `pairs` are there if somebody observes; they share the live answer."""

    __slots__ = ("_gate", "_head", "_live", "_pairs", "_shadows", "_shared")

    def __init__(
        self, shared: Shadows, head: RequestHead, shadows: Sequence[Shadow], gate: Gate | None, live: Answer | None,
        pairs: Sequence[Pair],
    ) -> None:  # fmt: skip
        self._shared = shared
        self._head = head
        self._shadows = shadows
        self._gate = gate
        self._live = live
        self._pairs = pairs

    def start(self, data: Data, end: bool) -> None:
        """What has come of the request by now, `end`: all of it."""
        for shadow in self._shadows:
            try:
                shadow.head.trailers = self._head.trailers
                shadow.start(data, end)
            except Exception as error:
                shadow.fail(error)

    def on_body(self, data: Data, end: bool) -> None:
        """More of the request."""
        for shadow in self._shadows:
            try:
                if end:
                    shadow.head.trailers = self._head.trailers
                shadow.send(data, end)
            except Exception as error:
                shadow.fail(error)

    def on_answer(self, head: ResponseHead, data: Data, waited_s: float) -> None:
        """The answer that the client gets has begun, so long after the request; its head is as it came."""
        try:
            self._earn(data)
            if self._live is not None:
                self._live.begin(head, waited_s)
                self._shared.keep(self._live, data)
        except Exception as error:
            self._shared.on_fault(error)

    def on_answer_body(self, data: Data) -> None:
        """More of it."""
        try:
            self._earn(data)
            if self._live is not None:
                self._shared.keep(self._live, data)
        except Exception as error:
            self._shared.on_fault(error)

    def _earn(self, data: Data) -> None:
        """As the live one answers, so may the shadows."""
        if data:
            for shadow in self._shadows:
                shadow.pacer.earn(len(data))

    def on_end(self, status: int, end: str, waited_s: float, total_s: float) -> None:
        """The exchange is over. `waited_s` is the time to the first byte, or until there was none; below 0: the
        predictor was not asked, or is not to blame."""
        try:
            self._on_end(status, end, waited_s, total_s)
        except Exception as error:
            self._shared.on_fault(error)

    def _on_end(self, status: int, end: str, waited_s: float, total_s: float) -> None:
        if self._gate is not None and waited_s >= 0.0:
            self._gate.on_first_byte(waited_s)
        shadows, self._shadows = self._shadows, ()
        for shadow in shadows:
            try:
                shadow.abandon()
            except Exception as error:
                shadow.fail(error)
        live = self._live
        if live is not None:
            live.status = status
            for pair in self._pairs:
                self._shared.end_answer(pair, live, end, total_s)
