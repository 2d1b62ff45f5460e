"""The worker's watch over its memory: a look every SAMPLE_S, and what `overload` then says is done."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from turnout.proxy.worker.memory import Memory
from turnout.proxy.worker.overload import SAMPLE_S, OverloadManager, choose_cuts


class Holder(Protocol):
    """A downstream connection, with all that is buffered for it: its own bytes, its exchange's, its upstream's."""

    def held_bytes(self) -> int: ...

    def cut(self) -> None:
        """End its exchange for want of memory: 503, or, if the answer has begun, the end of the connection."""


class Watch:
    """Looks from `start` to `stop`. `report` is told at each look how things are, and how many exchanges were cut."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        manager: OverloadManager,
        memory: Memory,
        holders: Callable[[], Iterable[Holder]],
        report: Callable[[OverloadManager, int], None],
    ) -> None:
        self._loop = loop
        self._manager = manager
        self._memory = memory
        self._holders = holders
        self._report = report
        self._handle: asyncio.TimerHandle | None = None
        self._has_cut = False

    def start(self) -> None:
        self._handle = self._loop.call_later(SAMPLE_S, self._look)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = self._loop.call_later(SAMPLE_S, self._look)
        if self._has_cut:  # by now the loop has let go of it; if that did not show, others would be cut for nothing
            self._has_cut = False
            self._memory.shrink()
        relief = self._manager.on_sample(self._memory.resident(), self._loop.time())
        cuts: list[Holder] = []
        if relief.cut_bytes:
            cuts = choose_cuts([(holder.held_bytes(), holder) for holder in self._holders()], relief.cut_bytes)
        self._report(self._manager, len(cuts))
        for holder in cuts:
            holder.cut()
        self._has_cut = bool(cuts)
        if relief.shrink:
            self._memory.shrink()
